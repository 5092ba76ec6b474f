"""What an operator does and what befalls him: signals, the command line, reload, dead and restarted
servers, short descriptors, crowds.  Limits and timeouts are in test_operations_limits.py."""
import asyncio
import os
import signal
import subprocess
import threading
import time

import pytest

from support import pgwire as w
from support import procs
from support.aio import AioConn
from support.common import DB, SECRET, USER
from support.fake_server import FakeServer
from support.pgwire import Closed, RawClient, ServerError, WireError
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only


def login(p, **kw):
    return p.connect(USER, SECRET, kw.pop("db", DB), **kw)


def backend(c):
    return c.value("SELECT pg_backend_pid()")


def end_of(c):
    """The last error before the connection ends, or None."""
    errors = w.errors_of(c.read_to_end())
    return errors[-1] if errors else None


def option(p, key):
    return [r["value"] for r in p.show("CONFIG") if r["key"] == key][0]


def refused(p):
    try:
        RawClient(p.port, p.host, 2).abort()
        return False
    except ConnectionRefusedError:
        return True


def fds(p):
    return len(os.listdir(f"/proc/{p.pid}/fd"))


def run(p, *args):
    user = procs.unprivileged_user()
    ids = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    return subprocess.run([p.program, *args], capture_output=True, text=True, timeout=20, cwd="/tmp",
                          **ids)


# ---- signals ----------------------------------------------------------------------------------------

def test_hup_with_a_bad_file_keeps_the_old_configuration(pg, proxy):
    p = proxy(pg, pool_size=1, config={"query_wait_timeout": 21})
    with login(p) as c:
        pid = backend(c)
        p.config["query_wait_timeout"] = "soon"
        p.config["default_pool_size"] = 2
        p.hup()
        p.wait_log("reload failed")
        line = [x for x in p.log_text().splitlines() if "reload failed" in x][0]
        assert "query_wait_timeout" in line and f"{p.ini}:" in line
        assert option(p, "query_wait_timeout") == "21" and option(p, "default_pool_size") == "1"
        assert backend(c) == pid
        p.config["query_wait_timeout"] = 22
        p.hup()
        wait_for(lambda: option(p, "query_wait_timeout") == "22", 5, "the good file to be taken")
        assert backend(c) == pid


@pytest.mark.parametrize("workers", [1, 4])
def test_term_waits_until_the_clients_have_left(pg, proxy, workers):
    p = proxy(pg, config={"workers": workers})
    idle, in_tx = login(p), login(p)
    idle.query("SELECT 1")
    in_tx.query("BEGIN")
    p.child.send_signal(signal.SIGTERM)
    wait_for(lambda: refused(p), 5, "new clients to be refused")
    time.sleep(0.5)
    assert p.alive() and idle.value("SELECT 'idle stays'") == "idle stays"
    in_tx.query("COMMIT")
    in_tx.close()
    assert idle.value("SELECT 1") == "1" and p.alive()
    idle.close()
    assert p.child.wait(5) == 0


def test_second_term_ends_at_once(pg, proxy):
    p = proxy(pg)
    c = login(p)
    c.query("BEGIN")
    p.child.send_signal(signal.SIGTERM)
    wait_for(lambda: refused(p), 5, "new clients to be refused")
    p.child.send_signal(signal.SIGTERM)
    assert p.child.wait(3) == 0
    error = end_of(c)
    assert error is None or (error["S"], error["C"]) == ("FATAL", "57P01")
    pg.wait_backends(DB, 0, f"usename = '{USER}'")


@pytest.mark.parametrize("workers", [1, 4])
def test_int_ends_idle_clients_and_lets_transactions_finish(pg, proxy, workers):
    p = proxy(pg, config={"workers": workers})
    idle, in_tx, busy = login(p), login(p), login(p)
    idle.query("SELECT 1")
    in_tx.query("BEGIN")
    busy.send(w.query("SELECT 'slow', pg_sleep(1)"))
    wait_for(lambda: pg.backends(DB, "state = 'active' AND query LIKE '%slow%'"), 5, "the query")
    p.child.send_signal(signal.SIGINT)
    error = end_of(idle)
    assert (error["S"], error["C"]) == ("FATAL", "57P01")
    assert in_tx.value("SELECT 'goes on'") == "goes on"
    assert w.rows_of(busy.read_until())[0][0] == "slow"
    assert p.alive()
    in_tx.query("COMMIT")
    assert (end_of(in_tx) or {"C": "57P01"})["C"] == "57P01"
    assert p.child.wait(5) == 0


def test_second_int_ends_at_once(pg, proxy):
    p = proxy(pg)
    c = login(p)
    c.query("BEGIN")
    p.child.send_signal(signal.SIGINT)
    wait_for(lambda: refused(p), 5, "new clients to be refused")
    p.child.send_signal(signal.SIGINT)
    assert p.child.wait(3) == 0


def test_quit_ends_at_once(pg, proxy):
    p = proxy(pg)
    idle, busy = login(p), login(p)
    busy.send(w.query("SELECT pg_sleep(20)"))
    wait_for(lambda: pg.backends(DB, "state = 'active' AND query LIKE '%sleep(20)%'"), 5, "the query")
    began = time.monotonic()
    p.child.send_signal(signal.SIGQUIT)
    assert p.child.wait(3) == 0 and time.monotonic() - began < 2
    for c in (idle, busy):
        error = end_of(c)
        assert error is None or error["S"] == "FATAL"
    pg.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'")
    pg.wait_backends(DB, 0, f"usename = '{USER}'")


def test_usr1_pauses_and_usr2_resumes(pg, proxy):
    p = proxy(pg, pool_size=2)
    with login(p) as c, login(p) as in_tx:
        c.query("SELECT 1")
        in_tx.query("BEGIN")
        p.child.send_signal(signal.SIGUSR1)
        wait_for(lambda: len(pg.backends(DB, f"usename = '{USER}'")) == 1, 5, "idle servers to go")
        c.send(w.query("SELECT 'held'"))
        assert c.quiet(0.3)
        in_tx.query("COMMIT")
        pg.wait_backends(DB, 0, f"usename = '{USER}'")
        assert c.quiet(0.2)
        p.child.send_signal(signal.SIGUSR2)
        assert w.rows_of(c.read_until()) == [["held"]]
        assert in_tx.value("SELECT 1") == "1"


# ---- the command line -------------------------------------------------------------------------------

def test_check_says_good_or_names_the_line(pg, proxy):
    p = proxy(pg, start=False)
    good = run(p, "--check", p.ini)
    assert (good.returncode, good.stderr) == (0, "") and "good" in good.stdout
    p.config["default_pool_size"] = "many"
    p.write()
    with open(p.ini) as f:
        line = [x.split("=")[0].strip() for x in f].index("default_pool_size") + 1
    bad = run(p, "--check", p.ini)
    assert bad.returncode == 1 and bad.stdout == ""
    assert f"{p.ini}:{line}: default_pool_size: " in bad.stderr, bad.stderr
    assert run(p, p.ini).returncode == 1                    # and it does not start with it
    assert f"{p.ini}:{line}: default_pool_size: " in run(p, p.ini).stderr
    missing = run(p, "--check", p.dir + "/nowhere.ini")
    assert missing.returncode == 1 and "nowhere.ini" in missing.stderr


@pytest.mark.parametrize("text, key", [
    ("[databases]\nx = host=a port=99999\n", "port"), ("[penstock]\nno_such = 1\n", "no_such"),
    ("[penstock]\npool_mode = fast\n", "pool_mode"), ("[service x]\nrate = 1/s\n", "service"),
    ("[databases]\nx = host='a\n", "x")])
def test_check_names_the_key_and_the_reason(pg, proxy, text, key):
    p = proxy(pg, start=False, raw_ini=text)
    bad = run(p, "--check", p.ini)
    assert bad.returncode == 1 and f"{p.ini}:" in bad.stderr and key in bad.stderr
    assert len(bad.stderr.strip().splitlines()) == 1


def test_help_version_and_usage(pg, proxy):
    p = proxy(pg, start=False)
    text = run(p, "--help")
    lines = text.stdout.splitlines()
    assert text.returncode == 0 and len(lines) <= 40 and max(map(len, lines)) <= 100
    for name in ("--check", "--version", "--daemon", "FILE.ini", "postgres://"):
        assert name in text.stdout
    version = run(p, "--version")
    assert version.returncode == 0 and version.stdout.startswith("penstock ")
    assert run(p, "-V").stdout == version.stdout
    for wrong in ((), ("--no-such",), (p.ini, p.ini)):
        done = run(p, *wrong)
        assert done.returncode == 2 and done.stdout == "" and done.stderr


def test_pid_file_is_written_and_removed(pg, proxy):
    p = proxy(pg, start=False)
    path = f"{p.dir}/pid"
    p.config["pidfile"] = path
    p.write()
    p.start()
    with open(path) as f:
        assert int(f.read()) == p.pid
    p.stop(signal.SIGTERM)
    assert not os.path.exists(path)


def test_pid_file_of_a_running_proxy_is_left_alone(pg, proxy):
    p = proxy(pg, start=False)
    p.config["pidfile"] = f"{p.dir}/pid"
    p.write()
    p.start()
    assert run(p, p.ini).returncode == 1
    with open(f"{p.dir}/pid") as f:
        assert int(f.read()) == p.pid
    with login(p) as c:
        assert c.value("SELECT 1") == "1"


def test_kill_9_leaves_nothing_in_the_way_of_the_next_start(pg, proxy):
    p = proxy(pg, start=False)
    p.config["pidfile"] = f"{p.dir}/pid"
    p.write()
    p.start()
    with login(p) as c:
        before = [backend(c)]
    p.kill()
    assert os.path.exists(f"{p.dir}/.s.PGSQL.{p.port}") and os.path.exists(f"{p.dir}/pid")
    p.start()
    with login(p, host=p.dir) as c:
        assert c.value("SELECT 1") == "1"
    with open(f"{p.dir}/pid") as f:
        assert int(f.read()) == p.pid
    pids = ",".join(before)
    pg.wait_backends(DB, 0, f"pid IN ({pids})")             # those of the killed one have gone


# ---- reload -----------------------------------------------------------------------------------------

class Load:
    """Clients that ask all the time, each in a thread; errors are kept, lost connections too."""

    def __init__(self, p, clients, db=DB, **kw):
        self.stop, self.errors, self.lost, self.done = threading.Event(), [], [], [0] * clients
        self.p, self.db, self.kw = p, db, kw
        self.threads = [threading.Thread(target=self._work, args=(i,)) for i in range(clients)]
        for t in self.threads:
            t.start()
        wait_for(lambda: all(self.done), 10, "every client to work")

    def _work(self, me):
        try:
            while not self.stop.is_set():
                with login(self.p, db=self.db, timeout=20) as c:
                    self._requests(me, c)
        except Exception as e:
            self.lost.append(e)

    def _requests(self, me, c):
        """Until the end, or until a server is lost of whose answer this client had heard a part: such a
        client cannot go on (a server that is told to end may say so behind its last row)."""
        while not self.stop.is_set():
            want = str(me * 1000000 + self.done[me])
            c.send(w.query("SELECT " + want))
            msgs = [c.read()]
            while msgs[-1].type != "Z":
                if msgs[-1].type == "E" and msgs[-1].fields["S"] != "ERROR":
                    error = ServerError(msgs[-1].fields)
                    if not any(m.type in "TDC" for m in msgs):
                        raise error
                    self.errors.append(error)
                    return
                msgs.append(c.read())
            try:
                assert w.rows_of(msgs) == [[want]]
            except ServerError as e:
                self.errors.append(e)
            self.done[me] += 1

    def end(self):
        before = list(self.done)
        wait_for(lambda: self.lost or all(b > a for a, b in zip(before, self.done)), 15,
                 "every client to go on")
        self.stop.set()
        for t in self.threads:
            t.join(20)
        assert not self.lost, self.lost


@pytest.mark.parametrize("workers", [1, 4])
def test_reload_of_sizes_and_timeouts_keeps_the_servers(pg, proxy, workers):
    p = proxy(pg, pool_size=4, config={"workers": workers})
    load = Load(p, 8)
    pids = {r[0] for r in pg.backends(DB, f"usename = '{USER}'")}
    for i in range(8):
        p.config.update(default_pool_size=4 + i, query_timeout=20 + i, server_idle_timeout=500 + i,
                        min_pool_size=i % 3)
        p.reload()
    now = {r[0] for r in pg.backends(DB, f"usename = '{USER}'")}
    load.end()
    assert not load.errors and pids <= now


def test_a_smaller_pool_comes_down_without_errors(pg, proxy):
    p = proxy(pg, pool_size=6)
    load = Load(p, 10)
    p.config["default_pool_size"] = 2
    p.reload()
    wait_for(lambda: len(pg.backends(DB, f"usename = '{USER}'")) <= 2, 10, "the surplus to go")
    load.end()
    assert not load.errors


def test_changed_address_retires_servers(pg, proxy):
    entry = {"host": pg.host, "port": pg.port, "dbname": DB}
    p = proxy(databases={"x": entry}, pool_size=3)
    idle, in_tx = login(p, db="x"), login(p, db="x")
    in_tx.query("BEGIN")
    assert idle.value("SELECT current_database()") == DB
    entry["dbname"] = "second"
    p.reload()
    assert idle.value("SELECT current_database()") == "second"
    assert in_tx.value("SELECT current_database()") == DB
    in_tx.query("COMMIT")
    assert in_tx.value("SELECT current_database()") == "second"
    pg.wait_backends(DB, 0, f"usename = '{USER}'")


def test_removed_database(pg, proxy):
    entry = {"host": pg.host, "port": pg.port, "dbname": DB}
    p = proxy(databases={"a": dict(entry), "b": dict(entry)}, pool_size=3)
    a, b = login(p, db="a"), login(p, db="b")
    a.query("SELECT 1")
    b.query("BEGIN")
    kept = p.databases.pop("a")
    p.reload()
    assert end_of(a)["S"] == "FATAL"
    assert b.value("SELECT 1") == "1"
    with pytest.raises(ServerError) as e:
        login(p, db="a")
    assert e.value.code == "3D000"
    p.databases["a"] = kept
    p.reload()
    with login(p, db="a") as a:
        assert a.value("SELECT 1") == "1"
    b.query("COMMIT")


# ---- servers that are dead, starting or restarted ---------------------------------------------------

def test_dead_one_of_several_hosts_is_skipped(pg, proxy):
    dead = procs.Port()
    p = proxy(databases={DB: {"host": f"{pg.host},{pg.host},{pg.host}",
                              "port": f"{dead.number},{pg.port},{dead.number}"}}, pool_size=6)
    began = time.monotonic()
    clients = [login(p) for _ in range(6)]
    for c in clients:
        c.query("BEGIN")
    assert time.monotonic() - began < 3
    for c in clients:
        c.query("COMMIT")
        c.close()
    dead.release()


def test_several_hosts_are_used_in_turn(proxy):
    with FakeServer() as a, FakeServer() as b:
        p = proxy(databases={DB: {"host": f"{a.host},{b.host}", "port": f"{a.port},{b.port}"}},
                  pool_size=6)
        clients = [login(p) for _ in range(6)]
        for c in clients:
            c.query("BEGIN")
        assert len(a.conns) >= 2 and len(b.conns) >= 2
        for c in clients:
            c.close()


@pytest.mark.parametrize("workers", [1, 4])
def test_cold_pool_with_a_dead_server_fails_fast(proxy, workers):
    dead = procs.Port()
    p = proxy(databases={DB: {"host": "127.0.0.1", "port": dead.number}}, config={"workers": workers})
    began = time.monotonic()
    for _ in range(5):
        with pytest.raises(ServerError) as e:
            login(p)
        assert e.value.fields["S"] == "FATAL" and e.value.code.startswith("08")
        assert "refused" in str(e.value)
    assert time.monotonic() - began < 2
    dead.release()


def test_starting_server_is_retried_within_the_wait(proxy):
    def script(conn):
        if conn.number < 4:
            conn.send(w.error_response("the database system is starting up", "57P03", "FATAL"))
            return
        conn.login()
        conn.serve({"ask": w.select_reply(["a"], [["up"]])})

    with FakeServer(script) as server:
        p = proxy(databases={DB: server.database()})
        began = time.monotonic()
        with login(p) as c:
            assert c.value("SELECT 'ask'") == "up"
        assert time.monotonic() - began < 5 and len(server.conns) >= 5


def test_server_that_stays_in_startup_ends_the_wait(proxy):
    def script(conn):
        conn.send(w.error_response("the database system is starting up", "57P03", "FATAL"))

    with FakeServer(script) as server:
        p = proxy(databases={DB: server.database()}, config={"query_wait_timeout": 1})
        began = time.monotonic()
        with pytest.raises((ServerError, Closed)):
            login(p)
        assert 0.5 < time.monotonic() - began < 5
        assert 2 <= len(server.conns) < 60          # with back-off, not in a tight loop


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_under_load_costs_only_what_was_in_flight(own_pg, proxy, mode, workers):
    pg = own_pg()
    p = proxy(pg, pool_size=4, config={"workers": workers})
    load = Load(p, 8)
    pg.restart(mode)
    load.end()
    assert len(load.errors) <= 8, load.errors
    for e in load.errors:
        assert e.code in ("57P01", "57P02", "08006", "57P03"), load.errors


# ---- crowds and strangers ---------------------------------------------------------------------------

@pytest.mark.parametrize("workers", [1, 4])
def test_five_hundred_clients_that_come_back_at_once(pg, proxy, workers):
    p = proxy(pg, pool_size=10, config={"workers": workers}, auth_type="trust")

    async def one(i):
        c = await AioConn.open(p.host, p.port, USER, SECRET, DB)
        assert await c.query(f"SELECT {i}") == [[str(i)]]
        return c

    async def crowd():
        for _ in range(2):
            clients = await asyncio.gather(*(one(i) for i in range(500)))
            for c in clients:
                c.abort()

    asyncio.run(crowd())
    assert len(pg.backends(DB, f"usename = '{USER}'")) <= 10
    wait_for(lambda: fds(p) < 80, 5, lambda: f"the sockets to be closed, {fds(p)} are open")


def test_http_on_the_port_is_closed(pg, proxy):
    p = proxy(pg)
    for text in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /a HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"):
        c = RawClient(p.port, p.host, 5)
        c.send(text)
        c.recv_all()
        c.abort()
    with login(p) as c:
        assert c.value("SELECT 1") == "1"


@pytest.mark.parametrize("workers", [1, 4])
def test_short_of_descriptors_new_clients_are_refused_and_old_ones_live(pg, proxy, workers):
    p = proxy(pg, start=False, pool_size=3, config={"workers": workers})
    wrapper = f"{p.dir}/limited"
    with open(wrapper, "w") as f:
        f.write(f"#!/bin/sh\nulimit -n 64\nexec {p.program} \"$@\"\n")
    os.chmod(wrapper, 0o755)
    p.program = wrapper
    p.start()
    old = [login(p) for _ in range(5)]
    for c in old:
        c.query("BEGIN") if c in old[:3] else None
    for c in old[:3]:
        c.query("COMMIT")
    crowd, turned_away = [], 0
    for _ in range(200):
        try:
            c = RawClient(p.port, p.host, 0.05)
            crowd.append(c)
            c.send(w.startup_packet([("user", USER), ("database", DB)]))
            c.read()
        except (OSError, WireError):
            turned_away += 1
    assert turned_away > 100
    for i, c in enumerate(old):
        assert c.value(f"SELECT {i}") == str(i)
    for c in crowd:
        c.abort()

    def served():
        try:
            with login(p, timeout=2) as c:
                return c.value("SELECT 1") == "1"
        except (OSError, WireError, ServerError):
            return False

    wait_for(served, 10, "new clients to be served again")
    wait_for(lambda: fds(p) < 50, 5, "the descriptors to be free")
    for c in old:
        assert c.value("SELECT 1") == "1"
        c.close()


def test_reload_changes_tcp_defer_accept_of_the_open_listener(pg, proxy):
    """A connection that says nothing is seen at once, or not before it speaks."""
    def logging_in():
        return int({r["list"]: r["items"] for r in p.show("LISTS")}["login_clients"])

    p = proxy(pg, config={"tcp_defer_accept": 0})
    silent = [RawClient(p.port, p.host, 5)]
    wait_for(lambda: logging_in() == 1, 5, "the silent client to be accepted")
    p.config["tcp_defer_accept"] = 45
    p.reload()
    silent.append(RawClient(p.port, p.host, 5))
    with login(p) as c:                 # came later and was accepted
        assert c.value("SELECT 1") == "1"
    assert logging_in() == 1
    silent[1].send(w.startup_packet([("user", USER), ("database", DB)]))
    wait_for(lambda: logging_in() == 2, 5, "the client that has spoken")
    p.config["tcp_defer_accept"] = 0
    p.reload()
    silent.append(RawClient(p.port, p.host, 5))
    wait_for(lambda: logging_in() == 3, 5, "a silent client to be accepted again")
    for c in silent:
        c.abort()
