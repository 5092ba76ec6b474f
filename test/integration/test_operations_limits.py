"""Limits of pools, databases and users, lives of servers, and every timeout, with 1 and 4 workers."""
import time

import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.fake_server import FakeServer
from support.pgwire import Closed, RawClient, ServerError
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only
MINE = f"usename = '{USER}'"
both = pytest.mark.parametrize("workers", [1, 4])


def login(p, **kw):
    return p.connect(kw.pop("user", USER), kw.pop("secret", SECRET), kw.pop("db", DB), **kw)


def backend(c):
    return c.value("SELECT pg_backend_pid()")


def fatal_of(c):
    return w.errors_of(c.read_to_end())[-1]


def entry(pg, **kw):
    return {"host": pg.host, "port": pg.port, **kw}


def work(clients, watch, seconds=0.05):
    """All ask at once; returns the most that watch() saw meanwhile."""
    for c in clients:
        c.send(w.query(f"SELECT pg_sleep({seconds})"))
    most = 0
    for c in clients:
        c.read_until()
        most = max(most, watch())
    return most


def refusal(p, **kw):
    with pytest.raises((ServerError, Closed)) as e:
        login(p, **kw)
    return str(e.value)


# ---- counts -----------------------------------------------------------------------------------------

@both
def test_pool_size_holds_across_workers(pg, proxy, workers):
    p = proxy(pg, pool_size=3, config={"workers": workers})
    clients = [login(p) for _ in range(12)]
    for _ in range(3):
        assert work(clients, lambda: len(pg.backends(DB, MINE))) <= 3
    assert len(pg.backends(DB, MINE)) == 3


@both
def test_max_client_conn_holds_across_workers(pg, proxy, workers):
    p = proxy(pg, config={"max_client_conn": 7, "workers": workers})
    clients = [login(p) for _ in range(7)]
    for _ in range(4):
        assert "max_client_conn" in refusal(p)
    for c in clients:
        assert c.value("SELECT 1") == "1"


@both
def test_max_db_connections_over_two_users(pg, proxy, workers):
    p = proxy(databases={DB: entry(pg, max_db_connections=3)}, pool_size=10,
              config={"workers": workers})
    clients = [login(p) for _ in range(4)]
    clients += [login(p, user="other", secret="other secret") for _ in range(4)]
    assert work(clients, lambda: len(pg.backends(DB, "usename IN ('app', 'other')"))) <= 3
    for c in clients:
        assert c.value("SELECT 1") == "1"


@both
def test_max_user_connections_over_two_databases(pg, proxy, workers):
    p = proxy(pg, pool_size=10, config={"workers": workers},
              user_options={USER: "max_user_connections=2"})
    clients = [login(p) for _ in range(4)] + [login(p, db="second") for _ in range(4)]
    assert work(clients, lambda: len(pg.backends(None, MINE))) <= 2
    for c in clients:
        assert c.value("SELECT 1") == "1"


@both
def test_max_db_client_connections(pg, proxy, workers):
    p = proxy(databases={DB: entry(pg, max_db_client_connections=3), "*": entry(pg)},
              config={"workers": workers})
    clients = [login(p) for _ in range(3)]
    assert "max_db_client_connections" in refusal(p)
    with login(p, db="second") as c:
        assert c.value("SELECT 1") == "1"
    clients.pop().close()
    wait_for(lambda: p.pool(DB)["cl_active"] == 2, 5, "the place")
    with login(p) as c:
        assert c.value("SELECT 1") == "1"


@both
def test_max_user_client_connections(pg, proxy, workers):
    p = proxy(pg, config={"workers": workers}, user_options={USER: "max_user_client_connections=2"})
    clients = [login(p), login(p, db="second")]
    assert "max_user_client_connections" in refusal(p)
    with login(p, user="other", secret="other secret") as c:
        assert c.value("SELECT 1") == "1"
    for c in clients:
        assert c.value("SELECT 1") == "1"


@both
def test_min_pool_size(pg, proxy, workers):
    p = proxy(databases={DB: entry(pg, min_pool_size=3)}, config={"workers": workers})
    with login(p) as c:
        wait_for(lambda: len(pg.backends(DB, MINE)) == 3, 8, "three servers")
        time.sleep(0.5)
        assert len(pg.backends(DB, MINE)) == 3
        pg.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {MINE}")
        wait_for(lambda: len(pg.backends(DB, MINE)) == 3, 8, "three servers again")
        assert c.value("SELECT 1") == "1"


def test_min_pool_size_of_a_forced_user_needs_no_client(pg, proxy):
    p = proxy(databases={DB: entry(pg, min_pool_size=2, user=USER, password=SECRET)})
    wait_for(lambda: len(pg.backends(DB, MINE)) == 2, 5, "two servers without a client")
    with login(p) as c:
        assert c.value("SELECT 1") == "1"


def test_reserve_pool(pg, proxy):
    p = proxy(pg, pool_size=1, config={"reserve_pool_size": 1, "reserve_pool_timeout": 0.5})
    a, b, c = login(p), login(p), login(p)
    a.query("BEGIN")
    began = time.monotonic()
    b.query("BEGIN")
    assert 0.4 < time.monotonic() - began < 3
    c.send(w.query("SELECT 'third'"))
    assert c.quiet(1.2) and len(pg.backends(DB, MINE)) == 2
    a.query("COMMIT")
    assert w.rows_of(c.read_until()) == [["third"]]
    b.query("COMMIT")


@both
def test_max_waiting(pg, proxy, workers):
    p = proxy(pg, pool_size=1, config={"max_waiting": 2, "workers": workers})
    holder, a, b, c = (login(p) for _ in range(4))
    holder.query("BEGIN")
    for x in (a, b):
        x.send(w.query("SELECT 'waited'"))
    wait_for(lambda: p.pool(DB)["cl_waiting"] == 2, 5, "two to wait")
    c.send(w.query("SELECT 1"))
    error = c.read_until("E")[-1].fields
    assert error["C"] == "53300" and "max_waiting" in error["M"], error
    holder.query("COMMIT")
    for x in (a, b):
        assert w.rows_of(x.read_until()) == [["waited"]]


# ---- lives of servers -------------------------------------------------------------------------------

@both
def test_server_lifetime(pg, proxy, workers):
    p = proxy(pg, pool_size=1, config={"server_lifetime": 1, "workers": workers})
    with login(p) as c:
        old = backend(c)
        c.query("BEGIN")
        assert backend(c) == old
        time.sleep(1.6)
        assert backend(c) == old            # not while it is in use
        c.query("COMMIT")
        wait_for(lambda: backend(c) != old, 5, "a new server")


def test_server_idle_timeout(pg, proxy):
    p = proxy(pg, pool_size=3, config={"server_idle_timeout": 1})
    with login(p) as c:
        c.query("SELECT 1")
        pg.wait_backends(DB, 0, MINE)
        assert c.value("SELECT 1") == "1"


def at(where, option, **kw):
    """Arguments for a proxy with that option in the database's entry or in the user's."""
    key, value = option
    if where == "user":
        kw["user_options"] = {USER: f"{key}={value}"}
    else:
        kw["databases"] = {name: {**keys, key: value} for name, keys in kw["databases"].items()}
    return kw


@pytest.mark.penstock_only
@pytest.mark.parametrize("where", ["database", "user"])
def test_lives_of_servers_by_database_and_user(pg, proxy, where):
    p = proxy(**at(where, ("server_idle_timeout", 1), databases={"*": entry(pg)}))
    with login(p) as c:
        c.query("SELECT 1")
        pg.wait_backends(DB, 0, MINE)
    p = proxy(pool_size=1, **at(where, ("server_lifetime", 1), databases={"*": entry(pg)}))
    with login(p) as c:
        old = backend(c)
        wait_for(lambda: backend(c) != old, 5, "a new server")


@pytest.mark.penstock_only
@pytest.mark.parametrize("where", ["database", "user"])
def test_login_timeouts_by_database_and_user(pg, proxy, where):
    p = proxy(**at(where, ("client_login_timeout", 1), databases={"*": entry(pg)}))
    c = RawClient(p.port, p.host, 5)
    c.send(w.startup_packet([("user", USER), ("database", DB)]))
    began = time.monotonic()
    assert "client_login_timeout" in w.errors_of(c.read_to_end())[-1]["M"]
    assert 0.7 < time.monotonic() - began < 4
    with login(p) as c:
        time.sleep(1.3)
        assert c.value("SELECT 1") == "1"

    def silent(conn):
        conn.read()

    with FakeServer(silent) as server:
        p = proxy(**at(where, ("server_connect_timeout", 1), databases={DB: server.database()}))
        began = time.monotonic()
        with pytest.raises(ServerError):
            login(p)
        assert 0.7 < time.monotonic() - began < 4


def test_server_check_query_after_its_delay(proxy):
    with FakeServer(answers={"work": w.select_reply(["a"], [["1"]])}) as server:
        p = proxy(databases={DB: server.database()}, pool_size=1,
                  config={"server_check_query": "SELECT 'are you there'", "server_check_delay": 0.5})

        def checks():
            return sum("are you there" in s for s in server.statements())

        with login(p) as c:
            for _ in range(5):
                assert c.value("SELECT 'work'") == "1"
            assert checks() == 0
            time.sleep(0.8)
            assert c.value("SELECT 'work'") == "1" and checks() == 1
            assert c.value("SELECT 'work'") == "1" and checks() == 1


def test_server_that_fails_its_check_is_replaced(proxy):
    def script(conn):
        conn.login()
        bad = {} if conn.number else {"are you there": w.error_response("no", "XX000") + w.ready()}
        conn.serve({**bad, "work": w.select_reply(["a"], [[str(conn.number)]])})

    with FakeServer(script) as server:
        p = proxy(databases={DB: server.database()}, pool_size=1,
                  config={"server_check_query": "SELECT 'are you there'", "server_check_delay": 0.3})
        with login(p) as c:
            assert c.value("SELECT 'work'") == "0"
            time.sleep(0.6)
            assert c.value("SELECT 'work'") == "1"


# ---- timeouts ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("where", ["global", "database", "user"])
def test_query_timeout_of_each_level(pg, proxy, where):
    one = {"query_timeout": 1}
    p = proxy(databases={"*": entry(pg, **(one if where == "database" else {}))}, pool_size=2,
              config=one if where == "global" else None,
              user_options={USER: "query_timeout=1"} if where == "user" else None)
    with login(p) as c:
        began = time.monotonic()
        assert w.errors_of(c.ask(w.query("SELECT pg_sleep(20)")))[0]["C"] == "57014"
        assert 0.7 < time.monotonic() - began < 4 and c.value("SELECT 1") == "1"
        msgs = c.ask(w.parse("SELECT pg_sleep(20)"), w.bind(), w.execute(), w.sync())
        assert w.errors_of(msgs)[0]["C"] == "57014" and c.value("SELECT 1") == "1"
    pg.wait_backends(DB, 0, "state = 'active'")


@pytest.mark.penstock_only
def test_query_timeout_of_a_pipeline_is_that_of_each_request(pg, proxy):
    p = proxy(pg, config={"query_timeout": 2})

    def batch(seconds):
        return w.parse(f"SELECT pg_sleep({seconds})") + w.bind() + w.execute() + w.sync()

    with login(p) as c:
        c.send(batch(1.1) * 2 + batch(20) + batch(0.1) * 2)
        for _ in range(2):
            assert not w.errors_of(c.read_until())
        assert w.errors_of(c.read_until())[0]["C"] == "57014"
        c.read_until()      # PostgreSQL signals a backend and its group: what is right behind may be hit by the second
        assert not w.errors_of(c.read_until())
        assert c.value("SELECT 1") == "1"


def test_query_wait_timeout_with_four_workers(pg, proxy):
    p = proxy(pg, pool_size=1, config={"query_wait_timeout": 1, "workers": 4})
    with login(p) as holder:
        holder.query("BEGIN")
        waiters = [login(p) for _ in range(4)]
        began = time.monotonic()
        for c in waiters:
            c.send(w.query("SELECT 1"))
        for c in waiters:
            error = c.read_until("E")[-1].fields
            assert "query_wait_timeout" in error["M"], error
        assert 0.7 < time.monotonic() - began < 4
        holder.query("COMMIT")
        assert holder.value("SELECT 1") == "1"


@both
def test_idle_transaction_timeout(pg, proxy, workers):
    p = proxy(pg, pool_size=1, config={"idle_transaction_timeout": 1, "workers": workers})
    c = login(p)
    c.query("BEGIN")
    began = time.monotonic()
    c.query("SELECT pg_sleep(1.3)")             # busy is not idle
    assert c.value("SELECT 1") == "1"
    error = fatal_of(c)
    assert (error["S"], error["C"]) == ("FATAL", "25P03") and 2 < time.monotonic() - began < 6
    with login(p) as d:
        assert d.value("SELECT 1") == "1"
    pg.wait_backends(DB, 0, "state LIKE 'idle in%'")


def test_transaction_timeout(pg, proxy):
    p = proxy(pg, pool_size=1, config={"transaction_timeout": 1})
    c = login(p)
    for _ in range(3):
        assert c.query("BEGIN") == [] and c.query("COMMIT") == []
        time.sleep(0.4)                         # not in a transaction: time does not count
    c.query("BEGIN")
    began = time.monotonic()
    error = None
    while not error and time.monotonic() - began < 5:
        error = c.ask(w.query("SELECT pg_sleep(0.1)"), until="ZE")[-1].fields.get("C")
    assert 0.7 < time.monotonic() - began < 3
    assert error == "25P04"
    with login(p) as d:
        assert d.value("SELECT 1") == "1"
    pg.wait_backends(DB, 0, "state LIKE 'idle in%'")


def test_client_idle_timeout(pg, proxy):
    p = proxy(pg, pool_size=2, config={"client_idle_timeout": 1})
    idle, in_tx = login(p), login(p)
    in_tx.query("BEGIN")
    began = time.monotonic()
    error = fatal_of(idle)
    assert error["S"] == "FATAL" and "client_idle_timeout" in error["M"]
    assert 0.7 < time.monotonic() - began < 3
    assert in_tx.value("SELECT 1") == "1"       # idle in a transaction is another timeout's business
    in_tx.query("COMMIT")
    for _ in range(4):
        time.sleep(0.4)
        assert in_tx.value("SELECT 1") == "1"   # one who works is not idle


@both
def test_client_login_timeout(pg, proxy, workers):
    p = proxy(pg, config={"client_login_timeout": 1, "workers": workers})
    silent, half, unproved = (RawClient(p.port, p.host, 5) for _ in range(3))
    half.send(w.startup_packet([("user", USER), ("database", DB)])[:-5])
    unproved.send(w.startup_packet([("user", USER), ("database", DB)]))
    began = time.monotonic()
    for c in (silent, half, unproved):
        errors = w.errors_of(c.read_to_end())
        assert not errors or "client_login_timeout" in errors[-1]["M"]
    assert 0.7 < time.monotonic() - began < 3
    with login(p) as c:
        time.sleep(1.3)
        assert c.value("SELECT 1") == "1"


def test_server_connect_timeout(proxy):
    def script(conn):
        conn.read()                             # says nothing, ever

    with FakeServer(script) as server:
        p = proxy(databases={DB: server.database()}, config={"server_connect_timeout": 1})
        began = time.monotonic()
        with pytest.raises(ServerError) as e:
            login(p)
        assert 0.7 < time.monotonic() - began < 4, e.value
