// Sequelize over node-postgres: models, managed transactions with savepoints, its pool.
import { DataTypes, QueryTypes, Sequelize, Transaction } from 'sequelize';
import { assert, clients, config, run, servers, sqlstate } from './report.mjs';

const open = (more = {}) => new Sequelize(config.database, config.user, more.password ?? config.password, {
  host: config.host, port: config.port, dialect: 'postgres', logging: false,
  pool: { max: more.max ?? 5, min: 0, acquire: 45000 }, schema: 'drv', ...more.options,
});

const db = open({ max: 20 });
const Author = db.define('sq_author', {
  name: { type: DataTypes.STRING, unique: true }, data: DataTypes.JSONB, seen: DataTypes.DATE,
});
const Book = db.define('sq_book', { title: DataTypes.TEXT });
Author.hasMany(Book);
Book.belongsTo(Author);

await run({
  async login() {
    await db.authenticate();
    const wrong = open({ password: 'wrong' });
    assert.equal(await sqlstate(() => wrong.authenticate()), '28P01');
    await wrong.close();
  },
  async models() {
    await db.sync({ force: true });
    await Author.bulkCreate(Array.from({ length: 200 }, (_, i) => ({ name: `a${i}`, data: { i }, seen: new Date(i) })));
    const author = await Author.findOne({ where: { name: 'a7' } });
    await author.createSq_book({ title: 'one' });
    const again = await Author.findOne({ where: { name: 'a7' }, include: Book });
    assert.deepEqual([again.sq_books[0].title, again.data, again.seen.getTime()], ['one', { i: 7 }, 7]);
    assert.equal(await Author.count({ where: { 'data.i': { [Sequelize.Op.gte]: 190 } } }), 10);
    const [, made] = await Author.findOrCreate({ where: { name: 'a7' } });
    assert.equal(made, false);
  },
  async transactions() {
    await db.transaction(async (t) => {
      await Author.create({ name: 'in' }, { transaction: t });
      const code = await sqlstate(() => db.transaction({ transaction: t }, async (inner) => {
        await Author.create({ name: 'in' }, { transaction: inner });
      }));
      assert.equal(code, '23505');
      await Author.create({ name: 'after' }, { transaction: t });
    });
    await assert.rejects(db.transaction({ isolationLevel: Transaction.ISOLATION_LEVELS.SERIALIZABLE }, async (t) => {
      await Author.destroy({ where: { name: 'after' }, transaction: t });
      throw new Error('back');
    }), /back/);
    assert.equal(await Author.count({ where: { name: ['in', 'after'] } }), 2);
  },
  async errors_and_timeout() {
    for (let i = 0; i < 3; i++) {
      assert.equal(await sqlstate(() => db.query('SELEC 1')), '42601');
      assert.equal(await sqlstate(() => db.query('SELECT 1 / $1::int', { bind: [0] })), '22012');
      const [row] = await db.query('SELECT $1::int AS v', { bind: [i], type: QueryTypes.SELECT });
      assert.equal(row.v, i);
    }
    const short = open({ options: { dialectOptions: { statement_timeout: 150 } } });
    assert.equal(await sqlstate(() => short.query('SELECT pg_sleep(20)')), '57014');
    await short.query('SELECT 1');
    await short.close();
  },
  async many_clients() {
    const many = open({ max: clients });
    const pids = new Set();
    await Promise.all(Array.from({ length: clients * 2 }, (_, i) => many.transaction(async (t) => {
      const who = `sq-${i}`;
      await many.query(`SET LOCAL app.who = '${who}'`, { transaction: t });
      await many.query('INSERT INTO drv.load VALUES ($1, $2, 0)', { bind: [i, who], transaction: t });
      const [row] = await many.query(
        "SELECT $1::text AS who, current_setting('app.who') AS mine, pg_backend_pid() AS pid",
        { bind: [who], type: QueryTypes.SELECT, transaction: t });
      assert.deepEqual([row.who, row.mine], [who, who]);
      pids.add(row.pid);
    })));
    assert.equal(Number((await many.query("SELECT count(DISTINCT who) AS n FROM drv.load WHERE who LIKE 'sq-%'",
      { type: QueryTypes.SELECT }))[0].n), clients * 2);
    assert.ok(pids.size <= servers, `${pids.size} servers`);
    await many.close();
  },
}, () => db.close());
