"""psycopg 3: blocking, asyncio, pipeline mode, COPY, prepared statements, cancel, notifications."""
import asyncio
import hashlib
import threading
import time

import psycopg
import pytest
from psycopg.types.json import Jsonb

VERIFIER = True                 # the userlist holds only the SCRAM verifier


def connect(door, **kw):
    kw.setdefault("connect_timeout", 20)
    return psycopg.connect(host=door.host, port=door.port, user=door.user, password=door.secret,
                           dbname=door.db, sslmode="disable", **kw)


@pytest.fixture
def conn(door):
    with connect(door) as c:
        yield c


def test_login_and_refusal(door):
    with connect(door) as c:
        assert c.execute("SELECT current_user").fetchone() == (door.user,)
        assert c.info.parameter_status("server_version").startswith("1")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(host=door.host, port=door.port, user=door.user, password="wrong",
                        dbname=door.db, sslmode="disable")


def test_values_in_text_and_binary(conn):
    row = (1, 2.5, "häß'\\\"", b"\0\1\xff", [1, None, 3], None, True)
    for binary in (False, True):
        cur = conn.cursor(binary=binary)
        got = cur.execute("SELECT %s::int, %s::float8, %s::text, %s::bytea, %s::int[], %s::text, %s::bool",
                          row).fetchone()
        assert got == row
        assert cur.execute("SELECT %s::jsonb", [Jsonb({"a": [1]})]).fetchone() == ({"a": [1]},)


def test_prepared_statements_wander_over_servers(door):
    conns = [connect(door, autocommit=True) for _ in range(12)]
    try:
        for c in conns:
            c.prepare_threshold = 0
        for turn in range(6):
            for i, c in enumerate(conns):
                who = f"c{i}-{turn}"
                assert c.execute("SELECT %s::text, %s::int + 1", (who, turn)).fetchone() == (who, turn + 1)
                assert c.execute(f"SELECT %s::text || '{i % 3}'", (who,)).fetchone() == (who + str(i % 3),)
    finally:
        for c in conns:
            c.close()


def test_prepared_cache_of_the_driver_evicts(conn):
    conn.autocommit, conn.prepare_threshold, conn.prepared_max = True, 0, 5
    for turn in range(3):
        for n in range(20):
            assert conn.execute(f"SELECT %s::int + {n}", (turn,)).fetchone() == (turn + n,)


def test_commit_rollback_savepoint(conn):
    conn.execute("DELETE FROM drv.item")
    conn.commit()
    conn.execute("INSERT INTO drv.item VALUES (1, 'a', 'x')")
    conn.rollback()
    assert conn.execute("SELECT count(*) FROM drv.item").fetchone() == (0,)
    conn.commit()
    with conn.transaction():
        conn.execute("INSERT INTO drv.item VALUES (1, 'a', 'x')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            with conn.transaction():
                conn.execute("INSERT INTO drv.item VALUES (2, 'a', 'x')")
                conn.execute("INSERT INTO drv.item VALUES (1, 'a', 'x')")
        conn.execute("INSERT INTO drv.item VALUES (3, 'a', 'x')")
    ids = conn.execute("SELECT array_agg(id ORDER BY id) FROM drv.item").fetchone()[0]
    assert ids == [1, 3]


def test_errors_and_on(conn):
    conn.autocommit = True
    conn.execute("DELETE FROM drv.item")
    conn.execute("INSERT INTO drv.item VALUES (1, 'a', 'x')")
    with pytest.raises(psycopg.errors.UniqueViolation) as e:
        conn.execute("INSERT INTO drv.item VALUES (%s, 'a', 'x')", (1,))
    assert e.value.diag.constraint_name == "item_pkey" and "(1)" in e.value.diag.message_detail
    for sql, kind in (("SELEC 1", psycopg.errors.SyntaxError), ("SELECT * FROM none_such",
                      psycopg.errors.UndefinedTable), ("SELECT 1/0", psycopg.errors.DivisionByZero)):
        with pytest.raises(kind):
            conn.execute(sql)
        assert conn.execute("SELECT 1").fetchone() == (1,)
    conn.autocommit = False
    with pytest.raises(psycopg.errors.DivisionByZero):
        conn.execute("SELECT 1/0")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        conn.execute("SELECT 1")
    conn.rollback()
    assert conn.execute("SELECT 2").fetchone() == (2,)


def test_statement_timeout_stays_with_its_client(door, conn):
    conn.autocommit = True
    conn.execute("SET statement_timeout = '100ms'")
    with connect(door, autocommit=True) as other:
        assert other.execute("SHOW statement_timeout").fetchone() == ("0",)
        for _ in range(3):
            with pytest.raises(psycopg.errors.QueryCanceled):
                conn.execute("SELECT pg_sleep(5)")
            assert conn.execute("SHOW statement_timeout").fetchone() == ("100ms",)
            assert other.execute("SHOW statement_timeout").fetchone() == ("0",)


@pytest.mark.parametrize("how", ["cancel", "cancel_safe"])
def test_cancel_and_on(conn, how):
    conn.autocommit = True
    for _ in range(3):
        timer = threading.Timer(0.2, getattr(conn, how))
        timer.start()
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("SELECT pg_sleep(20)")
        assert time.monotonic() - began < 10
        timer.join()
        assert conn.execute("SELECT 3").fetchone() == (3,)


@pytest.mark.parametrize("form", ["text", "binary"])
def test_copy_in_and_out(conn, form):
    rows = [(i, f"who\t{i}\n", i * 7, bytes([i % 256]) * (i % 300)) for i in range(5000)]
    conn.execute("TRUNCATE drv.copied")
    with conn.cursor() as cur:
        with cur.copy(f"COPY drv.copied FROM STDIN (FORMAT {form})") as copy:
            copy.set_types(["int4", "text", "numeric", "bytea"])
            for row in rows:
                copy.write_row(row)
        assert cur.rowcount == 5000
        with cur.copy(f"COPY (SELECT * FROM drv.copied ORDER BY id) TO STDOUT (FORMAT {form})") as copy:
            copy.set_types(["int4", "text", "numeric", "bytea"])
            assert list(copy.rows()) == rows
    conn.commit()


def test_copy_given_up_and_failed(conn):
    conn.autocommit = True
    conn.execute("TRUNCATE drv.copied")
    cur = conn.cursor()
    with pytest.raises(ValueError):
        with cur.copy("COPY drv.copied FROM STDIN") as copy:
            copy.write_row((1, "a", 1, None))
            raise ValueError("enough")
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        with cur.copy("COPY drv.copied FROM STDIN") as copy:
            for _ in range(20000):
                copy.write("not a number\ta\t1\t\\N\n")
    assert conn.execute("SELECT count(*) FROM drv.copied").fetchone() == (0,)


def test_pipeline(conn):
    conn.autocommit = True
    for _ in range(3):
        with conn.pipeline() as p:
            curs = [conn.execute("SELECT %s::text, %s::int", (f"w{i}", i)) for i in range(100)]
            bad = conn.cursor()
            p.sync()
            for i, cur in enumerate(curs):
                assert cur.fetchone() == (f"w{i}", i)
        with pytest.raises(psycopg.errors.DivisionByZero):
            with conn.pipeline() as p:
                first = conn.execute("SELECT 11")
                bad.execute("SELECT 1/0")
                conn.execute("SELECT 12")
                p.sync()
        assert first.fetchone() == (11,)
        assert conn.execute("SELECT 4").fetchone() == (4,)


def test_pipeline_with_several_errors_and_executemany(conn):
    conn.autocommit = True
    conn.execute("TRUNCATE drv.load")
    with conn.pipeline() as p:
        for i in range(5):
            good = conn.execute("SELECT %s::int", (i,))
            p.sync()
            assert good.fetchone() == (i,)
            with pytest.raises(psycopg.errors.DivisionByZero):
                conn.execute("SELECT %s::int / 0", (i,))
                conn.execute("SELECT 'never'")
                p.sync()
            try:
                p.sync()        # the error may have come up before the sync above was sent
            except psycopg.errors.PipelineAborted:
                pass
    cur = conn.cursor()
    cur.executemany("INSERT INTO drv.load VALUES (%s, %s, 0) RETURNING id",
                    [(i, f"m{i}") for i in range(300)], returning=True)
    got = []
    while True:
        got.append(cur.fetchone()[0])
        if not cur.nextset():
            break
    assert got == list(range(300))


def test_cursors(conn):
    conn.execute("CREATE TEMP TABLE t AS SELECT i FROM generate_series(1, 2000) i")
    with conn.cursor("named") as cur:
        cur.itersize = 100
        cur.execute("SELECT i FROM t ORDER BY i")
        assert [r[0] for r in cur] == list(range(1, 2001))
    conn.commit()
    conn.autocommit = True
    assert conn.execute("SELECT count(*) FROM t").fetchone() == (2000,)     # the temp table is still ours
    held = psycopg.ServerCursor(conn, "held", withhold=True)
    held.execute("SELECT i FROM t ORDER BY i")
    assert held.fetchmany(3) == [(1,), (2,), (3,)]
    assert held.fetchone() == (4,)
    held.close()
    assert [r[0] for r in conn.cursor().stream("SELECT i FROM t ORDER BY i")] == list(range(1, 2001))


def test_rows_of_all_sizes(conn):
    for size in (1, 2, 100, 8191, 8192, 8193, 65535, 65536, 1 << 20, 10 << 20):
        text = conn.execute("SELECT repeat('x', %s)", (size,)).fetchone()[0]
        assert len(text) == size
        got = conn.execute("SELECT md5(%s::text)", (text,)).fetchone()[0]
        assert got == hashlib.md5(text.encode()).hexdigest()


def test_notifications(door, conn):
    conn.autocommit = True
    conn.execute("LISTEN drv_channel")
    with connect(door) as other:
        other.execute("SELECT pg_notify('drv_channel', 'it''s')")
        other.rollback()
        other.execute("NOTIFY drv_channel, 'kept'")
        other.commit()
    got = next(iter(conn.notifies(timeout=10, stop_after=1)))
    assert (got.channel, got.payload) == ("drv_channel", "kept")
    conn.execute("UNLISTEN *")
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_notices(conn):
    heard = []
    conn.add_notice_handler(lambda d: heard.append(d.message_primary))
    conn.execute("DO $$ BEGIN RAISE NOTICE 'psst %', 7; END $$")
    assert heard == ["psst 7"]


def test_two_phase(conn):
    xid = conn.xid(7, "penstock", "drv")
    conn.tpc_begin(xid)
    conn.execute("INSERT INTO drv.load VALUES (77, 'tpc', 0)")
    conn.tpc_prepare()
    conn.tpc_commit()
    assert conn.execute("SELECT count(*) FROM drv.load WHERE id = 77 AND who = 'tpc'").fetchone()[0] >= 1


SELECT = "SELECT %s::text, current_setting('app.who'), pg_backend_pid()"


async def one_client(door, i, turns):
    who = f"client-{i}"
    c = await psycopg.AsyncConnection.connect(
        host=door.host, port=door.port, user=door.user, password=door.secret, dbname=door.db,
        sslmode="disable", autocommit=True, connect_timeout=40)
    pids = set()
    async with c:
        c.prepare_threshold = (None, 0, 2)[i % 3]
        await c.execute(f"SET app.who = '{who}'")
        for turn in range(turns):
            row = await (await c.execute(SELECT, (who,))).fetchone()
            assert row[:2] == (who, who), f"{who} got {row}"
            pids.add(row[2])
            async with c.transaction(force_rollback=turn % 2 == 1):
                await c.execute("INSERT INTO drv.load VALUES (%s, %s, %s)", (i, who, turn))
                row = await (await c.execute(SELECT, (who,))).fetchone()
                assert row[:2] == (who, who), f"{who} got {row}"
        row = await (await c.execute("SELECT count(*) FROM drv.load WHERE who = %s", (who,))).fetchone()
        assert row == ((turns + 1) // 2,)
    return pids


def test_many_clients(door, watch):
    door.pg.sql("TRUNCATE drv.load", door.db)

    async def all_of_them():
        return await asyncio.gather(*[one_client(door, i, 5) for i in range(door.clients)])

    with watch():
        pids = set().union(*asyncio.run(all_of_them()))
    assert len(pids) <= door.servers
    assert door.pg.value("SELECT count(DISTINCT who) FROM drv.load", door.db) == str(door.clients)


def test_async_cancel_and_timeout(door):
    async def run():
        c = await psycopg.AsyncConnection.connect(
            host=door.host, port=door.port, user=door.user, password=door.secret, dbname=door.db,
            sslmode="disable", autocommit=True)
        async with c:
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(c.execute("SELECT pg_sleep(20)"), 0.2)
                assert await (await c.execute("SELECT 5")).fetchone() == (5,)

    asyncio.run(run())
