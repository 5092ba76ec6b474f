// node-postgres: named statements, pg-cursor, COPY streams, its pool, cancel, notifications.
import pg from 'pg';
import Cursor from 'pg-cursor';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { once } from 'node:events';
import { assert, clients, config, run, servers, sleep, sqlstate } from './report.mjs';

const { Client, Pool } = pg;

async function withClient(work, more = {}) {
  const c = new Client({ ...config, ...more });
  c.on('error', () => {});
  await c.connect();
  try {
    return await work(c);
  } finally {
    await c.end();
  }
}

const one = async (c, ...args) => Object.values((await c.query(...args)).rows[0]);
const SELECT = `SELECT $1::text AS who, current_setting('app.who') AS mine, pg_backend_pid() AS pid`;

async function oneClient(i, turns) {
  const who = `client-${i}`;
  const pids = new Set();
  await withClient(async (c) => {
    const ask = async () => {
      const q = { text: SELECT, values: [who], name: i % 2 ? 'who' : undefined };
      const row = (await c.query(q)).rows[0];
      assert.deepEqual([row.who, row.mine], [who, who]);
      pids.add(row.pid);
    };
    await c.query(`SET app.who = '${who}'`);
    for (let turn = 0; turn < turns; turn++) {
      await ask();
      await c.query('BEGIN');
      await c.query('INSERT INTO drv.load VALUES ($1, $2, $3)', [i, who, turn]);
      await ask();
      await c.query(turn % 2 ? 'ROLLBACK' : 'COMMIT');
    }
    const [n] = await one(c, 'SELECT count(*)::int FROM drv.load WHERE who = $1', [who]);
    assert.equal(n, Math.ceil(turns / 2));
  });
  return pids;
}

await run({
  async login() {
    await withClient(async (c) => assert.deepEqual(await one(c, 'SELECT current_user'), [config.user]));
    const code = await sqlstate(() => withClient(() => {}, { password: 'wrong' }));
    assert.equal(code, '28P01');
  },
  async values() {
    await withClient(async (c) => {
      for (const binary of [false, true]) {
        const row = (await c.query({
          text: 'SELECT $1::int AS a, $2::text AS b, $3::bytea AS c, $4::int[] AS d, $5::json AS e, $6::text AS f',
          values: [7, "häß'\\", Buffer.from([0, 255]), [1, 2], { x: [1] }, null],
          binary,
        })).rows[0];
        assert.equal(row.a, 7);
        assert.equal(row.b, "häß'\\");
        if (!binary) assert.deepEqual([...row.c], [0, 255]);    // its binary bytea is a string
        assert.equal(row.f, null);
      }
    });
  },
  async named_statements() {
    const conns = await Promise.all(Array.from({ length: 12 }, async () => {
      const c = new Client(config);
      await c.connect();
      return c;
    }));
    for (let turn = 0; turn < 6; turn++) {
      const got = await Promise.all(conns.map((c, i) => one(c, {
        name: 'same', text: `SELECT $1::text || $2::int || '${i % 3}'`, values: [`c${i}-`, turn],
      })));
      got.forEach(([v], i) => assert.equal(v, `c${i}-${turn}${i % 3}`));
    }
    await Promise.all(conns.map((c) => c.end()));
  },
  async many_statements() {
    await withClient(async (c) => {
      for (let turn = 0; turn < 2; turn++) {
        for (let n = 0; n < 300; n++) {
          assert.deepEqual(await one(c, { name: `s${n}`, text: `SELECT $1::int + ${n}`, values: [turn] }), [turn + n]);
        }
      }
    });
  },
  async transactions() {
    await withClient(async (c) => {
      await c.query('DELETE FROM drv.item');
      await c.query('BEGIN');
      await c.query('INSERT INTO drv.item VALUES (1, $1)', ['a']);
      await c.query('SAVEPOINT s');
      assert.equal(await sqlstate(() => c.query('INSERT INTO drv.item VALUES (1, $1)', ['a'])), '23505');
      assert.equal(await sqlstate(() => c.query('SELECT $1::int', [1])), '25P02');
      await c.query('ROLLBACK TO s');
      await c.query('INSERT INTO drv.item VALUES (3, $1)', ['a']);
      await c.query('COMMIT');
      await c.query('BEGIN');
      await c.query('DELETE FROM drv.item');
      await c.query('ROLLBACK');
      assert.deepEqual(await one(c, 'SELECT array_agg(id ORDER BY id) FROM drv.item'), [[1, 3]]);
    });
  },
  async errors() {
    await withClient(async (c) => {
      for (let i = 0; i < 3; i++) {
        assert.equal(await sqlstate(() => c.query('SELEC 1')), '42601');
        assert.equal(await sqlstate(() => c.query('SELECT * FROM none_such WHERE a = $1', [1])), '42P01');
        const named = { name: 'bad', text: 'SELECT 1 / $1::int', values: [0] };
        assert.equal(await sqlstate(() => c.query(named)), '22012');
        assert.deepEqual(await one(c, { ...named, values: [1] }), [1]);
        const [r1, r2] = await c.query('SELECT 1 AS a; SELECT 2 AS b');
        assert.deepEqual([r1.rows, r2.rows], [[{ a: 1 }], [{ b: 2 }]]);
      }
      try {
        await c.query('INSERT INTO drv.item VALUES (3, $1)', ['x']);
        assert.fail('no error');
      } catch (e) {
        assert.deepEqual([e.code, e.constraint, e.table, e.schema], ['23505', 'item_pkey', 'item', 'drv']);
      }
    });
  },
  async failed_parse_is_forgotten() {
    await withClient(async (c) => {
      const q = { name: 'later', text: 'SELECT * FROM drv.not_yet' };
      await c.query('DROP TABLE IF EXISTS drv.not_yet');
      assert.equal(await sqlstate(() => c.query(q)), '42P01');
      await c.query('CREATE TABLE drv.not_yet AS SELECT 5 AS five');
      assert.deepEqual(await one(c, q), [5]);
      await c.query('DROP TABLE drv.not_yet');
    });
  },
  async timeout_and_cancel() {
    await withClient(async (c) => {
      assert.equal(await sqlstate(() => c.query('SELECT pg_sleep(20)')), '57014');
      assert.deepEqual(await one(c, 'SHOW statement_timeout'), ['150ms']);
      assert.deepEqual(await one(c, 'SELECT 1'), [1]);
    }, { statement_timeout: 150 });
    await withClient(async (c) => {
      assert.deepEqual(await one(c, 'SHOW statement_timeout'), ['0']);
      for (let i = 0; i < 3; i++) {
        const running = sqlstate(() => c.query('SELECT pg_sleep(20)'));
        await sleep(200);
        const canceller = new Client(config);
        canceller.connection.on('error', () => {});
        canceller.cancel(c, c._getActiveQuery?.() ?? c._activeQuery);
        assert.equal(await running, '57014');
        assert.deepEqual(await one(c, 'SELECT 2'), [2]);
      }
    });
  },
  async cursor() {
    await withClient(async (c) => {
      for (const inside of [true, false]) {
        if (inside) await c.query('BEGIN');
        const cur = c.query(new Cursor('SELECT generate_series(1, $1::int) AS i', [1000]));
        let next = 1;
        for (let rows = await cur.read(70); rows.length; rows = await cur.read(70)) {
          for (const row of rows) assert.equal(row.i, next++);
        }
        assert.equal(next, 1001);
        const second = c.query(new Cursor('SELECT generate_series(1, 100000) AS i'));
        assert.equal((await second.read(3)).length, 3);
        await second.close();
        assert.deepEqual(await one(c, 'SELECT 4'), [4]);
        if (inside) await c.query('COMMIT');
      }
    });
  },
  async copy() {
    await withClient(async (c) => {
      await c.query('TRUNCATE drv.copied');
      const lines = Array.from({ length: 20000 }, (_, i) => `${i}\tw${i}\t${i}.5\t\\\\x00ff\n`);
      await pipeline(Readable.from(lines), c.query(copyFrom('COPY drv.copied FROM STDIN')));
      let text = '';
      for await (const piece of c.query(copyTo('COPY (SELECT * FROM drv.copied ORDER BY id) TO STDOUT'))) text += piece;
      assert.equal(text, lines.join(''));
      const bad = c.query(copyFrom('COPY drv.copied FROM STDIN'));
      assert.equal(await sqlstate(() => pipeline(Readable.from(['x\ty\n'.repeat(50000)]), bad)), '22P02');
      assert.deepEqual(await one(c, 'SELECT count(*)::int FROM drv.copied'), [20000]);
    });
  },
  async notifications() {
    await withClient(async (c) => {
      await c.query('LISTEN drv_node');
      const heard = once(c, 'notification');
      await withClient((o) => o.query("SELECT pg_notify('drv_node', 'it''s')"));
      const [n] = await heard;
      assert.deepEqual([n.channel, n.payload], ['drv_node', "it's"]);
      await c.query('UNLISTEN drv_node');
    });
  },
  async large_rows() {
    await withClient(async (c) => {
      for (const size of [8191, 8192, 65536, 1 << 20, 6 << 20]) {
        const [text] = await one(c, "SELECT repeat('z', $1)", [size]);
        assert.equal(text.length, size);
        assert.deepEqual(await one(c, 'SELECT length($1::text)', [text]), [size]);
      }
      const many = await c.query('SELECT i, md5(i::text) AS m FROM generate_series(1, 100000) i');
      assert.equal(many.rows.length, 100000);
      assert.equal(many.rows[99999].i, 100000);
    });
  },
  async queued_queries() {
    await withClient(async (c) => {
      const got = await Promise.allSettled(Array.from({ length: 200 }, (_, i) =>
        one(c, i % 10 === 9 ? 'SELECT 1 / ($1::int - $1::int)' : 'SELECT $1::int', [i])));
      got.forEach((g, i) => {
        if (i % 10 === 9) assert.equal(g.reason.code, '22012');
        else assert.deepEqual(g.value, [i]);
      });
    });
  },
  async pool() {
    const pool = new Pool({ ...config, max: 40 });
    const got = await Promise.all(Array.from({ length: 1000 }, (_, i) => one(pool, 'SELECT $1::int', [i])));
    got.forEach(([v], i) => assert.equal(v, i));
    await pool.end();
  },
  async many_clients() {
    const all = await Promise.all(Array.from({ length: clients }, (_, i) => oneClient(i, 5)));
    const pids = new Set(all.flatMap((s) => [...s]));
    assert.ok(pids.size <= servers, `${pids.size} servers`);
  },
});
