"""The numbers clients know themselves by: pg_cancel_backend and pg_terminate_backend on Penstock's own."""
import asyncio
import struct
import time

import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.penstock import ADMIN, ADMIN_SECRET
from support.pgwire import Closed, ServerError
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only
WORKERS = pytest.mark.parametrize("workers", [1, 3])


def login(p, user=USER, secret=SECRET, db=DB, **kw):
    return p.connect(user, secret, db, **kw)


def running(pg, mark):
    return wait_for(lambda: pg.backends(DB, f"state = 'active' AND query LIKE '%{mark}%'"), 5, mark)


@WORKERS
def test_cancel_stops_the_query_and_nothing_else(pg, proxy, workers):
    p = proxy(pg, pool_size=4, config={"workers": workers})
    victims = [login(p) for _ in range(3)]
    killers = [login(p) for _ in range(3)]
    assert all(c.pid >= 4194305 for c in victims + killers)
    for v, k in zip(victims, killers):
        v.send(w.query(f"SELECT pg_sleep(30) /* victim {v.pid} */"))
        running(pg, f"victim {v.pid}")
        shape = k.ask(w.query(f"SELECT pg_cancel_backend({v.pid})"))
        assert w.types_of(shape) == "TDCZ" and w.rows_of(shape) == [["t"]]
        column = shape[0].fields["columns"][0]
        assert column["name"] == "pg_cancel_backend"
        assert w.errors_of(v.read_until())[0]["C"] == "57014"
        assert v.value("SELECT 1") == "1" and k.value("SELECT 2") == "2"
        assert k.value(f"SELECT pg_cancel_backend({v.pid})") == "t"     # idle: nothing to cancel
        assert v.value("SELECT 3") == "3"


@WORKERS
def test_terminate_closes_the_client(pg, proxy, workers):
    p = proxy(pg, pool_size=4, config={"workers": workers})
    idle, busy, in_tx = login(p), login(p), login(p)
    k = login(p)
    busy.send(w.query("SELECT pg_sleep(30) /* busy one */"))
    in_tx.query("BEGIN")
    running(pg, "busy one")
    for v in (idle, busy, in_tx):
        assert k.value(f"SELECT pg_catalog.pg_terminate_backend({v.pid});") == "t"
        m = v.read_until("E")[-1]
        assert (m.fields["S"], m.fields["C"]) == ("FATAL", "57P01")
        with pytest.raises(Closed):
            v.read()
    wait_for(lambda: not pg.backends(DB, "state = 'active' AND query LIKE '%busy one%'"), 5, "an end")
    assert k.value("SELECT 1") == "1"


@WORKERS
def test_waiting_client_leaves_the_queue(pg, proxy, workers):
    p = proxy(pg, pool_size=1, config={"workers": workers})
    k, v = login(p), login(p)
    k.query("BEGIN")
    v.send(w.query("SELECT 1"))
    wait_for(lambda: p.pool(DB)["cl_waiting"] == 1, 5, "a waiting client")
    assert k.value(f"SELECT pg_cancel_backend({v.pid})") == "t"
    assert w.errors_of(v.read_until())[0]["C"] == "57014"
    k.query("COMMIT")
    assert v.value("SELECT 1") == "1"


@WORKERS
def test_only_the_same_user_or_an_admin_may(pg, proxy, workers):
    p = proxy(pg, pool_size=4, config={"workers": workers, "admin_users": f"{ADMIN},other"})
    v = login(p, "other", "other secret")
    v.query("SELECT 1")
    k = login(p)
    with pytest.raises(ServerError) as e:
        k.query(f"SELECT pg_terminate_backend({v.pid})")
    assert e.value.code == "42501"
    assert v.value("SELECT 1") == "1" and k.value("SELECT 1") == "1"
    assert v.value(f"SELECT pg_terminate_backend({k.pid})") == "t"
    assert k.read_until("E")[-1].fields["C"] == "57P01"


@WORKERS
def test_clients_of_another_database_are_out_of_reach(pg, proxy, workers):
    p = proxy(pg, pool_size=4, config={"workers": workers})
    v, k = login(p, db="second"), login(p)
    v.query("SELECT 1")
    msgs = k.ask(w.query(f"SELECT pg_terminate_backend({v.pid})"))
    assert w.rows_of(msgs) == [["f"]] and "N" in w.types_of(msgs)    # PostgreSQL's own answer
    assert v.value("SELECT 1") == "1"
    assert k.value("SELECT pg_cancel_backend(2000000000)") == "f"
    with p.console() as con:
        assert k.value(f"SELECT pg_terminate_backend({con.client.pid})") == "f"


def test_numbers_of_postgres_are_for_postgres(pg, proxy):
    p = proxy(pg, pool_size=4)
    v, k = login(p), login(p)
    v.query("BEGIN")
    pid = v.value("SELECT pg_backend_pid()")
    assert k.value(f"SELECT pg_terminate_backend({pid})") == "t"
    with pytest.raises((ServerError, w.WireError)):
        v.query("SELECT 1")
        v.query("SELECT 1")


def test_answers_stay_in_order_and_in_the_transaction(pg, proxy):
    p = proxy(pg, pool_size=4)
    v, k = login(p), login(p)
    kill = w.query(f"SELECT pg_cancel_backend({v.pid})")
    msgs = k.ask(w.query("SELECT 1, pg_sleep(0.1)"), kill, w.query("SELECT 3"), count=3)
    assert [r[0] for r in w.rows_of(msgs)] == ["1", "t", "3"]
    msgs = k.ask(w.query("BEGIN"), kill, w.query("ROLLBACK"), count=3)
    assert [m.fields["status"] for m in msgs if m.type == "Z"] == ["T", "T", "I"]
    k.query("BEGIN")
    with pytest.raises(ServerError):
        k.query("SELECT 1/0")
    with pytest.raises(ServerError) as e:
        w.rows_of(k.ask(kill))
    assert e.value.code == "25P02"
    k.query("ROLLBACK")


def test_client_may_end_itself(pg, proxy):
    p = proxy(pg, pool_size=2)
    c = login(p)
    c.send(w.query(f"SELECT pg_terminate_backend({c.pid})"))
    assert c.read_until("E")[-1].fields["C"] == "57P01"
    began = time.monotonic()
    with login(p) as d:
        assert d.value("SELECT 1") == "1"
    assert time.monotonic() - began < 5


# ---- the extended protocol ----------------------------------------------------------------------------

MODES = pytest.mark.parametrize("mode", ["transaction", "session"])


def kill_of(pid, fn="pg_cancel_backend", how="$1", types=(), value=None, name="", results=(), **kw):
    """Parse, Bind, Describe of the portal, Execute, Sync, as most drivers send them."""
    binary = isinstance(value, bytes)
    return [w.parse(f"SELECT {fn}({how or pid})", name, types),
            w.bind([value] if how == "$1" or how and "$1" in how else [], name,
                   formats=[1] if binary else [], results=results),
            w.describe("", "P"), w.execute(), w.sync()]


WAYS = {
    "constant": lambda pid: kill_of(pid, how=None),
    "text": lambda pid: kill_of(pid, value=str(pid)),
    "int4": lambda pid: kill_of(pid, value=struct.pack("!i", pid), types=[23]),
    "int4 of no given type": lambda pid: kill_of(pid, value=struct.pack("!i", pid)),
    "int8 with a cast": lambda pid: kill_of(pid, how="$1::int", value=struct.pack("!q", pid), types=[20]),
    "named": lambda pid: kill_of(pid, value=str(pid), name="k"),
    "binary answer": lambda pid: kill_of(pid, value=str(pid), results=[1]),
}


@WORKERS
@MODES
@pytest.mark.parametrize("way", WAYS)
def test_extended_protocol_cancels(pg, proxy, workers, mode, way):
    p = proxy(pg, pool_size=4, mode=mode, config={"workers": workers})
    v, k = login(p), login(p)
    v.send(w.query(f"SELECT pg_sleep(30) /* {way} */"))
    running(pg, f"* {way} *")
    msgs = k.ask(*WAYS[way](v.pid))
    assert w.types_of(msgs) == "12TDCZ", msgs
    binary = way == "binary answer"
    column = msgs[2].fields["columns"][0]
    assert (column["name"], column["oid"], column["format"]) == ("pg_cancel_backend", 16, binary)
    assert msgs[3].fields["values"] == [b"\1" if binary else b"t"]
    assert w.errors_of(v.read_until())[0]["C"] == "57014"
    assert v.value("SELECT 1") == "1" and k.value("SELECT 2") == "2"


@MODES
def test_messages_are_those_of_postgres(pg, proxy, mode):
    """The same requests about a session that exists, directly and through the proxy."""
    p = proxy(pg, pool_size=4, mode=mode)
    requests = [
        lambda pid: WAYS["constant"](pid), lambda pid: WAYS["int4"](pid),
        lambda pid: WAYS["binary answer"](pid),
        lambda pid: [w.parse("SELECT pg_cancel_backend($1)", "q"), w.describe("q"), w.sync()],
        lambda pid: [w.bind([str(pid)], "q"), w.execute(), w.sync()],
        lambda pid: [w.describe("q"), w.bind([str(pid)], "q", "c1"), w.describe("c1", "P"),
                     w.execute("c1", 7), w.sync()],
        lambda pid: [w.bind([str(pid)], "q", formats=[0], results=[0]), w.execute(), w.sync()],
        lambda pid: [w.parse("SELECT pg_cancel_backend($1)", "q"), w.bind([str(pid)], "q"),
                     w.execute(), w.sync()],                        # the name is taken
        lambda pid: [w.bind([str(pid)], "q"), w.execute(rows=1), w.sync()],
        lambda pid: [w.bind([None], "q"), w.execute(), w.sync()],
        lambda pid: [w.close("q"), w.sync()],
        lambda pid: [w.bind([str(pid)], "q"), w.execute(), w.sync()],      # 26000
        lambda pid: [w.parse(f"SELECT pg_cancel_backend({pid})"), w.describe(), w.bind(),
                     w.describe("", "P"), w.execute(), w.sync()],
        lambda pid: [w.bind(), w.execute(), w.sync()],                      # the unnamed one again
        lambda pid: [w.query("BEGIN")],
        lambda pid: WAYS["text"](pid),
        lambda pid: [w.query("COMMIT")],
    ]

    def answers(connect):
        with connect() as target, connect() as c:
            out = []
            for i, make in enumerate(requests):
                target.value("SELECT 1")
                msgs = c.ask(*make(target.pid))
                out.append([(m.type, {x: m.fields.get(x) for x in ("C", "tag", "status", "values", "types")})
                            for m in msgs if m.type != "N"])
            return out

    direct = answers(lambda: pg.connect(USER, SECRET, DB))
    through = answers(lambda: login(p))
    for i, (a, b) in enumerate(zip(direct, through)):
        assert a == b, i


@WORKERS
@MODES
def test_prepared_once_and_used_for_many(pg, proxy, workers, mode):
    p = proxy(pg, pool_size=6, mode=mode, config={"workers": workers})
    k = login(p)
    victims = [login(p) for _ in range(3)]
    msgs = k.ask(w.parse("SELECT pg_terminate_backend($1)", "stop", [23]), w.describe("stop"), w.sync())
    assert w.types_of(msgs) == "1tTZ"
    for v in victims:
        assert k.value("SELECT 1") == "1"
        msgs = k.ask(w.bind([struct.pack("!i", v.pid)], "stop", formats=[1]), w.execute(), w.sync())
        assert w.types_of(msgs) == "2DCZ"
        assert v.read_until("E")[-1].fields["C"] == "57P01"
    msgs = k.ask(w.bind([struct.pack("!i", victims[0].pid)], "stop", formats=[1]), w.execute(), w.sync())
    assert w.rows_of(msgs) == [["f"]]       # gone: the database has the word
    assert k.value("SELECT 1") == "1"


@MODES
def test_named_in_the_same_request_is_there_afterwards(pg, proxy, mode):
    """The answer came from the proxy, so the database must learn of the statement in another way."""
    p = proxy(pg, pool_size=4, mode=mode)
    v, k = login(p), login(p)
    assert w.types_of(k.ask(*kill_of(v.pid, value=str(v.pid), name="kept"))) == "12TDCZ"
    pid = pg.connect(USER, SECRET, DB).pid
    msgs = k.ask(w.bind([str(2 ** 31 - 1)], "kept"), w.execute(), w.sync())
    assert w.rows_of(msgs) == [["f"]], pid
    assert w.types_of(k.ask(w.close("kept"), w.sync())) == "3Z"
    assert w.errors_of(k.ask(w.bind([str(v.pid)], "kept"), w.execute(), w.sync()))[0]["C"] == "26000"
    k.close()
    with login(p) as other:     # on the same server, in session mode
        rows = w.rows_of(other.ask(w.query("SELECT name FROM pg_prepared_statements WHERE name = 'kept'")))
        assert rows == []


def test_denied_in_the_extended_protocol(pg, proxy):
    p = proxy(pg, pool_size=4)
    v, k = login(p, "other", "other secret"), login(p)
    msgs = k.ask(*kill_of(v.pid, "pg_terminate_backend", value=str(v.pid)))
    assert w.errors_of(msgs)[0]["C"] == "42501" and msgs[-1].type == "Z"
    assert v.value("SELECT 1") == "1" and k.value("SELECT 1") == "1"


@WORKERS
def test_drivers_way_of_preparing(pg, proxy, workers):
    psycopg = pytest.importorskip("psycopg")
    p = proxy(pg, pool_size=4, config={"workers": workers})
    with psycopg.connect(host=p.host, port=p.port, user=USER, password=SECRET, dbname=DB,
                         autocommit=True) as c:
        for i in range(8):              # prepared from the sixth on
            v = login(p)
            cur = c.execute("SELECT pg_terminate_backend(%s)", [v.pid], binary=i % 2 == 0)
            assert cur.fetchone() == (True,)
            assert v.read_until("E")[-1].fields["C"] == "57P01"


def test_asyncpg_describes_first(pg, proxy):
    asyncpg = pytest.importorskip("asyncpg")
    p = proxy(pg, pool_size=4)

    async def stop(pids):
        c = await asyncpg.connect(host=p.host, port=p.port, user=USER, password=SECRET, database=DB)
        try:
            return [await c.fetchval("SELECT pg_terminate_backend($1)", pid) for pid in pids]
        finally:
            await c.close()

    victims = [login(p) for _ in range(3)]
    assert asyncio.run(stop([v.pid for v in victims])) == [True] * 3
    assert all(v.read_until("E")[-1].fields["C"] == "57P01" for v in victims)


@WORKERS
@MODES
def test_described_first_with_a_flush(pg, proxy, workers, mode):
    p = proxy(pg, pool_size=4, mode=mode, config={"workers": workers})
    k, v = login(p), login(p)
    number = struct.pack("!i", v.pid)
    k.send(w.parse("SELECT pg_cancel_backend($1)", "f"), w.describe("f"), w.flush())
    assert w.types_of(k.read_until("T")) == "1tT"
    msgs = k.ask(w.bind([number], "f", formats=[1], results=[1]), w.execute(), w.sync())
    assert w.types_of(msgs) == "2DCZ" and msgs[1].fields["values"] == [b"\1"]
    assert k.value("SELECT 1") == "1"
    for _ in range(20):         # not waited for: whoever answers, the answers are in order
        msgs = k.ask(w.describe("f"), w.flush(), w.bind([number], "f", formats=[1]), w.execute(), w.sync())
        assert w.types_of([m for m in msgs if m.type != "N"]) == "tT2DCZ"
    k.send(w.parse("SELECT pg_cancel_backend(nonsense)"), w.describe(), w.flush(),
           w.bind([number], "f", formats=[1]), w.execute(), w.sync())
    assert w.types_of(k.read_until()) == "EZ"
    k.send(w.parse(f"SELECT pg_terminate_backend({k.pid})"), w.flush())
    k.read_until("1")
    k.send(w.bind(), w.execute(), w.sync())
    assert k.read_until("E")[-1].fields["C"] == "57P01"
    assert v.value("SELECT 1") == "1"
    o = login(p, "other", "other secret")
    v.send(w.parse(f"SELECT pg_cancel_backend({o.pid})"), w.flush())
    v.read_until("1")
    msgs = v.ask(w.bind(), w.execute(), w.sync())
    assert w.rows_of([m for m in msgs if m.type != "N"]) == [["f"]]      # not allowed: it reaches nobody
    assert v.value("SELECT 1") == "1" and o.value("SELECT 1") == "1"
