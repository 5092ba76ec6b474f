"""Limits and options that bound what clients may hold: memory, pins, addresses, retired servers."""
import os
import select
import socket
import time

import pytest

from support import cached
from support import pgwire as w
from support.common import DB, SECRET, USER
from support.pgwire import Closed, RawClient, ServerError
from support.procs import wait_for
from support.relay import Relay

pytestmark = pytest.mark.penstock_only
FLOOD = "SELECT repeat('x', 8000) FROM generate_series(1, 20000)"


def login(p, **kw):
    return p.connect(USER, SECRET, kw.pop("db", DB), **kw)


def database(pg, **kw):
    return {"*": {"host": pg.host, "port": pg.port, **kw}}


def rss_kb(p):
    with open(f"/proc/{p.pid}/status") as f:
        return int(next(x for x in f if x.startswith("VmRSS")).split()[1])


def is_open(c):
    """False once the proxy has closed the connection; reads nothing."""
    if not select.select([c.sock], [], [], 0)[0]:
        return True
    return c.sock.recv(1, socket.MSG_PEEK) != b""


# ---- max_buffer_memory ------------------------------------------------------------------------------

def stuck(p, n):
    """Clients that ask for much and read nothing, with small windows so that the proxy has to keep it."""
    out = []
    for _ in range(n):
        c = RawClient(p.port, p.host, 30)
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.start(USER, SECRET, DB)
        out.append(c)
    for c in out:
        c.send(w.query(FLOOD))
    return out


@pytest.mark.parametrize("workers", [1, 2])
def test_memory_limit_closes_those_who_do_not_read(pg, proxy, workers):
    p = proxy(pg, pool_size=20, config={"max_buffer_memory": "1MB", "workers": workers,
                                        "tcp_socket_buffer": 8192})
    good = [login(p) for _ in range(4)]
    bad = stuck(p, 16)
    began = time.monotonic()
    while time.monotonic() - began < 4:         # paused, not closed: patience has not run out
        for c in good:
            assert c.value("SELECT 1") == "1"
        time.sleep(0.05)
    assert "max_buffer_memory" not in p.log_text()
    wait_for(lambda: "and is closed" in p.log_text(), 10, "an offender to be closed")
    wait_for(lambda: len(pg.backends(DB, "state = 'active' AND query LIKE '%repeat%'")) <= 14, 15,
             "less work for those who do not read")
    assert rss_kb(p) < 60000
    for c in good:
        assert c.value("SELECT 1") == "1"
        c.close()
    for c in bad:
        c.abort()
    with login(p) as c:
        assert len(c.query("SELECT generate_series(1, 20000)")) == 20000


def test_slow_reader_under_the_limit_gets_everything(pg, proxy):
    p = proxy(pg, pool_size=5, config={"max_buffer_memory": "64kB"})
    c = login(p, timeout=30)
    c.send(w.query(FLOOD))
    time.sleep(1)
    rows = [m for m in c.read_until() if m.type == "D"]
    assert len(rows) == 20000 and all(len(m.fields["values"][0]) == 8000 for m in rows)
    assert c.value("SELECT 1") == "1"


# ---- max_pinned -------------------------------------------------------------------------------------

def test_newest_pinned_client_is_closed(pg, proxy):
    p = proxy(pg, pool_size=5, config={"max_pinned": 2})
    a, b, c = login(p), login(p), login(p)
    for x in (a, b):
        x.query("CREATE TEMP TABLE mine (a int)")
    # The answer comes before the proxy has asked what it left behind: who is newest is decided then.
    wait_for(lambda: p.pool(DB)["sv_pinned"] == 2, 5, "both to be pinned")
    msgs = []
    c.send(w.query("CREATE TEMP TABLE mine (a int)"))
    with pytest.raises(Closed):
        while True:
            msgs.append(c.read())
    assert w.errors_of(msgs)[0]["S"] == "FATAL" and "max_pinned" in w.errors_of(msgs)[0]["M"]
    for x in (a, b):                            # the older ones are left alone
        assert x.query("SELECT * FROM mine") == []
    a.query("DROP TABLE mine")
    wait_for(lambda: p.pool(DB)["sv_active"] == 1, 5, "a to have left its server")
    with login(p) as d:
        d.query("SELECT pg_advisory_lock(77)")
        assert d.value("SELECT pg_advisory_unlock(77)") == "t"
        d.query("BEGIN")                        # a transaction is no pin
        d.query("COMMIT")


def test_pins_end_with_their_clients(pg, proxy):
    p = proxy(pg, pool_size=5, config={"max_pinned": 1})
    for i in range(4):
        c = login(p)
        c.query("CREATE TEMP TABLE mine (a int)")
        c.query("BEGIN")
        c.query("INSERT INTO mine VALUES (1)")
        c.query("COMMIT")
        assert c.value("SELECT count(*) FROM mine") == "1"
        c.close() if i % 2 else c.abort()
        wait_for(lambda: not pg.backends(DB, "query LIKE '%mine%' AND state <> 'idle'"), 5, "rest")
        wait_for(lambda: p.pool(DB)["sv_active"] == 0, 5, "a free server")


def test_listening_clients_do_not_count_as_pinned(pg, proxy):
    p = proxy(pg, pool_size=5, config={"max_pinned": 1})
    clients = [login(p) for _ in range(30)]
    for i, c in enumerate(clients):
        c.query(f"LISTEN x{i % 7}")
    for c in clients:
        assert c.value("SELECT 1") == "1"


def test_session_mode_does_not_count_as_pinned(pg, proxy):
    p = proxy(pg, mode="session", pool_size=5, config={"max_pinned": 1})
    clients = [login(p) for _ in range(4)]
    for c in clients:
        c.query("CREATE TEMP TABLE mine (a int)")
        assert c.query("SELECT * FROM mine") == []


# ---- servers that have to go ------------------------------------------------------------------------

@pytest.mark.parametrize("fast", [0, 1])
def test_server_fast_close(pg, proxy, fast):
    p = proxy(pg, mode="session", pool_size=5, config={"server_fast_close": fast})
    idle, in_tx = login(p), login(p)
    idle.query("SELECT 1")
    in_tx.query("BEGIN")
    with p.console() as con:
        con.run("RECONNECT")
    if not fast:
        time.sleep(1)
        assert is_open(idle) and idle.value("SELECT 1") == "1"
        in_tx.query("COMMIT")
        return
    assert idle.read_until("E")[-1].fields["S"] == "FATAL"
    time.sleep(0.5)
    assert is_open(in_tx) and in_tx.value("SELECT 1") == "1"
    in_tx.query("COMMIT")
    assert in_tx.read_until("E")[-1].fields["S"] == "FATAL"


@pytest.mark.parametrize("turns", [0, 1])
def test_server_round_robin(pg, proxy, turns):
    p = proxy(pg, pool_size=4, config={"server_round_robin": turns, "workers": 1})
    clients = [login(p) for _ in range(4)]
    for c in clients:
        c.query("BEGIN")
    for c in clients:
        c.query("COMMIT")
    used = {clients[0].value("SELECT pg_backend_pid()") for _ in range(8)}
    assert len(used) == (4 if turns else 1)


def test_pool_idle_timeout(pg, proxy):
    p = proxy(pg, pool_size=2, config={"pool_idle_timeout": 1, "server_idle_timeout": 1})
    login(p).close()
    with login(p) as c:
        c.query("SELECT 1")
    assert p.pool(DB) is not None
    wait_for(lambda: p.pool(DB) is None, 10, "the pool to be forgotten")
    with login(p) as c:
        assert c.value("SELECT 1") == "1"


# ---- names with several or changing addresses -------------------------------------------------------

class Hosts:
    """Lines of /etc/hosts of our own; everything else in it stays as it is."""

    def __init__(self, name):
        self.name = name

    def set(self, *addresses):
        with open("/etc/hosts") as f:
            rest = [x for x in f if self.name not in x]
        with open("/etc/hosts", "w") as f:
            f.write("".join(rest) + "".join(f"{a} {self.name}\n" for a in addresses))


@pytest.fixture
def hosts():
    if not os.access("/etc/hosts", os.W_OK):
        pytest.skip("/etc/hosts cannot be changed here")
    h = Hosts(f"penstock-{os.getpid()}.test")
    yield h
    h.set()


def test_other_addresses_of_a_name_are_tried(pg, proxy, hosts):
    hosts.set("127.0.0.91", "127.0.0.92", "127.0.0.1", "127.0.0.93")
    p = proxy(databases=database(pg, host=hosts.name), pool_size=8, config={"server_login_retry": 15})
    began = time.monotonic()
    clients = [login(p) for _ in range(8)]
    for c in clients:
        c.query("BEGIN")
    assert time.monotonic() - began < 3
    for c in clients:
        c.query("COMMIT")
    assert "trying the next address" in p.log_text()


def test_name_whose_addresses_are_all_dead_fails_at_once(pg, proxy, hosts):
    hosts.set("127.0.0.91", "127.0.0.92")
    p = proxy(databases=database(pg, host=hosts.name), pool_size=2)
    began = time.monotonic()
    with pytest.raises((ServerError, w.WireError)):
        login(p, timeout=5).query("SELECT 1")
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("ttl", [1, 0.2])   # 0.2: expired whenever it is looked at
def test_servers_follow_a_change_of_the_name(pg, proxy, hosts, ttl):
    hosts.set("127.0.0.1")
    p = proxy(databases=database(pg, host=hosts.name), pool_size=4, config={"dns_max_ttl": ttl})
    c, d = login(p), login(p)
    before = c.value("SELECT pg_backend_pid()")
    d.query("BEGIN")
    held = d.value("SELECT pg_backend_pid()")
    hosts.set("127.0.0.1", "127.0.0.94")        # more addresses: nobody has to go
    time.sleep(2.5)
    assert pg.backends(DB, f"pid = {held}")
    hosts.set("127.0.0.95")                     # elsewhere, where nobody answers
    wait_for(lambda: not pg.backends(DB, f"pid <> {held} AND usename = '{USER}'"), 10, "idle ones to go")
    assert d.value("SELECT 1") == "1"
    hosts.set("127.0.0.1", "127.0.0.95")
    d.query("COMMIT")
    wait_for(lambda: c.value("SELECT pg_backend_pid()") != before, 10, "a new server")


def test_kept_answers_go_when_the_name_leads_elsewhere(pg, proxy, hosts):
    pg.sql(cached.SCHEMA, DB)
    with Relay("127.0.0.1", pg.port, ("127.0.0.96", pg.port)):
        hosts.set("127.0.0.1")
        p = proxy(databases=database(pg, host=hosts.name), extra=cached.RULE, config={"dns_max_ttl": 1})
        with login(p) as c:
            c.query("SELECT 1")
            cached.wait_ready(p)
            cached.warm(p, c, 7)
            pg.sql("UPDATE kept SET v = 70 WHERE id = 7", DB)      # as if on another machine
            assert c.value(cached.read(7)) == "7"
            hosts.set("127.0.0.96")
            wait_for(lambda: c.value(cached.read(7)) == "70", 10, "the answer of the other machine")


def test_kept_answers_go_with_reconnect(pg, proxy):
    pg.sql(cached.SCHEMA, DB)
    p = proxy(pg, extra=cached.RULE, config={"workers": 2})
    with login(p) as c, login(p) as d, p.console() as con:
        for x in (c, d):
            x.query("SELECT 1")
        cached.wait_ready(p)
        cached.warm(p, c, 7)
        pg.sql("UPDATE kept SET v = 70 WHERE id = 7", DB)
        assert c.value(cached.read(7)) == d.value(cached.read(7)) == "7"
        con.query("RECONNECT")
        assert c.value(cached.read(7)) == d.value(cached.read(7)) == "70"
