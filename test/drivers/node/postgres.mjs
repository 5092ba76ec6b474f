// postgres.js: pipelined named statements by default, transactions, cursors, COPY, cancel, listen.
import postgres from 'postgres';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { assert, clients, config, run, servers, sleep, sqlstate } from './report.mjs';

const open = (more = {}) => postgres({
  ...config, username: config.user, max: 1, ssl: false, onnotice: () => {}, connect_timeout: 40, ...more,
});

async function using(work, more) {
  const sql = open(more);
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function oneClient(i, turns) {
  const who = `pjs-${i}`;
  const pids = new Set();
  await using(async (sql) => {
    const ask = async (on) => {
      const [row] = await on`SELECT ${who}::text AS who, current_setting('app.who') AS mine, pg_backend_pid() AS pid`;
      assert.deepEqual([row.who, row.mine], [who, who]);
      pids.add(row.pid);
    };
    await sql.unsafe(`SET app.who = '${who}'`);
    for (let turn = 0; turn < turns; turn++) {
      await ask(sql);
      await sql.begin(async (tx) => {
        await tx`INSERT INTO drv.load VALUES (${i}, ${who}, ${turn})`;
        await ask(tx);
        if (turn % 2) throw new Error('back');
      }).catch((e) => assert.equal(e.message, 'back'));
    }
    const [{ n }] = await sql`SELECT count(*)::int AS n FROM drv.load WHERE who = ${who}`;
    assert.equal(n, Math.ceil(turns / 2));
  }, { prepare: i % 3 !== 0 });
  return pids;
}

await run({
  async login() {
    await using(async (sql) => assert.equal((await sql`SELECT current_user`)[0].current_user, config.user));
    assert.equal(await sqlstate(() => using((sql) => sql`SELECT 1`, { password: 'wrong' })), '28P01');
  },
  async values() {
    await using(async (sql) => {
      for (let i = 0; i < 3; i++) {
        const [row] = await sql`SELECT ${7}::int AS a, ${"häß'\\"}::text AS b, ${Buffer.from([0, 255])}::bytea AS c,
          ${[1, 2]}::int[] AS d, ${sql.json({ x: [1] })}::jsonb AS e, ${null}::text AS f`;
        assert.deepEqual([row.a, row.b, [...row.c], [...row.d], row.e, row.f],
          [7, "häß'\\", [0, 255], [1, 2], { x: [1] }, null]);
      }
    });
  },
  async pipelined() {
    await using(async (sql) => {
      const got = await Promise.allSettled(Array.from({ length: 300 }, (_, i) =>
        (i % 10 === 9 ? sql`SELECT 1 / (${i}::int - ${i}::int) AS v` : sql`SELECT ${i}::int AS v`)));
      got.forEach((g, i) => {
        if (i % 10 === 9) assert.equal(g.reason.code, '22012');
        else assert.equal(g.value[0].v, i);
      });
    });
  },
  async transactions() {
    await using(async (sql) => {
      await sql`DELETE FROM drv.item`;
      await sql.begin('isolation level serializable', async (tx) => {
        await tx`INSERT INTO drv.item VALUES (1, 'a')`;
        assert.equal(await sqlstate(() => tx.savepoint((s) => s`INSERT INTO drv.item VALUES (1, 'a')`)), '23505');
        await tx`INSERT INTO drv.item VALUES (3, 'a')`;
      });
      assert.equal(await sqlstate(() => sql.begin(async (tx) => {
        await tx`DELETE FROM drv.item`;
        await tx`SELECT 1/0`;
      })), '22012');
      assert.deepEqual((await sql`SELECT id FROM drv.item ORDER BY id`).map((r) => r.id), [1, 3]);
    });
  },
  async errors() {
    await using(async (sql) => {
      for (let i = 0; i < 3; i++) {
        assert.equal(await sqlstate(() => sql`SELEC 1`), '42601');
        assert.equal(await sqlstate(() => sql`SELECT * FROM none_such WHERE a = ${i}`), '42P01');
        assert.equal(await sqlstate(() => sql`INSERT INTO drv.item VALUES (3, 'x')`), '23505');
        assert.equal((await sql`SELECT ${i}::int AS v`)[0].v, i);
      }
    });
  },
  async cancel_and_timeout() {
    await using(async (sql) => {
      for (let i = 0; i < 3; i++) {
        const query = sql`SELECT pg_sleep(20)`;
        const running = sqlstate(() => query);
        await sleep(250);
        query.cancel();
        assert.equal(await running, '57014');
        assert.equal((await sql`SELECT ${i}::int AS v`)[0].v, i);
      }
    });
    await using(async (sql) => {
      assert.equal(await sqlstate(() => sql`SELECT pg_sleep(20)`), '57014');
      assert.equal((await sql`SHOW statement_timeout`)[0].statement_timeout, '150ms');
    }, { connection: { statement_timeout: 150, application_name: 'drv' } });
  },
  async cursor() {
    await using(async (sql) => {
      let next = 1;
      for await (const rows of sql`SELECT generate_series(1, ${1000}::int) AS i`.cursor(70)) {
        for (const row of rows) assert.equal(row.i, next++);
      }
      assert.equal(next, 1001);
      await sql`SELECT generate_series(1, 100000) AS i`.cursor(10, () => sql.CLOSE);
      assert.equal((await sql`SELECT 5 AS v`)[0].v, 5);
      let rows = 0;
      await sql`SELECT generate_series(1, 50000) AS i`.forEach(() => { rows++; });
      assert.equal(rows, 50000);
    });
  },
  async copy() {
    await using(async (sql) => {
      await sql`TRUNCATE drv.copied`;
      const lines = Array.from({ length: 20000 }, (_, i) => `${i}\tw${i}\t${i}.5\t\\\\x00ff\n`);
      await pipeline(Readable.from(lines), await sql`COPY drv.copied FROM STDIN`.writable());
      let text = '';
      for await (const piece of await sql`COPY (SELECT * FROM drv.copied ORDER BY id) TO STDOUT`.readable()) text += piece;
      assert.equal(text, lines.join(''));
    });
  },
  async notifications() {
    await using(async (sql) => {
      const heard = new Promise((resolve) => { sql.listen('drv_pjs', resolve); });
      await sleep(500);
      await sql.notify('drv_pjs', "it's");
      assert.equal(await Promise.race([heard, sleep(10000)]), "it's");
    });
  },
  async many_clients() {
    const all = await Promise.all(Array.from({ length: clients }, (_, i) => oneClient(i, 4)));
    const pids = new Set(all.flatMap((s) => [...s]));
    assert.ok(pids.size <= servers, `${pids.size} servers`);
  },
});
