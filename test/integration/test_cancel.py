"""Behaviours 94 to 96 and 134: a cancel request reaches its client's query, or nobody."""
import os
import struct
import threading
import time

import pytest

from support import pgwire as w
from support import procs
from support.common import DB, SECRET, USER
from support.pgwire import RawClient
from support.procs import wait_for
from support.relay import Relay

pytestmark = pytest.mark.penstock_only
SLACK_KB = 1024 * (300 if os.environ.get("PENSTOCK_VARIANT") else 2)     # sanitizers keep freed memory


def login(p, **kw):
    return p.connect(USER, SECRET, DB, **kw)


def fds(p):
    return len(os.listdir(f"/proc/{p.pid}/fd"))


@pytest.mark.parametrize("workers", [1, 4])
def test_cancel_finds_its_client_on_any_worker(pg, proxy, workers):
    p = proxy(pg, pool_size=8, config={"workers": workers})
    clients = [login(p) for _ in range(8)]
    for i, c in enumerate(clients):
        c.send(w.query(f"SELECT pg_sleep(20), {i}"))
    wait_for(lambda: len(pg.backends(DB, "state = 'active' AND query LIKE '%sleep(20)%'")) == 8, 10)
    began = time.monotonic()
    for c in clients[::2]:
        c.cancel()
    for c in clients[::2]:
        assert w.errors_of(c.read_until())[0]["C"] == "57014"
        assert c.value("SELECT 1") == "1"
    assert len(pg.backends(DB, "state = 'active' AND query LIKE '%sleep(20)%'")) == 4
    for c in clients[1::2]:
        assert c.quiet(0.02)
        c.cancel()
        assert w.errors_of(c.read_until())[0]["C"] == "57014"
    assert time.monotonic() - began < 10


def test_cancel_with_a_wrong_key_does_nothing(pg, proxy):
    p = proxy(pg, pool_size=2)
    with login(p) as c:
        c.send(w.query("SELECT 'done', pg_sleep(0.6)"))
        wait_for(lambda: pg.backends(DB, "state = 'active' AND query LIKE '%done%'"), 5, "the query")
        flipped = bytes([c.key[0] ^ 1]) + c.key[1:]
        for pid, key in ((c.pid, flipped), (c.pid + 1, c.key), (0, c.key), (-1, c.key), (c.pid, b""),
                         (c.pid, c.key[:-1]), (c.pid, c.key + b"\0"), (c.pid, b"\0" * 300)):
            with RawClient(p.port, p.host, 5) as other:
                other.send(w.cancel_request(pid, key))
                other.recv_all()
        assert w.rows_of(c.read_until())[0][0] == "done"


@pytest.mark.parametrize("workers", [1, 4])
def test_a_thousand_cancels_leak_nothing(pg, proxy, workers):
    p = proxy(pg, pool_size=2, config={"workers": workers})
    idle, busy = login(p), login(p)
    idle.query("SELECT 1")
    before = fds(p)
    for i in range(1000):
        c = idle if i % 3 == 0 else busy
        running = i % 100 == 1
        if running:
            busy.send(w.query("SELECT pg_sleep(5)"))
            wait_for(lambda: pg.backends(DB, "state = 'active' AND query LIKE '%sleep(5)%'"), 5)
        c = busy if running else c
        c.cancel()
        if running:
            assert w.errors_of(busy.read_until())[0]["C"] == "57014"
    wait_for(lambda: fds(p) <= before + 2, 5, lambda: f"{before} descriptors, not {fds(p)}")
    assert idle.value("SELECT 1") == "1" and busy.value("SELECT 1") == "1"
    pg.wait_backends(DB, 0, "state = 'active'")


@pytest.mark.timeout(120)
def test_ten_thousand_cancels_leak_neither_sockets_nor_memory(pg, proxy):
    p = proxy(pg, pool_size=2, config={"workers": 2})
    idle, busy, gone = login(p), login(p), login(p)
    idle.query("SELECT 1")
    gone.close()
    busy.send(w.query("SELECT pg_sleep(100)"))
    whose = [(idle.pid, idle.key), (gone.pid, gone.key), (busy.pid, bytes(4)), (0, b"")]

    def burst(n, at_once=50):
        for i in range(n // at_once):
            asking = [RawClient(p.port, p.host, 20) for _ in range(at_once)]
            for k in asking:
                k.send(w.cancel_request(*whose[i % len(whose)]))
            for k in asking:
                assert k.recv_all() == b""
                k.abort()

    burst(1000)
    files, memory = fds(p), procs.rss_kb(p.pid)
    burst(9000)
    wait_for(lambda: fds(p) <= files + 2, 10, lambda: f"{files} descriptors, not {fds(p)}")
    assert procs.rss_kb(p.pid) < memory + SLACK_KB
    busy.cancel()
    assert w.errors_of(busy.read_until())[0]["C"] == "57014"
    assert idle.value("SELECT 1") == "1"


class Holding(Relay):
    """Keeps cancel requests back until they are let go."""

    def __init__(self, *target):
        super().__init__(*target)
        self.go, self.held = threading.Event(), threading.Event()

    def pass_on(self, first):
        if len(first) >= 8 and struct.unpack("!i", first[4:8])[0] == w.CANCEL_REQUEST:
            self.held.set()
            self.go.wait(20)


def test_late_cancel_does_not_hit_the_next_client_of_the_server(pg, proxy):
    """While the request is on its way the server is lent to nobody."""
    with Holding(pg.host, pg.port) as relay:
        p = proxy(databases={DB: {"host": relay.host, "port": relay.port}}, pool_size=1)
        with login(p) as a, login(p) as b:
            a.send(w.query("SELECT 'by itself', pg_sleep(0.5)"))
            wait_for(lambda: pg.backends(DB, "state = 'active' AND query LIKE '%by itself%'"), 5)
            a.cancel()
            assert relay.held.wait(5)
            assert w.rows_of(a.read_until())[0][0] == "by itself"
            b.send(w.query("SELECT 'untouched', pg_sleep(0.3)"))
            wait_for(lambda: p.pool(DB)["cl_waiting"] == 1, 5, "the next client to wait")
            assert p.pool(DB)["sv_active_cancel"] == 1
            relay.go.set()
            assert w.rows_of(b.read_until())[0][0] == "untouched"
            assert a.value("SELECT 1") == "1"


def test_cancel_of_an_idle_client_leaves_the_user_of_its_last_server_alone(pg, proxy):
    p = proxy(pg, pool_size=1)
    with login(p) as a, login(p) as b:
        pid = a.value("SELECT pg_backend_pid()")
        b.send(w.query("SELECT pg_backend_pid(), 'untouched', pg_sleep(0.5)"))
        wait_for(lambda: pg.backends(DB, "state = 'active' AND query LIKE '%untouched%'"), 5)
        a.cancel()
        assert w.rows_of(b.read_until())[0][:2] == [pid, "untouched"]


@pytest.mark.parametrize("workers", [1, 4])
def test_cancel_that_has_been_answered_does_not_hit_the_next_query(pg, proxy, workers):
    """The connection that asked ends after the request has been acted on, not before."""
    p = proxy(pg, pool_size=4, config={"workers": workers})
    with login(p) as c:
        for i in range(300):
            c.send(w.query(f"SELECT pg_sleep({i % 7 * 0.0003})"))
            c.cancel()
            assert all(e["C"] == "57014" for e in w.errors_of(c.read_until()))
            assert c.value(f"SELECT {i}") == str(i)
