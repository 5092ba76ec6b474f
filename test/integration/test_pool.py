"""Behaviours 35, 37, 41 to 52, 54, 121, 124 and the limits: pools in front of a real PostgreSQL."""
import signal
import socket
import threading
import time

import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.pgwire import Closed, RawClient, ServerError
from support.procs import wait_for


def login(p, **kw):
    return p.connect(USER, SECRET, kw.pop("db", DB), **kw)


def backend(c):
    return c.value("SELECT pg_backend_pid()")


def test_two_hundred_clients_over_ten_servers(pg, proxy):
    p = proxy(pg, pool_size=10)
    clients = [login(p, timeout=30) for _ in range(200)]
    for turn in range(3):
        for i, c in enumerate(clients):
            c.send(w.query(f"SELECT {i}, {turn}, pg_sleep(0.002)"))
        for i, c in enumerate(clients):
            assert w.rows_of(c.read_until())[0][:2] == [str(i), str(turn)]
        assert len(pg.backends(DB, f"usename = '{USER}'")) <= 10
    assert p.pool(DB)["cl_waiting"] == 0
    for c in clients:
        c.close()


def test_waiting_clients_are_served_in_order(pg, proxy):
    p = proxy(pg, pool_size=1, config={"workers": 1})
    holder = login(p)
    holder.query("BEGIN")
    clients = [login(p) for _ in range(10)]
    pg.sql("CREATE TABLE IF NOT EXISTS turns (n serial, who int); GRANT ALL ON turns, turns_n_seq TO app;"
           " TRUNCATE turns", DB)
    for i, c in enumerate(clients):
        c.send(w.query(f"INSERT INTO turns (who) VALUES ({i})"))
        wait_for(lambda n=i + 1: p.pool(DB)["cl_waiting"] == n, 5, f"{i + 1} waiting clients")
    holder.query("COMMIT")
    for c in clients:
        c.read_until()
        c.close()
    holder.close()
    assert pg.sql("SELECT who FROM turns ORDER BY n", DB) == [[str(i)] for i in range(10)]
    pg.sql("DROP TABLE turns", DB)


def test_pool_opens_many_connections_at_once(pg, proxy):
    p = proxy(pg, mode="session", pool_size=40)
    clients = [login(p) for _ in range(40)]
    began = time.monotonic()
    for c in clients:
        c.send(w.query("SELECT pg_sleep(0.5)"))
    for c in clients:
        c.read_until()
    assert time.monotonic() - began < 4
    for c in clients:
        c.close()


def test_session_mode_keeps_one_server_and_cleans_it(pg, proxy):
    p = proxy(pg, mode="session", pool_size=1)
    with login(p) as c:
        pid = backend(c)
        c.query("SET work_mem = '999kB'")
        c.query("CREATE TEMP TABLE kept (a int)")
        c.query("PREPARE kept AS SELECT 1")
        assert c.value("SHOW work_mem") == "999kB" and backend(c) == pid
    with login(p) as c:
        assert backend(c) == pid
        assert c.value("SHOW work_mem") == "4MB"
        assert c.value("SELECT to_regclass('pg_temp.kept')") is None
        assert c.query("SELECT * FROM pg_prepared_statements") == []


def test_transaction_mode_shares_servers_between_transactions(pg, proxy):
    p = proxy(pg, pool_size=1)
    with login(p) as a, login(p) as b:
        assert backend(a) == backend(b) == backend(a)
        a.query("BEGIN")
        pid = backend(a)
        b.send(w.query("SELECT 'waited'"))
        assert b.quiet(0.2)
        assert backend(a) == pid
        a.query("COMMIT")
        assert w.rows_of(b.read_until()) == [["waited"]]


def test_statement_mode_refuses_transactions(pg, proxy):
    p = proxy(pg, mode="statement", pool_size=1)
    c = login(p)
    assert c.value("SELECT 1") == "1"
    msgs = c.ask(w.query("BEGIN"), until="ZE")
    assert "transaction blocks not allowed" in w.errors_of(msgs)[0]["M"]
    c.abort()
    with login(p) as c:
        assert c.value("SELECT 1") == "1" and c.status == "I"


def test_query_wait_timeout_takes_the_waiter_out(pg, proxy):
    p = proxy(pg, pool_size=1, config={"query_wait_timeout": 1})
    with login(p) as holder:
        c = login(p)
        holder.query("BEGIN")
        began = time.monotonic()
        msgs = c.ask(w.query("SELECT 1"), until="ZE")
        assert w.errors_of(msgs) and 0.5 < time.monotonic() - began < 4
        wait_for(lambda: p.pool(DB)["cl_waiting"] == 0, 5, "the queue to be empty")
        holder.query("COMMIT")
        assert holder.value("SELECT 1") == "1"
        c.abort()


@pytest.mark.penstock_only
def test_cancel_of_a_waiting_client(pg, proxy):
    p = proxy(pg, pool_size=1)
    with login(p) as holder, login(p) as c:
        holder.query("BEGIN")
        c.send(w.query("SELECT 1"))
        wait_for(lambda: p.pool(DB)["cl_waiting"] == 1, 5, "the client to wait")
        c.cancel()
        assert w.errors_of(c.read_until())[0]["C"] == "57014"
        assert p.pool(DB)["cl_waiting"] == 0
        holder.query("COMMIT")
        assert c.value("SELECT 1") == "1"


@pytest.mark.penstock_only
def test_query_timeout_leaves_the_connection(pg, proxy):
    p = proxy(pg, pool_size=1, config={"query_timeout": 1})
    with login(p) as c:
        msgs = c.ask(w.query("SELECT pg_sleep(30)"))
        assert w.types_of(msgs)[-2:] == "EZ" and w.errors_of(msgs)[0]["C"] == "57014"
        assert c.value("SELECT 1") == "1"
    pg.wait_backends(DB, 0, "state <> 'idle'")


@pytest.mark.penstock_only
def test_idle_transaction_timeout_rolls_back_and_tells(pg, proxy):
    p = proxy(pg, pool_size=1, config={"idle_transaction_timeout": 1})
    c = login(p)
    c.query("BEGIN")
    msgs = c.read_to_end()
    error = w.errors_of(msgs)[0]
    assert (error["S"], error["C"]) == ("FATAL", "25P03")
    with login(p) as c:
        assert c.value("SELECT 1") == "1"


def test_max_client_conn(pg, proxy):
    p = proxy(pg, config={"max_client_conn": 5})
    clients = [login(p) for _ in range(5)]
    with pytest.raises((ServerError, Closed)) as e:
        login(p)
    assert "no more connections allowed" in str(e.value)
    clients.pop().close()
    wait_for(lambda: can_login(p), 5, "a place to be free")
    for c in clients:
        assert c.value("SELECT 1") == "1"
        c.close()


def can_login(p):
    try:
        login(p).close()
        return True
    except (ServerError, Closed):
        return False


def test_max_db_connections(pg, proxy):
    p = proxy(databases={DB: {"host": pg.host, "port": pg.port, "max_db_connections": 3}}, pool_size=20)
    clients = [login(p) for _ in range(12)]
    for c in clients:
        c.send(w.query("SELECT pg_sleep(0.1)"))
    most = 0
    for c in clients:
        c.read_until()
        most = max(most, len(pg.backends(DB, f"usename = '{USER}'")))
        c.close()
    assert 1 < most <= 3


def test_terminated_server_costs_one_error(pg, proxy):
    p = proxy(pg, pool_size=1)
    with login(p) as other:
        c = login(p)
        c.send(w.query("SELECT pg_sleep(20)"))
        rows = wait_for(lambda: pg.backends(DB, "query LIKE '%pg_sleep(20)%' AND state = 'active'"))
        pg.sql(f"SELECT pg_terminate_backend({rows[0][0]})")
        assert w.errors_of(c.read_until("EZ"))[0]["C"] == "57P01"
        c.abort()
        assert other.value("SELECT 'lives'") == "lives"


def test_server_that_died_idle_is_replaced_unseen(pg, proxy):
    p = proxy(pg, pool_size=1)
    with login(p) as c:
        old = backend(c)
        pg.sql(f"SELECT pg_terminate_backend({old})")
        pg.wait_backends(DB, 0, f"pid = {old}")
        wait_for(lambda: p.pool(DB)["sv_idle"] == 0, 5, "the pool to notice")
        assert c.value("SELECT 1") == "1"
        assert backend(c) != old


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_clients_outlive_a_restart_of_the_server(own_pg, proxy, mode):
    pg = own_pg()
    p = proxy(pg, pool_size=5)
    clients = [login(p) for _ in range(20)]
    for c in clients:
        assert c.value("SELECT 1") == "1"
    pg.restart(mode)
    wait_for(lambda: p.pool(DB)["sv_idle"] == 0, 5, "the pool to notice")
    for i, c in enumerate(clients):
        assert c.value(f"SELECT {i}") == str(i)
        c.close()


def test_reload_keeps_clients_and_servers(pg, proxy):
    p = proxy(pg, pool_size=2)
    with login(p) as c, login(p) as in_tx:
        in_tx.query("BEGIN")
        tx_pid = backend(in_tx)
        pid = backend(c)
        p.config["query_wait_timeout"] = 17
        p.reload()
        assert [r["value"] for r in p.show("CONFIG") if r["key"] == "query_wait_timeout"] == ["17"]
        assert backend(in_tx) == tx_pid and in_tx.status == "T"
        assert backend(c) == pid
        in_tx.query("COMMIT")


def test_a_bad_reload_changes_nothing(pg, proxy):
    p = proxy(pg, pool_size=2)
    with login(p) as c:
        p.config["no_such_key"] = "1"
        with pytest.raises(ServerError):
            p.reload()
        del p.config["no_such_key"]
        assert c.value("SELECT 1") == "1"
        with login(p) as d:
            assert d.value("SELECT 1") == "1"


def test_sighup_reloads(pg, proxy):
    p = proxy(pg, pool_size=2)
    p.config["query_wait_timeout"] = 19
    p.hup()
    wait_for(lambda: [r["value"] for r in p.show("CONFIG") if r["key"] == "query_wait_timeout"] == ["19"],
             5, "the new value")


def test_reload_under_load_loses_nobody(pg, proxy):
    p = proxy(pg, pool_size=5)
    stop, failures, done = threading.Event(), [], []

    def work(number):
        try:
            with login(p) as c:
                n = 0
                while not stop.is_set():
                    n += 1
                    assert c.value(f"SELECT {number * 1000000 + n}") == str(number * 1000000 + n)
                done.append(n)
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for i in range(10):
        p.config["default_pool_size"] = 2 + i % 4
        p.reload()
    stop.set()
    for t in threads:
        t.join(20)
    assert not failures and len(done) == 8 and all(done)


def test_pause_holds_and_resume_goes_on(pg, proxy):
    p = proxy(pg, pool_size=2)
    with login(p) as c, p.console() as con:
        c.query("SELECT 1")
        con.run(f"PAUSE {DB}")
        pg.wait_backends(DB, 0, f"usename = '{USER}'")
        c.send(w.query("SELECT 'after pause'"))
        assert c.quiet(0.3)
        con.run(f"RESUME {DB}")
        assert w.rows_of(c.read_until()) == [["after pause"]]


def test_reconnect_replaces_all_servers(pg, proxy):
    p = proxy(pg, pool_size=1)
    with login(p) as c, p.console() as con:
        old = backend(c)
        con.run("RECONNECT")
        wait_for(lambda: backend(c) != old, 5, "a new server")


def test_kill_closes_clients(pg, proxy):
    p = proxy(pg, pool_size=2)
    c = login(p)
    c.query("SELECT 1")
    with p.console() as con:
        con.run(f"KILL {DB}")
        assert w.types_of(c.read_to_end()) in ("", "E")
        con.run(f"RESUME {DB}")
    with login(p) as c:
        assert c.value("SELECT 1") == "1"


def test_sigint_lets_a_transaction_finish(pg, proxy):
    p = proxy(pg, pool_size=2, check_on_stop=False)
    c = login(p)
    c.query("BEGIN")
    c.query("SELECT 1")
    p.child.send_signal(signal.SIGINT)
    assert c.value("SELECT 'still here'") == "still here"
    c.query("COMMIT")
    assert p.child.wait(10) == 0


def test_second_proxy_on_the_same_port_is_refused(pg, proxy):
    import subprocess
    from support import procs
    p = proxy(pg)
    user = procs.unprivileged_user()
    ids = {"user": user.pw_uid, "group": user.pw_gid} if user else {}
    done = subprocess.run([p.program, p.ini], capture_output=True, timeout=20, cwd="/tmp", **ids)
    assert done.returncode not in (0, -11, -6)
    with login(p) as c:
        assert c.value("SELECT 1") == "1"


def listens(path):
    """The file is there from bind() on, a connection is taken from listen() on."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(path) == 0


def test_unix_socket_on_both_sides(pg, proxy):
    p = proxy(databases={DB: {"host": pg.sockets, "port": pg.port}})
    # it is up when it answers over TCP, whose socket is opened first
    wait_for(lambda: listens(f"{p.dir}/.s.PGSQL.{p.port}"), 10, "the Unix socket")
    with RawClient.login(p.port, USER, SECRET, DB, host=p.dir) as c:
        assert c.value("SELECT inet_client_addr()") is None


def test_ipv6_on_both_sides(pg, proxy):
    both = {"listen_addr": "127.0.0.1, ::1"}
    inner = proxy(pg, config=both)          # in place of a PostgreSQL that listens there
    p = proxy(databases={DB: {"host": "::1", "port": inner.port}}, config=both)
    with login(p, host="::1") as c:
        assert c.value("SELECT 1") == "1"
        assert "::1" in [row["addr"] for row in p.show("CLIENTS")]
        assert {row["addr"] for row in p.show("SERVERS")} == {"::1"}
