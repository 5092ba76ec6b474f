"""Behaviours 30 to 33 and 135: a client that vanishes at any point leaves nothing behind.

Each test drops a client somewhere in a request, then asks through the same, single server: the next
client must get its own rows, outside any transaction, and no backend may be left at work.
"""
import pytest

from support.common import DB, SECRET, USER
from support import pgwire as w

MANY = "SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g"
EXT = w.parse("SELECT g, 'row' FROM generate_series(1, 100) g") + w.bind() + w.describe("", "P")


@pytest.fixture(scope="module", params=["transaction", "session"])
def single(request, pg):
    from support.penstock import Penstock
    p = Penstock(cluster=pg, mode=request.param, pool_size=1, users={USER: SECRET})
    yield p
    p.close()


def own_rows(single, pg, where):
    """The next client's answers are its own, and the server is clean."""
    with single.connect(USER, SECRET, DB, timeout=20) as c:
        for i in range(3):
            assert c.query(f"SELECT 'own {i}'") == [[f"own {i}"]], where
        assert c.extended("SELECT $1::text", ["own"]) == [["own"]], where
        assert c.status == "I"
        c.query("BEGIN")
        assert c.status == "T"
        c.query("ROLLBACK")
    pg.wait_backends(DB, 0, "state <> 'idle'", timeout=5)


# (bytes, message type after whose n-th appearance the client goes, n)
POINTS = {
    "nothing read": (w.query("SELECT 1"), None, 0),
    "long query running": (w.query("SELECT pg_sleep(30)"), None, 0),
    "row description": (w.query(MANY), "T", 1),
    "a data row": (w.query(MANY), "D", 1),
    "many data rows": (w.query(MANY), "D", 3000),
    "command complete": (w.query("SELECT 1; SELECT pg_sleep(0.3); SELECT 2"), "C", 1),
    "an error": (w.query("SELECT 1/0"), "E", 1),
    "a notice": (w.query("DO $$ BEGIN RAISE NOTICE 'n'; PERFORM pg_sleep(0.3); END $$"), "N", 1),
    "parse complete, flush": (EXT + w.flush(), "1", 1),
    "bind complete, flush": (EXT + w.flush(), "2", 1),
    "row description, flush": (EXT + w.flush(), "T", 1),
    "rows, flush": (EXT + w.execute() + w.flush(), "D", 3),
    "complete, flush": (EXT + w.execute() + w.flush(), "C", 1),
    "portal suspended": (EXT + w.execute("", 5) + w.flush(), "s", 1),
    "error, flush": (w.parse("SELEC") + w.flush(), "E", 1),
    "error, no sync": (w.parse("SELECT 1/0") + w.bind() + w.execute() + w.flush() + EXT, "E", 1),
    "pipeline": ((EXT + w.execute() + w.sync()) * 20, "Z", 3),
    "in a transaction": (w.query("BEGIN") + w.query("CREATE TEMP TABLE t (a int)"), "Z", 2),
    "in a failed transaction": (w.query("BEGIN") + w.query("SELEC"), "Z", 2),
    "in a transaction, query running": (w.query("BEGIN") + w.query("SELECT pg_sleep(30)"), "Z", 1),
    "copy out": (w.query(f"COPY ({MANY}) TO STDOUT"), "d", 5),
    "copy in": (w.query("COPY pg_temp.c FROM STDIN"), "E", 1),
    "copy in started": (w.query("CREATE TEMP TABLE c (a int); COPY c FROM STDIN"), "G", 1),
    "copy in with data": (w.query("CREATE TEMP TABLE c (a int); COPY c FROM STDIN") +
                          w.copy_data("1\n2\n"), "G", 1),
    "after set": (w.query("SET work_mem = '777kB'"), "Z", 1),
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("point", POINTS)
def test_client_vanishes_after(single, pg, point, how):
    data, kind, count = POINTS[point]
    if front_closes_only(how, point):
        pytest.skip("PgBouncer leaves the query running")
    c = single.connect(USER, SECRET, DB)
    c.send(data)
    if kind:
        c.read_until(kind, count)
    c.reset() if how == "reset" else c.abort()
    own_rows(single, pg, point)


def front_closes_only(_how, point):
    from support.penstock import is_pgbouncer
    return is_pgbouncer() and ("running" in point or "pipeline" in point)


HALF = w.query("SELECT 'never to be run', pg_sleep(0)")


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 20, len(HALF) - 1])
def test_half_a_message_is_never_run(single, pg, cut):
    c = single.connect(USER, SECRET, DB)
    c.send(HALF[:cut])
    c.abort()
    own_rows(single, pg, f"cut at {cut}")


@pytest.mark.parametrize("data", [
    w.parse("SELECT 1"), EXT, EXT + w.execute(), EXT + w.execute()[:5],
    w.query("SELECT 1") + w.parse("SELECT 2")[:9],
    w.parse("INSERT INTO never VALUES (1)") + w.bind() + w.execute(),
    w.query("SELECT '" + "y" * 300000 + "'")[:200000],
    w.query("BEGIN") + w.query("SELECT '" + "y" * 300000 + "'")[:200000],
    w.bind([b"z" * 100000])[:50000],
    b"Q\x7f\xff\xff\xf0SELECT 1",
], ids=range(10))
def test_half_a_request_leaves_a_clean_server(single, pg, data):
    c = single.connect(USER, SECRET, DB)
    c.send(data)
    c.abort()
    own_rows(single, pg, data[:40])


def test_uncommitted_work_of_a_vanished_client_is_gone(single, pg):
    pg.sql("CREATE TABLE vanish (a int); GRANT ALL ON vanish TO app", DB)
    c = single.connect(USER, SECRET, DB)
    c.query("BEGIN")
    c.query("INSERT INTO vanish VALUES (1)")
    c.abort()
    own_rows(single, pg, "insert")
    assert pg.value("SELECT count(*) FROM vanish", DB) == "0"
    pg.sql("DROP TABLE vanish", DB)


def test_two_hundred_clients_vanish_at_once(single, pg):
    clients = [single.connect(USER, SECRET, DB) for _ in range(20)] if is_session(single) else \
              [single.connect(USER, SECRET, DB) for _ in range(200)]
    for i, c in enumerate(clients):
        c.send(w.query(f"SELECT {i}, repeat('v', 2000) FROM generate_series(1, 50)"))
    for c in clients:
        c.abort()
    own_rows(single, pg, "200 clients")


def is_session(p):
    return p.config["pool_mode"] == "session"
