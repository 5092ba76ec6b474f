"""Protocol 3.2 on both sides, against PostgreSQL 18: negotiation and long cancel keys."""
import struct

import pytest

from conftest import new_cluster
from support import pgwire as w
from support.common import DB, SECRET, USER
from support.fake_server import FakeServer
from support.pgwire import RawClient
from support.procs import wait_for

pytestmark = [pytest.mark.penstock_only, pytest.mark.timeout(120)]
both = pytest.mark.parametrize("workers", [1, 4])


@pytest.fixture(scope="module")
def pg18():
    cluster = new_cluster(version=18)
    yield cluster
    cluster.close()


def login(p, **kw):
    return p.connect(USER, SECRET, DB, **kw)


def negotiation(port, version, **extra):
    """The NegotiateProtocolVersion that answers a start-up packet, and the connection."""
    c = RawClient(port)
    msgs = c.start(USER, SECRET, DB, version, **extra)
    return next((m.fields for m in msgs if m.type == "v"), None), c


def cancelled(pg, c, text):
    c.send(w.query(f"SELECT pg_sleep(20), '{text}'"))
    wait_for(lambda: pg.backends(DB, f"state = 'active' AND query LIKE '%{text}%'"), 5, "the query")
    c.cancel()
    assert w.errors_of(c.read_until())[0]["C"] == "57014"
    assert c.value("SELECT 1") == "1"


@both
def test_long_key_cancels_what_runs(pg18, proxy, workers):
    p = proxy(pg18, pool_size=4, config={"workers": workers})
    clients = [login(p, version=w.PROTOCOL_32) for _ in range(4)]
    assert all(len(c.key) >= 32 for c in clients) and len({c.key for c in clients}) == 4
    for i, c in enumerate(clients):
        cancelled(pg18, c, f"long{i}")


@both
def test_long_key_cancels_who_waits(pg18, proxy, workers):
    p = proxy(pg18, pool_size=1, config={"workers": workers})
    with login(p) as holder, login(p, version=w.PROTOCOL_32) as c:
        holder.query("BEGIN")
        c.send(w.query("SELECT 1"))
        wait_for(lambda: p.pool(DB)["cl_waiting"] == 1, 5, "the client to wait")
        c.cancel()
        assert w.errors_of(c.read_until())[0]["C"] == "57014"
        holder.query("COMMIT")
        assert c.value("SELECT 1") == "1"


def test_a_part_of_the_long_key_cancels_nothing(pg18, proxy):
    p = proxy(pg18, pool_size=1)
    with login(p, version=w.PROTOCOL_32) as c:
        c.send(w.query("SELECT 'done', pg_sleep(0.6)"))
        wait_for(lambda: pg18.backends(DB, "state = 'active' AND query LIKE '%done%'"), 5, "the query")
        for key in (c.key[:4], c.key[:-1], c.key + b"\0", c.key[:-1] + bytes([c.key[-1] ^ 1]), b""):
            with RawClient(p.port, p.host, 5) as other:
                other.send(w.cancel_request(c.pid, key))
                other.recv_all()
        assert w.rows_of(c.read_until())[0][0] == "done"


def test_short_key_still_works(pg18, proxy):
    p = proxy(pg18, pool_size=2)
    with login(p) as c:
        assert len(c.key) == 4
        cancelled(pg18, c, "short")


@pytest.mark.parametrize("version", [w.PROTOCOL_30, w.PROTOCOL_32, (3 << 16) | 3, (3 << 16) | 9])
@pytest.mark.parametrize("extra", [{}, {"_pq_.unheard_of": "1"}])
def test_negotiation_is_as_the_server_itself_does_it(pg18, proxy, version, extra):
    p = proxy(pg18)
    theirs, direct = negotiation(pg18.port, version, **extra)
    ours, c = negotiation(p.port, version, **extra)
    assert ours == theirs
    assert len(c.key) == len(direct.key) or (len(c.key) >= 32 and len(direct.key) >= 32)
    assert c.value("SELECT 1") == "1"
    direct.close()
    c.close()


@pytest.mark.parametrize("version", [(4 << 16), (3 << 16) | 1])
def test_other_versions_end_as_with_the_server_itself(pg18, proxy, version):
    p = proxy(pg18)
    replies = []
    for port in (pg18.port, p.port):
        c = RawClient(port)
        c.send(w.startup_packet([("user", USER), ("database", DB)], version))
        m = c.read()
        replies.append((m.type, m.fields.get("C"), m.fields.get("S")))
        c.abort()
    assert replies[0] == replies[1]


@pytest.mark.parametrize("key", [b"k" * 32, b"q" * 60, b"z" * 256])
def test_server_side_speaks_three_two_and_sends_the_long_key(proxy, key):
    """The server is a script: a real one does not tell which version was asked for."""
    def script(conn):
        conn.authenticate()
        long = conn.version == w.PROTOCOL_32
        params = [w.parameter_status("server_version", "18.0"),
                  w.parameter_status("client_encoding", "UTF8"),
                  w.parameter_status("standard_conforming_strings", "on")]
        conn.send(w.authentication(0), *params, w.backend_key(77, key if long else b"tiny"), w.ready())
        conn.serve({"slow": slow})

    def slow(conn, msg):
        conn.server.wait_cancel()
        return w.error_response("canceled", "57014") + w.ready()

    with FakeServer(script) as server:
        p = proxy(databases={DB: server.database()}, pool_size=1)
        with login(p, version=w.PROTOCOL_32) as c:
            assert server.conns[0].version == w.PROTOCOL_32
            c.send(w.query("SELECT 'slow'"))
            wait_for(lambda: "SELECT 'slow'" in server.statements(), 5, "the query")
            c.cancel()
            assert server.wait_cancel() == (77, key)
            assert w.errors_of(c.read_until())[0]["C"] == "57014"


def test_server_that_negotiates_down_is_served(proxy):
    def script(conn):
        conn.authenticate()
        conn.send(w.frame("v", struct.pack("!ii", w.PROTOCOL_30, 0)))
        conn.welcome()
        conn.serve({"ask": w.select_reply(["a"], [["old"]])})

    with FakeServer(script) as server:
        p = proxy(databases={DB: server.database()})
        with login(p, version=w.PROTOCOL_32) as c:
            assert len(c.key) >= 32 and c.value("SELECT 'ask'") == "old"


def test_transactions_statements_and_copy_on_eighteen(pg18, proxy):
    p = proxy(pg18, pool_size=2)
    clients = [login(p, version=w.PROTOCOL_32) for _ in range(6)]
    for i, c in enumerate(clients):
        c.query(f"SET application_name = 'client {i}'")
        assert c.extended("SELECT $1::int + 1", [str(i)]) == [[str(i + 1)]]
    for i, c in enumerate(clients):
        assert c.value("SHOW application_name") == f"client {i}"
        c.query("BEGIN")
        c.query("CREATE TEMP TABLE t (a int) ON COMMIT DROP")
        c.query("COMMIT")
        msgs = c.ask(w.query("COPY (SELECT generate_series(1, 50)) TO STDOUT"))
        assert w.types_of(msgs).count("d") == 50
