// Prisma's client with its WebAssembly query compiler and the pg adapter: no engine binary is fetched.
import { PrismaPg } from '@prisma/adapter-pg';
import { createRequire } from 'node:module';
import { assert, clients, config, run, servers } from './report.mjs';

const { PrismaClient } = createRequire(import.meta.url)('./generated/index.js');

const open = (max, more = {}) => new PrismaClient({
  adapter: new PrismaPg({ ...config, max, ...more }),
  transactionOptions: { maxWait: 45000, timeout: 45000 },
});
const db = open(20);

async function code(work) {
  try {
    await work();
  } catch (e) {
    return e.code ?? e.message;
  }
  throw new assert.AssertionError({ message: 'no error came' });
}

await run({
  async login() {
    const [row] = await db.$queryRaw`SELECT current_user::text AS u`;
    assert.equal(row.u, config.user);
    const wrong = open(1, { password: 'wrong' });
    assert.match(String(await code(() => wrong.$queryRaw`SELECT 1`)), /P1000|P2010|uthentication/);
    await wrong.$disconnect();
  },
  async models() {
    for (const sql of ['DROP TABLE IF EXISTS pr_book, pr_author',
      'CREATE TABLE pr_author (id serial PRIMARY KEY, name text UNIQUE NOT NULL, data jsonb)',
      'CREATE TABLE pr_book (id serial PRIMARY KEY, title text NOT NULL, '
        + '"authorId" int NOT NULL REFERENCES pr_author ON DELETE CASCADE)']) await db.$executeRawUnsafe(sql);
    await db.author.createMany({ data: Array.from({ length: 100 }, (_, i) => ({ name: `a${i}`, data: { i } })) });
    await db.author.update({ where: { name: 'a7' }, data: { books: { create: [{ title: 'x' }, { title: 'y' }] } } });
    const author = await db.author.findUnique({ where: { name: 'a7' }, include: { books: { orderBy: { id: 'asc' } } } });
    assert.deepEqual([author.data, author.books.map((b) => b.title)], [{ i: 7 }, ['x', 'y']]);
    assert.equal(await db.author.count({ where: { books: { some: { title: 'y' } } } }), 1);
    assert.equal((await db.author.upsert({ where: { name: 'a7' }, create: { name: 'a7' }, update: {} })).id, author.id);
  },
  async transactions() {
    await db.$transaction([db.author.create({ data: { name: 'b1' } }), db.author.create({ data: { name: 'b2' } })]);
    assert.equal(await code(() => db.$transaction([
      db.author.create({ data: { name: 'b3' } }), db.author.create({ data: { name: 'b1' } })])), 'P2002');
    await assert.rejects(db.$transaction(async (tx) => {
      await tx.author.deleteMany();
      throw new Error('back');
    }, { isolationLevel: 'Serializable' }), /back/);
    await db.$transaction(async (tx) => {
      await tx.author.create({ data: { name: 'b4' } });
    });
    const names = await db.author.findMany({ where: { name: { startsWith: 'b' } }, orderBy: { name: 'asc' } });
    assert.deepEqual(names.map((a) => a.name), ['b1', 'b2', 'b4']);
  },
  async errors_and_timeout() {
    for (let i = 0; i < 3; i++) {
      assert.equal(await code(() => db.$queryRaw`SELEC 1`), 'P2010');
      assert.equal(await code(() => db.$queryRaw`SELECT 1 / ${0}::int`), 'P2010');
      assert.deepEqual(await db.$queryRaw`SELECT ${i}::int AS v`, [{ v: i }]);
    }
    const short = open(1, { statement_timeout: 150 });
    assert.equal(await code(() => short.$queryRaw`SELECT pg_sleep(20)::text`), 'P2010');
    assert.deepEqual(await short.$queryRaw`SELECT 1 AS v`, [{ v: 1 }]);
    await short.$disconnect();
  },
  async many_clients() {
    const many = open(clients);
    const pids = new Set();
    await Promise.all(Array.from({ length: clients * 2 }, (_, i) => many.$transaction(async (tx) => {
      const who = `pr-${i}`;
      await tx.$executeRawUnsafe(`SET LOCAL app.who = '${who}'`);
      await tx.author.create({ data: { name: who } });
      const [row] = await tx.$queryRaw`SELECT ${who}::text AS who, current_setting('app.who') AS mine, pg_backend_pid() AS pid`;
      assert.deepEqual([row.who, row.mine], [who, who]);
      pids.add(row.pid);
    })));
    assert.equal(await many.author.count({ where: { name: { startsWith: 'pr-' } } }), clients * 2);
    assert.ok(pids.size <= servers, `${pids.size} servers`);
    await many.$disconnect();
  },
}, () => db.$disconnect());
