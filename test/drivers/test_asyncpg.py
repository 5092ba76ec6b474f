"""asyncpg: its named statements, its pool with its own reset, cursors, COPY, cancel by time."""
import asyncio
import datetime
import decimal
import hashlib
import io

import asyncpg
import pytest


def connect(door, **kw):
    kw.setdefault("timeout", 40)
    return asyncpg.connect(host=door.host, port=door.port, user=door.user, password=door.secret,
                           database=door.db, ssl=False, **kw)


def run(door, work, **kw):
    """Runs work(connection) in a loop of its own."""
    async def inner():
        c = await connect(door, **kw)
        try:
            return await work(c)
        finally:
            await c.close()

    return asyncio.run(inner())


def test_login_and_refusal(door):
    async def work(c):
        assert await c.fetchval("SELECT current_user") == door.user
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(host=door.host, port=door.port, user=door.user, password="no",
                                  database=door.db, ssl=False)

    run(door, work, server_settings={"application_name": "asyncpg test", "app.started": "with this"})


def test_startup_settings(door):
    async def work(c):
        for _ in range(3):
            got = await c.fetchrow("SELECT current_setting('application_name'), "
                                   "current_setting('search_path'), current_setting('TimeZone')")
            assert tuple(got) == ("named", "drv, public", "Asia/Tokyo")

    run(door, work, server_settings={"application_name": "named", "search_path": "drv, public",
                                     "TimeZone": "Asia/Tokyo"})


def test_values(door):
    async def work(c):
        now = datetime.datetime(2020, 2, 29, 1, 2, 3, 456, tzinfo=datetime.timezone.utc)
        values = [7, 2.5, "häß'\\", b"\0\xff", decimal.Decimal("12.340"), now, [1, None, 3], None,
                  datetime.timedelta(days=3, seconds=1), True]
        types = "int4 float8 text bytea numeric timestamptz int4[] text interval bool".split()
        sql = "SELECT " + ", ".join(f"${i + 1}::{t}" for i, t in enumerate(types))
        assert list(await c.fetchrow(sql, *values)) == values
        await c.execute("DROP TYPE IF EXISTS drv.pair; CREATE TYPE drv.pair AS (a int, b text)")
        assert tuple(await c.fetchval("SELECT (1, 'x')::drv.pair")) == (1, "x")     # introspection

    run(door, work)


def test_prepared_statements_wander_over_servers(door):
    async def work(_c):
        conns = [await connect(door, statement_cache_size=8) for _ in range(12)]
        try:
            stmts = []
            for i, c in enumerate(conns):       # prepare() sends no Sync: until the next request the server
                stmts.append(await c.prepare("SELECT $1::text || $2::int"))     # is the client's
                assert await stmts[i].fetchval("c", i) == f"c{i}"
            for turn in range(6):
                out = await asyncio.gather(*[s.fetchval(f"c{i}-", turn) for i, s in enumerate(stmts)])
                assert out == [f"c{i}-{turn}" for i in range(12)]
            for i, c in enumerate(conns):       # more texts than the driver's cache: it closes statements
                for n in range(20):
                    assert await c.fetchval(f"SELECT $1::int + {n}", i) == i + n
        finally:
            for c in conns:
                await c.close()

    run(door, work)


def test_ddl_changes_a_prepared_statement(door):
    async def work(c):
        await c.execute("DROP TABLE IF EXISTS drv.shape; CREATE TABLE drv.shape (a int);"
                        "INSERT INTO drv.shape VALUES (1)")
        assert tuple(await c.fetchrow("SELECT * FROM drv.shape")) == (1,)
        await c.execute("ALTER TABLE drv.shape ADD b text DEFAULT 'new'")
        assert tuple(await c.fetchrow("SELECT * FROM drv.shape")) == (1, "new")

    run(door, work)


def test_transactions(door):
    async def work(c):
        await c.execute("DELETE FROM drv.item")
        async with c.transaction():
            await c.execute("INSERT INTO drv.item VALUES ($1, 'a')", 1)
            with pytest.raises(asyncpg.UniqueViolationError):
                async with c.transaction():
                    await c.execute("INSERT INTO drv.item VALUES ($1, 'a')", 2)
                    await c.execute("INSERT INTO drv.item VALUES ($1, 'a')", 1)
            await c.execute("INSERT INTO drv.item VALUES ($1, 'a')", 3)
        with pytest.raises(RuntimeError):
            async with c.transaction(isolation="serializable"):
                await c.execute("INSERT INTO drv.item VALUES (4, 'a')")
                raise RuntimeError
        assert [r[0] for r in await c.fetch("SELECT id FROM drv.item ORDER BY id")] == [1, 3]

    run(door, work)


def test_errors_and_on(door):
    async def work(c):
        await c.execute("DELETE FROM drv.item; INSERT INTO drv.item VALUES (1, 'a')")
        for _ in range(2):
            with pytest.raises(asyncpg.UniqueViolationError) as e:
                await c.execute("INSERT INTO drv.item VALUES ($1, 'a')", 1)
            assert e.value.constraint_name == "item_pkey" and "(1)" in e.value.detail
            for sql, kind in (("SELEC 1", asyncpg.PostgresSyntaxError), ("SELECT * FROM none_such",
                              asyncpg.UndefinedTableError), ("SELECT 1/0", asyncpg.DivisionByZeroError)):
                with pytest.raises(kind):
                    await c.fetch(sql)
                assert await c.fetchval("SELECT $1::int", 3) == 3
        await c.execute("BEGIN")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await c.fetch("SELECT 1/0")
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await c.fetch("SELECT 1")
        await c.execute("ROLLBACK")
        assert await c.fetchval("SELECT 2") == 2

    run(door, work)


def test_cancel_by_time_and_on(door):
    async def work(c):
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await c.fetch("SELECT pg_sleep(20)", timeout=0.2)
            assert await c.fetchval("SELECT 5") == 5
        await c.execute("SET statement_timeout = '100ms'")
        with pytest.raises(asyncpg.QueryCanceledError):
            await c.fetch("SELECT pg_sleep(20)")
        assert await c.fetchval("SHOW statement_timeout") == "100ms"

    run(door, work)


def test_cursors(door):
    async def work(c):
        async with c.transaction():
            got = [r[0] async for r in c.cursor("SELECT generate_series(1, $1::int)", 1000, prefetch=37)]
            assert got == list(range(1, 1001))
            cur = await c.cursor("SELECT generate_series(1, 50)")
            assert [r[0] for r in await cur.fetch(5)] == [1, 2, 3, 4, 5]
            assert await cur.forward(10) == 10
            assert (await cur.fetchrow())[0] == 16

    run(door, work)


def test_copy(door):
    async def work(c):
        await c.execute("TRUNCATE drv.copied")
        rows = [(i, f"w\t{i}", decimal.Decimal(i), bytes([i % 256]) * (i % 200)) for i in range(5000)]
        assert await c.copy_records_to_table("copied", records=rows, schema_name="drv") == "COPY 5000"
        assert [tuple(r) for r in await c.fetch("SELECT * FROM drv.copied ORDER BY id")] == rows
        out = io.BytesIO()
        await c.copy_from_query("SELECT * FROM drv.copied WHERE id < $1 ORDER BY id", 4000, output=out,
                                format="csv")
        await c.execute("TRUNCATE drv.copied")
        await c.copy_to_table("copied", source=io.BytesIO(out.getvalue()), schema_name="drv", format="csv")
        assert await c.fetchval("SELECT count(*) FROM drv.copied") == 4000

        async def breaks():
            yield b"1,a,1,\n"
            raise RuntimeError("enough")

        with pytest.raises(RuntimeError):
            await c.copy_to_table("copied", source=breaks(), schema_name="drv", format="csv")
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await c.copy_to_table("copied", source=io.BytesIO(b"x,a,1,\n" * 50000), schema_name="drv",
                                  format="csv")
        assert await c.fetchval("SELECT count(*) FROM drv.copied") == 4000

    run(door, work)


def test_executemany_and_large_values(door):
    async def work(c):
        await c.execute("TRUNCATE drv.load")
        await c.executemany("INSERT INTO drv.load VALUES ($1, $2, 0)", [(i, f"m{i}") for i in range(3000)])
        assert await c.fetchval("SELECT sum(id) FROM drv.load") == sum(range(3000))
        with pytest.raises(asyncpg.UniqueViolationError):
            await c.executemany("INSERT INTO drv.item VALUES ($1, 'x')", [(500,), (501,), (500,)])
        assert await c.fetchval("SELECT count(*) FROM drv.item WHERE id >= 500") == 0
        for size in (8191, 65536, 1 << 20, 8 << 20):
            text = await c.fetchval("SELECT repeat('y', $1)", size)
            assert await c.fetchval("SELECT md5($1)", text) == hashlib.md5(text.encode()).hexdigest()

    run(door, work)


def test_notifications(door):
    async def work(c):
        heard = asyncio.Queue()
        await c.add_listener("drv_async", lambda _c, _pid, channel, text: heard.put_nowait((channel, text)))
        other = await connect(door)
        for text in ("one", "two 'quoted'"):
            await other.execute("SELECT pg_notify('drv_async', $1)", text)
            assert await asyncio.wait_for(heard.get(), 10) == ("drv_async", text)
        await c.execute("NOTIFY drv_async, 'own'")
        assert await asyncio.wait_for(heard.get(), 10) == ("drv_async", "own")
        await other.close()

    run(door, work)


SELECT = "SELECT $1::text, current_setting('app.who'), pg_backend_pid()"


async def one_client(door, i, turns):
    who = f"client-{i}"
    c = await connect(door, statement_cache_size=0 if i % 4 == 0 else 100)
    pids = set()
    await c.execute(f"SET app.who = '{who}'")
    for turn in range(turns):
        row = await c.fetchrow(SELECT, who)
        assert tuple(row)[:2] == (who, who), f"{who} got {row}"
        pids.add(row[2])
        tx = c.transaction()
        await tx.start()
        await c.execute("INSERT INTO drv.load VALUES ($1, $2, $3)", i, who, turn)
        row = await c.fetchrow(SELECT, who)
        assert tuple(row)[:2] == (who, who), f"{who} got {row}"
        await (tx.rollback() if turn % 2 else tx.commit())
    assert await c.fetchval("SELECT count(*) FROM drv.load WHERE who = $1", who) == (turns + 1) // 2
    await c.close()
    return pids


def test_many_clients(door, watch):
    door.pg.sql("TRUNCATE drv.load", door.db)

    async def all_of_them():
        return await asyncio.gather(*[one_client(door, i, 5) for i in range(door.clients)])

    with watch():
        pids = set().union(*asyncio.run(all_of_them()))
    assert len(pids) <= door.servers


def test_the_drivers_own_pool(door):
    async def all_of_them():
        async with asyncpg.create_pool(host=door.host, port=door.port, user=door.user, ssl=False,
                                       password=door.secret, database=door.db, min_size=20,
                                       max_size=40) as pool:
            async def one(i):
                async with pool.acquire() as c:
                    assert await c.fetchval("SELECT current_setting('app.mine', true)") in (None, "")
                    await c.execute(f"SET app.mine = 'u{i}'")
                    await asyncio.sleep(0)
                    row = await c.fetchrow("SELECT $1::int, current_setting('app.mine')", i)
                    assert tuple(row) == (i, f"u{i}")

            await asyncio.gather(*[one(i) for i in range(400)])

    asyncio.run(all_of_them())
