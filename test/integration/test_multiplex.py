"""Issue 3: reads of many clients share servers, and nobody can tell but by the time it takes.

Each client asks for what only its own request can answer (a token, its own rows).  Tables are made
before the proxy starts, so that it knows them from its first catalog question on.
"""
import asyncio
import os
import random
import struct
import time

import pytest

from support import aio
from support import pgwire as w
from support.common import DB, SECRET, USER
from support.procs import wait_for

pytestmark = [pytest.mark.penstock_only,
              pytest.mark.skipif(os.environ.get("PENSTOCK_DEPTH") == "1", reason="needs sharing")]

ITEMS = 1000
MANY = 64
# a repeatable read that takes as long as its row says, without a temporary file
HEAVY = "SELECT '{token}', (SELECT count(*) FROM generate_series(1, 1000) a, generate_series(1, h.n) b) " \
        "FROM mx_heavy h WHERE id = {key}"
SCHEMA = f"""
CREATE TABLE mx_item (id int PRIMARY KEY, v int NOT NULL, mark text NOT NULL) WITH (fillfactor = 50);
INSERT INTO mx_item SELECT g, 0, 'mark ' || g FROM generate_series(0, {ITEMS - 1}) g;
CREATE TABLE mx_heavy (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO mx_heavy SELECT g, CASE WHEN g = 0 THEN 4000 ELSE 1 END FROM generate_series(0, 199) g;
CREATE TABLE mx_locked (id int PRIMARY KEY, v int NOT NULL);
INSERT INTO mx_locked SELECT g, g FROM generate_series(0, 199) g;
GRANT ALL ON mx_item, mx_heavy, mx_locked TO {USER};
ANALYZE mx_item, mx_heavy, mx_locked
"""


@pytest.fixture
def tables(pg):
    pg.sql("DROP TABLE IF EXISTS mx_item, mx_heavy, mx_locked", DB)
    pg.sql(SCHEMA, DB)
    yield pg
    pg.sql("DROP TABLE mx_item, mx_heavy, mx_locked", DB)


def stats(p):
    for row in p.show("STATS_TOTALS"):
        if row["database"] == DB:
            return {k: int(v) for k, v in row.items() if k != "database"}
    return {}


async def connect(p, count, **params):
    gate = asyncio.Semaphore(16)

    async def one():
        async with gate:
            return await aio.AioConn.open(p.host, p.port, USER, SECRET, DB, **params)

    return await asyncio.gather(*(one() for _ in range(count)))


def close(conns):
    for c in conns:
        c.close()


async def request(c, data, ready=1, limit=30):
    return await asyncio.wait_for(c.request(data, ready), limit)


async def query(c, sql, limit=30):
    return aio.rows(await request(c, w.query(sql), limit=limit))


async def read_item(c, me, turn):
    token, key = f"{me}-{turn}", (me * 7 + turn) % ITEMS
    got = await query(c, f"SELECT '{token}', id, mark FROM mx_item WHERE id = {key}")
    assert got == [[token, str(key), f"mark {key}"]], f"client {me} got {got}"


async def many(p, work, count=MANY, turns=40, **params):
    """work(conn, client, turn) for each of count clients at once."""
    conns = await connect(p, count, **params)

    async def loop(me):
        for turn in range(turns):
            await work(conns[me], me, turn)

    try:
        await asyncio.gather(*(loop(me) for me in range(count)))
    finally:
        close(conns)


# ---- sharing ----------------------------------------------------------------------------------------

def test_reads_of_many_clients_share_few_servers(tables, proxy):
    p = proxy(tables, pool_size=6)
    asyncio.run(many(p, read_item))
    got = stats(p)
    assert got["shared_count"] > MANY and got["query_count"] >= MANY * 40
    assert len(tables.backends(DB, f"usename = '{USER}'")) <= 6


def test_depth_of_one_shares_nothing(tables, proxy):
    p = proxy(tables, pool_size=6, config={"multiplex_depth": 1})
    asyncio.run(many(p, read_item))
    assert stats(p)["shared_count"] == 0


@pytest.mark.parametrize("where", ["database", "user"])
def test_depth_is_set_for_a_database_or_a_user(tables, proxy, where):
    keys = {"host": tables.host, "port": tables.port}
    if where == "database":
        p = proxy(databases={DB: {**keys, "multiplex_depth": 1}}, pool_size=2)
    else:
        p = proxy(databases={DB: keys}, pool_size=2, user_options={USER: "multiplex_depth=1"})
    asyncio.run(many(p, read_item, count=16, turns=10))
    assert stats(p)["shared_count"] == 0


def unnamed(token, key, **kw):
    return w.parse("SELECT $1::text, id, mark FROM mx_item WHERE id = $2") + \
        w.bind([token, str(key)]) + w.describe("", "P") + w.execute() + w.sync()


def binary(token, key, **kw):
    return w.parse("SELECT $1::text, id, mark FROM mx_item WHERE id = $2", types=(25, 23)) + \
        w.bind([token.encode(), struct.pack("!i", key)], formats=(0, 1), results=(1,)) + w.execute() + \
        w.sync()


def named(token, key, me, turn):
    head = w.parse("SELECT $1::text, id, mark FROM mx_item WHERE id = $2", "mine") if turn == 0 else b""
    return head + w.bind([token, str(key)], "mine") + w.execute() + w.sync()


def own_text(token, key, me, turn):
    """One name for all, but another text for each of a few groups."""
    head = w.parse(f"SELECT $1::text, id, mark FROM mx_item WHERE id = $2 AND {me % 5} = {me % 5}",
                   "mine") if turn == 0 else b""
    return head + w.bind([token, str(key)], "mine") + w.execute() + w.sync()


def once_prepared(token, key, me, turn):
    """The unnamed statement outlives its request, whatever neighbours prepare meanwhile."""
    head = w.parse(f"SELECT $1::text, id, mark FROM mx_item WHERE id = $2 AND {me} = {me}") \
        if turn % 5 == 0 else b""
    return head + w.bind([token, str(key)]) + w.execute() + w.sync()


@pytest.mark.parametrize("how", [unnamed, binary, named, own_text, once_prepared])
def test_extended_reads_share_and_are_told_apart(tables, proxy, how):
    p = proxy(tables, pool_size=4)

    async def work(c, me, turn):
        token, key = f"{me}-{turn}", (me * 7 + turn) % ITEMS
        msgs = await request(c, how(token, key, me=me, turn=turn))
        fields = aio.error(msgs)
        assert fields is None, fields
        rows = [b for k, b in msgs if k == "D"]
        assert len(rows) == 1
        if how is binary:
            expected = b"".join(struct.pack("!i", len(v)) + v for v in (
                token.encode(), struct.pack("!i", key), f"mark {key}".encode()))
            assert rows[0][2:] == expected
        else:
            assert aio.row_values(rows[0]) == [token, str(key), f"mark {key}"]

    asyncio.run(many(p, work))
    assert stats(p)["shared_count"] > 0


def test_error_of_one_reaches_it_alone(tables, proxy):
    """Every seventh request divides by zero by its parameter; simple and extended in turn."""
    p = proxy(tables, pool_size=4)

    async def work(c, me, turn):
        token, bad = f"{me}-{turn}", (me + turn) % 7 == 0
        if (me + turn) % 2:
            data = w.query(f"SELECT '{token}', 10 / (id - {0 if bad else -1}) FROM mx_item WHERE id = 0")
        else:
            data = w.parse("SELECT $1::text, 10 / (id - $2) FROM mx_item WHERE id = 0") + \
                w.bind([token, "0" if bad else "-1"]) + w.execute() + w.sync()
        msgs = await request(c, data)
        if bad:
            assert (aio.error(msgs) or {}).get("C") == "22012" and msgs[-1] == ("Z", b"I")
        else:
            assert aio.rows(msgs) == [[token, "10"]]

    asyncio.run(many(p, work))
    assert stats(p)["shared_count"] > 0


def test_settings_stay_with_their_clients(tables, proxy):
    """Half of the clients have settings of their own, which change; all say what they see."""
    p = proxy(tables, pool_size=4)

    async def work(c, me, turn):
        if me % 2 and turn % 10 == 0:
            await query(c, f"SET work_mem = '{1025 + 2 * me + 200 * turn}kB'")
        own = f"{1025 + 2 * me + 200 * (turn // 10 * 10)}kB" if me % 2 else "4MB"
        got = await query(c, f"SELECT '{me}-{turn}', current_setting('work_mem'), mark FROM mx_item "
                             f"WHERE id = {me}")
        assert got == [[f"{me}-{turn}", own, f"mark {me}"]]
        assert await query(c, "SHOW work_mem") == [[own]]

    asyncio.run(many(p, work))
    assert stats(p)["shared_count"] > 0


def test_what_is_volatile_is_not_shared(tables, proxy):
    p = proxy(tables, pool_size=4)

    async def work(c, me, turn):
        got = await query(c, f"SELECT '{me}-{turn}', random() < 2, mark FROM mx_item WHERE id = {me}")
        assert got == [[f"{me}-{turn}", "t", f"mark {me}"]]

    asyncio.run(many(p, work, turns=10))
    assert stats(p)["shared_count"] == 0


# ---- writes ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("workers, pool_size", [(1, 6), (4, 1), (4, 4)])
def test_each_acknowledged_write_is_applied_once(tables, proxy, workers, pool_size):
    """Nine reads to a write; the reads see the client's own writes."""
    p = proxy(tables, pool_size=pool_size, config={"workers": workers})
    mine = [0] * MANY

    async def work(c, me, turn):
        rng = random.Random(me * 1000 + turn)
        if rng.random() < 0.1:
            await query(c, f"UPDATE mx_item SET v = v + 1 WHERE id = {me}")
            mine[me] += 1
        else:
            got = await query(c, f"SELECT '{me}-{turn}', v, mark FROM mx_item WHERE id = {me}")
            assert got == [[f"{me}-{turn}", str(mine[me]), f"mark {me}"]]

    asyncio.run(many(p, work))
    assert stats(p)["shared_count"] > 0
    rows = tables.sql(f"SELECT v FROM mx_item WHERE id < {MANY} ORDER BY id", DB)
    assert [int(v) for (v,) in rows] == mine and sum(mine) > 0


def test_transactions_between_reads(tables, proxy):
    p = proxy(tables, pool_size=4)

    async def work(c, me, turn):
        if me % 8:
            return await read_item(c, me, turn)
        await query(c, "BEGIN")
        await query(c, f"UPDATE mx_item SET v = {turn} WHERE id = {me}")
        assert await query(c, f"SELECT v, mark FROM mx_item WHERE id = {me}") == [[str(turn), f"mark {me}"]]
        await query(c, "ROLLBACK")
        assert await query(c, f"SELECT v, mark FROM mx_item WHERE id = {me}") == [["0", f"mark {me}"]]

    asyncio.run(many(p, work, turns=25))
    assert stats(p)["shared_count"] > 0


# ---- slow neighbours ---------------------------------------------------------------------------------

async def waits_beside(p, disturb, seconds=3.0, count=24):
    """Longest wait of quick reads of one digest while disturb(stop) does its worst with it."""
    conns, stop, waits = await connect(p, count), asyncio.Event(), []

    async def loop(me):
        turn = 0
        while not stop.is_set():
            turn += 1
            key, began = 1 + (me * 5 + turn) % 199, time.monotonic()
            got = await query(conns[me], HEAVY.format(token=f"{me}-{turn}", key=key))
            waits.append(time.monotonic() - began)
            assert got == [[f"{me}-{turn}", "1000"]]
            await asyncio.sleep(0.01)

    tasks = [asyncio.ensure_future(loop(me)) for me in range(count)]
    other = asyncio.ensure_future(disturb(stop))
    try:
        await asyncio.sleep(seconds)
        stop.set()
        await asyncio.gather(other, *tasks)
    finally:
        close(conns)
    return max(waits)


def compare_waits(tables, proxy, disturb, tries=3):
    """The longest wait at depth 16 and at depth 1, from pairs of runs until the machine is quiet."""
    seen = []
    for _ in range(tries):
        at = {}
        for depth in (1, 16):
            p = proxy(tables, pool_size=8, config={"multiplex_depth": depth})
            at[depth] = asyncio.run(waits_beside(p, lambda stop: disturb(p, stop)))  # noqa: B023
            if depth > 1:
                assert stats(p)["shared_count"] > 0
            p.stop()
        seen.append(at)
        if at[16] <= at[1] + 0.05:
            return
    pytest.fail(f"longest waits in seconds, by depth: {seen}")


def test_slow_statement_of_the_same_digest_delays_no_other(tables, proxy):
    async def disturb(p, stop):
        (c,) = await connect(p, 1)
        while not stop.is_set():
            assert await query(c, HEAVY.format(token="slow", key=0)) == [["slow", "4000000"]]
            await asyncio.sleep(0.2)
        c.close()

    compare_waits(tables, proxy, disturb)


def test_reads_that_wait_for_a_table_lock_delay_no_other(tables, proxy):
    """Short until the lock was taken, they are sent behind others and others behind them."""
    async def disturb(p, stop):
        conns = await connect(p, 3)
        loop, lock = asyncio.get_running_loop(), tables.admin(DB)
        try:
            while not stop.is_set():
                for i in range(30):
                    assert await query(conns[i % 3], f"SELECT v FROM mx_locked WHERE id = {i}") == [[str(i)]]
                await loop.run_in_executor(None, lock.query, "BEGIN; LOCK TABLE mx_locked")
                waiting = [asyncio.ensure_future(query(c, "SELECT v FROM mx_locked WHERE id = 7"))
                           for c in conns]
                await asyncio.sleep(0.3)
                assert not any(t.done() for t in waiting)
                await loop.run_in_executor(None, lock.query, "COMMIT")
                assert await asyncio.gather(*waiting) == [[["7"]]] * 3
        finally:
            lock.close()
            close(conns)

    compare_waits(tables, proxy, disturb)


def test_lock_holder_of_the_same_pool_is_not_locked_out(tables, proxy):
    """Readers fill the pool and wait for one of its own clients: no deadlock of the proxy's making."""
    p = proxy(tables, pool_size=3)

    async def go():
        holder, *readers = await connect(p, 17)
        for turn in range(5):
            for c in readers:
                assert await query(c, "SELECT v FROM mx_locked WHERE id = 5") == [["5"]]
            await query(holder, "BEGIN")
            await query(holder, "LOCK TABLE mx_locked")
            waiting = [asyncio.ensure_future(query(c, f"SELECT v FROM mx_locked WHERE id = {i}"))
                       for i, c in enumerate(readers)]
            await asyncio.sleep(0.05)
            assert not any(t.done() for t in waiting)
            await query(holder, "UPDATE mx_locked SET v = v WHERE id = 1")
            await query(holder, "COMMIT")
            assert await asyncio.gather(*waiting) == [[[str(i)]] for i in range(len(readers))]
        close([holder, *readers])

    asyncio.run(go())


def test_slow_reader_stalls_no_other(tables, proxy):
    """An answer of many megabytes, of a digest that was short, that its client does not read."""
    p, large = proxy(tables, pool_size=4), "SELECT repeat('x', 1000), {token} FROM generate_series(1, {n})"

    async def go():
        slow, *conns = await connect(p, 17)
        for i in range(40):
            await query(slow, large.format(token=i, n=2))
        slow.transport.pause_reading()
        slow.post(w.query(large.format(token=0, n=60000)))
        for turn in range(20):
            got = await asyncio.gather(*(query(c, large.format(token=i, n=2), limit=5)
                                         for i, c in enumerate(conns)))
            assert got == [[["x" * 1000, str(i)]] * 2 for i in range(len(conns))]
        slow.transport.resume_reading()
        assert len(aio.rows(await asyncio.wait_for(slow.rest(), 30))) == 60000
        assert await query(slow, "SELECT 1") == [["1"]]
        close([slow, *conns])

    asyncio.run(go())
    assert stats(p)["shared_count"] > 0


# ---- cancels, timeouts, losses -----------------------------------------------------------------------

def test_statement_timeout_strikes_its_own_client(tables, proxy):
    p = proxy(tables, pool_size=4)

    async def work(c, me, turn):
        if me % 8:
            return await read_item(c, me, turn)
        if turn == 0:
            await query(c, "SET statement_timeout = '20ms'")
        if turn % 10 == 5:
            msgs = await request(c, w.query(HEAVY.format(token="x", key=0)))
            assert (aio.error(msgs) or {}).get("C") == "57014"
        return None

    asyncio.run(many(p, work, turns=30))
    assert stats(p)["shared_count"] > 0


@pytest.mark.parametrize("workers", [1, 4])
def test_storm_of_cancels_strikes_only_those_who_cancel(tables, proxy, workers):
    p = proxy(tables, pool_size=4, config={"workers": workers})
    hits = []

    async def work(c, me, turn):
        rng = random.Random(me * 1000 + turn)
        if me % 4:
            return await read_item(c, me, turn)
        key = rng.choice((0, 1, 2, 3))
        c.post(w.query(HEAVY.format(token=f"{me}-{turn}", key=key)))
        await asyncio.sleep(rng.random() * 0.01)
        await aio.cancel(p.host, p.port, c)
        msgs = await asyncio.wait_for(c.rest(), 30)
        code = (aio.error(msgs) or {}).get("C")
        if code is None:
            assert aio.rows(msgs) == [[f"{me}-{turn}", "4000000" if key == 0 else "1000"]]
        else:
            assert code == "57014"
            hits.append(me)
        # a cancel that came too late may strike the client's own next request, never another's
        probe = await request(c, w.query(f"SELECT '{me}', mark FROM mx_item WHERE id = {me}"))
        assert (aio.error(probe) or {}).get("C") in (None, "57014")
        return None

    asyncio.run(many(p, work, turns=20))
    assert hits and stats(p)["shared_count"] > 0


def test_query_timeout_strikes_its_own_client(tables, proxy):
    p = proxy(tables, pool_size=4, config={"query_timeout": 1})
    lock = tables.admin(DB)

    async def go():
        conns = await connect(p, 32)
        for i, c in enumerate(conns):
            assert await query(c, f"SELECT v FROM mx_locked WHERE id = {i}") == [[str(i)]]
        await asyncio.get_running_loop().run_in_executor(None, lock.query, "BEGIN; LOCK TABLE mx_locked")
        victims = [asyncio.ensure_future(request(c, w.query("SELECT v FROM mx_locked WHERE id = 1")))
                   for c in conns[:2]]

        async def reads(me):
            turn, end = 0, time.monotonic() + 1.5
            while time.monotonic() < end:
                turn += 1
                await read_item(conns[me], me, turn)

        await asyncio.gather(*(reads(me) for me in range(2, 32)))
        for msgs in await asyncio.gather(*victims):
            assert (aio.error(msgs) or {}).get("C") == "57014"
        await asyncio.get_running_loop().run_in_executor(None, lock.query, "COMMIT")
        for c in conns[:2]:
            assert await query(c, "SELECT v FROM mx_locked WHERE id = 3") == [["3"]]
        close(conns)

    try:
        asyncio.run(go())
    finally:
        lock.close()


@pytest.mark.parametrize("workers", [1, 4])
def test_reads_survive_the_loss_of_their_server(tables, proxy, workers):
    """Servers are terminated one by one while nothing but short reads run: nobody hears of it but who
    has a part of the answer already, for a server that is told to end writes out what it has."""
    p = proxy(tables, pool_size=6, config={"workers": workers})
    killed = []

    async def go():
        admin = await aio.AioConn.open(tables.sockets, tables.port, "postgres", "", DB)
        conns, over, counts = await connect(p, MANY), asyncio.Event(), [0] * MANY

        async def loop(me):
            while not over.is_set():
                counts[me] += 1
                await read_item(conns[me], me, counts[me])

        tasks = [asyncio.ensure_future(loop(me)) for me in range(MANY)]
        await asyncio.sleep(2)              # every worker has learned from the catalog that these are reads
        for turn in range(12):
            await asyncio.sleep(0.25)
            rows = await admin.query(f"SELECT pid FROM pg_stat_activity WHERE usename = '{USER}'")
            if rows:
                killed.append(random.Random(turn).choice(rows)[0])
                await admin.query(f"SELECT pg_terminate_backend({killed[-1]})")
        over.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        admin.close()
        close(conns)
        got = [c.take() for c in conns]
        begun = [any(kind in "TD" for kind, _ in msgs) for msgs in got]
        bad = [(repr(e), got[i]) for i, e in enumerate(done) if e is not None and not begun[i]]
        assert sum(begun) <= len(killed)
        assert not bad, f"{len(bad)} clients of {MANY}, {len(killed)} servers killed: {bad[:3]}"
        assert min(counts) > 5

    asyncio.run(go())
    assert len(killed) > 5 and stats(p)["shared_count"] > 0 and stats(p)["repeated_count"] > 0


# ---- the proxy's own business ------------------------------------------------------------------------

def test_reload_pause_and_reconnect_during_the_load(tables, proxy):
    p = proxy(tables, pool_size=4, config={"workers": 2})

    async def go():
        conns, over, counts = await connect(p, 32), asyncio.Event(), [0] * 32

        async def loop(me):
            while not over.is_set():
                counts[me] += 1
                await read_item(conns[me], me, counts[me])

        def commands():
            with p.console() as con:
                for command in 4 * ("RECONNECT", f"PAUSE {DB}", f"RESUME {DB}", "RELOAD"):
                    con.run(command)
            for depth in (1, 16, 2, 16):
                p.config["multiplex_depth"] = depth
                p.reload()

        tasks = [asyncio.ensure_future(loop(me)) for me in range(32)]
        await asyncio.get_running_loop().run_in_executor(None, commands)
        over.set()
        await asyncio.gather(*tasks)
        assert min(counts) > 2
        close(conns)

    asyncio.run(go())


def test_four_workers_share_one_server(tables, proxy):
    """Constantly fed on one worker, it still comes to the clients of the others."""
    p = proxy(tables, pool_size=1, config={"workers": 4})
    counts = [0] * 32

    async def work(c, me, turn):
        await read_item(c, me, turn)
        counts[me] += 1

    asyncio.run(many(p, work, count=32, turns=30))
    assert counts == [30] * 32
    wait_for(lambda: len(tables.backends(DB, f"usename = '{USER}'")) <= 1, 5, "one server")


def test_views_and_metrics_tell_of_it(tables, proxy):
    p = proxy(tables, pool_size=2)
    asyncio.run(many(p, read_item, count=16, turns=20))
    pools, servers = p.show("POOLS"), p.show("SERVERS")
    assert any("shar" in k for k in pools[0]), list(pools[0])
    assert any("flight" in k for k in servers[0]), list(servers[0])

