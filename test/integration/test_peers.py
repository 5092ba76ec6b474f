"""[peers]: cancel requests that came to a process that does not know the client."""
import os
import struct

import pytest

from support import pgwire as w
from support import procs
from support.common import DB, SECRET, USER
from support.fake_server import FakeServer
from support.pgwire import PROTOCOL_30, PROTOCOL_32, RawClient, ServerError
from support.procs import wait_for
from support.relay import Relay

pytestmark = pytest.mark.penstock_only
SLACK_KB = 1024 * (300 if os.environ.get("PENSTOCK_VARIANT") else 2)     # sanitizers keep freed memory


def login(p, **kw):
    return p.connect(USER, SECRET, DB, **kw)


def listed(peers):
    """peers: number -> (host, port) or (host, port, pool_size)."""
    sizes = ["", "", "", " pool_size={2}"]
    return "[peers]\n" + "".join(
        f"{n} = host={{0}} port={{1}}{sizes[len(a)]}\n".format(*a) for n, a in peers.items())


def tell(p, own, peers):
    """Number and peers by a reload, which is also how they are changed in operation."""
    p.config["peer_id"] = own
    p.extra = listed(peers)
    p.reload()


def address(p, unix):
    return (p.dir, p.port) if unix else ("localhost", p.port)


def group(proxy, pg, n, unix=False, **config):
    """n processes that know each other."""
    made = [proxy(pg, pool_size=4, config=config) for _ in range(n)]
    for i, p in enumerate(made):
        tell(p, i + 1, {k + 1: address(q, unix) for k, q in enumerate(made) if k != i})
    return made


def start_query(pg, c, mark):
    c.send(w.query(f"SELECT pg_sleep(30) /* {mark} */"))
    wait_for(lambda: running(pg, mark), 5, mark)


def running(pg, mark):
    return pg.backends(DB, f"state = 'active' AND query LIKE '%/* {mark} */%'")


def cancel_at(p, pid, key, host=None):
    """Sends the request to p and waits until p closes, as libpq does."""
    with RawClient(p.port, host or p.host, 20) as k:
        k.send(w.cancel_request(pid, key))
        assert k.recv_all() == b""


def cancelled(c):
    assert w.errors_of(c.read_until())[0]["C"] == "57014"
    assert c.value("SELECT 1") == "1"


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("version", [PROTOCOL_30, PROTOCOL_32])
def test_request_is_passed_on_to_the_process_that_knows_the_client(pg, proxy, workers, unix, version):
    a, b, c = group(proxy, pg, 3, unix, workers=workers)
    for home, other in ((a, b), (a, c), (c, b)):
        with login(home, version=version) as client, login(home, version=version) as bystander:
            assert len(client.key) == (4 if version == PROTOCOL_30 else 32)
            start_query(pg, client, "meant")
            start_query(pg, bystander, "not meant")
            cancel_at(other, client.pid, client.key, other.dir if unix else None)
            cancelled(client)
            assert running(pg, "not meant")
            cancel_at(home, bystander.pid, bystander.key)       # and straight to its own
            cancelled(bystander)


def test_processes_on_one_port_reach_each_other_over_unix_sockets(pg, proxy):
    """so_reuseport: the kernel chooses the process, for a cancel request too."""
    a = proxy(pg, config={"so_reuseport": 1})
    b = proxy(pg, start=False, config={"so_reuseport": 1, "listen_port": a.port})
    b.port = a.port
    b.start()
    wait_for(lambda: os.path.exists(f"{b.dir}/.s.PGSQL.{b.port}"), 5, "the second process")
    for own, other, p in ((1, b, a), (2, a, b)):
        p.config["peer_id"], p.extra = own, listed({3 - own: (other.dir, other.port)})
        p.hup()
        p.wait_log("configuration reloaded")
    homes = set()
    for i in range(40):
        with login(a) as c:
            start_query(pg, c, f"shared port {i}")
            cancel_at(a, c.pid, c.key)
            cancelled(c)
            homes.add(c.pid >> 8 & 0xffff)
        if i >= 10 and len(homes) == 2:
            break
    assert len(homes) == 2              # both were there


def test_waiting_client_is_reached_through_a_peer(pg, proxy):
    a, b = group(proxy, pg, 2, default_pool_size=1)
    holder, waiter = login(a), login(a)
    holder.query("BEGIN")
    waiter.send(w.query("SELECT 1"))
    wait_for(lambda: a.pool(DB)["cl_waiting"] == 1, 5, "a waiting client")
    cancel_at(b, waiter.pid, waiter.key)
    assert w.errors_of(waiter.read_until())[0]["C"] == "57014"
    holder.query("COMMIT")
    assert waiter.value("SELECT 1") == "1"


def test_wrong_secret_reaches_nobody(pg, proxy):
    a, b = group(proxy, pg, 2)
    with login(a) as c:
        c.send(w.query("SELECT 'whole', pg_sleep(0.7)"))
        wait_for(lambda: pg.backends(DB, "state = 'active' AND query LIKE '%whole%'"), 5, "the query")
        for i in range(4):
            for bit in (0x10, 0x80):
                wrong = bytearray(c.key)
                wrong[i] ^= bit
                cancel_at(b, c.pid, bytes(wrong))
        for pid in (c.pid + 1, c.pid ^ 1 << 24, 4194305, 0, -1):
            cancel_at(b, pid, c.key)
        assert w.rows_of(c.read_until())[0][0] == "whole"


def test_pids_are_unique_and_above_those_of_servers(pg, proxy):
    a, b = group(proxy, pg, 2, workers=3)
    clients = [login(p) for p in (a, b) for _ in range(20)]
    pids = {c.pid for c in clients}
    assert len(pids) == 40 and min(pids) >= 4194305 and max(pids) < 2 ** 31
    assert len({c.key for c in clients}) == 40
    killer, victim = clients[0], clients[5]
    assert killer.value(f"SELECT pg_terminate_backend({victim.pid})") == "t"
    assert victim.read_until("E")[-1].fields["C"] == "57P01"
    assert killer.value(f"SELECT pg_terminate_backend({clients[-1].pid})") == "f"    # of the other process
    assert clients[-1].value("SELECT 1") == "1"


def test_key_has_pgbouncers_layout(pg, proxy):
    p = proxy(pg, config={"peer_id": 0x1234})
    with login(p) as c:
        whole = struct.pack("!i", c.pid) + c.key
        assert whole[1:3] == b"\x34\x12" and whole[7] & 3 == 3
        start_query(pg, c, "counted down")
        cancel_at(p, c.pid, c.key[:3] + bytes([c.key[3] & ~3]))     # as it comes after three hops
        cancelled(c)


def test_key_of_pgbouncer_goes_to_it_unchanged_but_for_the_count(pg, proxy):
    with FakeServer() as theirs:
        p = proxy(pg)
        tell(p, 1, {7: (theirs.host, theirs.port)})
        for top in (0, 1, 0x7f):
            key = bytes([top, 7, 0, 0xaa, 0x11, 0x22, 0x33, 0x57])
            cancel_at(p, struct.unpack("!i", key[:4])[0], key[4:])
            pid, rest = theirs.wait_cancel()
            assert struct.pack("!i", pid) + rest == key[:7] + b"\x56"
            theirs.cancels.clear()


def test_request_does_not_go_round(pg, proxy):
    """Each believes that the other is number 9."""
    a, b = proxy(pg), proxy(pg)
    with Relay(b.host, b.port) as to_b, Relay(a.host, a.port) as to_a:
        tell(a, 1, {9: (to_b.host, to_b.port)})
        tell(b, 2, {9: (to_a.host, to_a.port)})
        cancel_at(a, 0x01090005, b"\1\2\3\7")
        assert len(to_b.firsts) == 2 and len(to_a.firsts) == 1
        assert [f[-1] for f in to_b.firsts + to_a.firsts] == [6, 4, 5]
        assert "passed on too often" in b.log_text()
        with login(a) as c:
            assert c.value("SELECT 1") == "1"


def test_unknown_peer_and_no_peer_id_drop_the_request(pg, proxy):
    a, b = group(proxy, pg, 2)
    with login(a) as c:
        start_query(pg, c, "unreached")
        tell(b, 2, {3: ("localhost", a.port)})
        cancel_at(b, c.pid, c.key)
        tell(b, 0, {1: ("localhost", a.port)})
        cancel_at(b, c.pid, c.key)
        assert running(pg, "unreached")
        tell(b, 2, {1: ("localhost", a.port)})
        cancel_at(b, c.pid, c.key)
        cancelled(c)


def test_clients_from_before_the_number_can_still_be_cancelled_at_home(pg, proxy):
    p = proxy(pg)
    with login(p) as old:
        start_query(pg, old, "before")
        tell(p, 1, {2: ("localhost", 1)})
        cancel_at(p, old.pid, old.key)
        cancelled(old)
        with login(p) as new:
            start_query(pg, new, "with")
            tell(p, 0, {})
            cancel_at(p, new.pid, new.key)
            cancelled(new)


def test_peer_that_is_down_or_has_no_address_ends_the_request(pg, proxy):
    closed = procs.Port()
    p = proxy(pg)
    tell(p, 1, {2: ("localhost", closed.number), 3: (p.dir, closed.number),
                4: ("no-such-host.invalid", 6432)})
    for peer in (2, 3, 4):
        cancel_at(p, 0x01000005 | peer << 16, b"\1\2\3\7")
        p.wait_log(f"cancel request for peer {peer}: ")
    with login(p) as c:
        assert c.value("SELECT 1") == "1"
    closed.release()


def test_views_and_pool_size(pg, proxy):
    with Relay("127.0.0.1", 1) as slow:
        slow.silent = True
        p = proxy(pg, config={"workers": 3})
        tell(p, 1, {2: (slow.host, slow.port, 3), 5: ("localhost", p.port)})
        with p.console() as con:
            assert con.query("SHOW PEERS") == [
                {"peer_id": "2", "host": slow.host, "port": str(slow.port), "pool_size": "3"},
                {"peer_id": "5", "host": "localhost", "port": str(p.port), "pool_size": "20"}]
            none = {"cl_active_cancel_req": "0", "cl_waiting_cancel_req": "0",
                    "sv_active_cancel": "0", "sv_login": "0"}
            assert con.query("SHOW PEER_POOLS") == [{"peer_id": "2", **none}, {"peer_id": "5", **none}]
            asking = [RawClient(p.port, p.host, 20) for _ in range(8)]
            for k in asking:
                k.send(w.cancel_request(0x01020005, b"\1\2\3\7"))
            wait_for(lambda: len(slow.firsts) == 3, 5, "three requests to be passed on")
            busy = {"peer_id": "2", "cl_active_cancel_req": "3", "cl_waiting_cancel_req": "5",
                    "sv_active_cancel": "3", "sv_login": "0"}
            wait_for(lambda: con.query("SHOW PEER_POOLS")[0] == busy, 5,
                     lambda: str(con.query("SHOW PEER_POOLS")))
            assert len(slow.firsts) == 3
            p.config["cancel_wait_timeout"] = 0.3       # for those that get their turn from now on
            p.reload()
            slow.drop()
            for k in asking:
                assert k.recv_all() == b""
            wait_for(lambda: con.query("SHOW PEER_POOLS")[0] == {"peer_id": "2", **none}, 5, "an end")


def test_request_gives_up_after_cancel_wait_timeout(pg, proxy):
    with Relay("127.0.0.1", 1) as slow:
        slow.silent = True
        p = proxy(pg, config={"cancel_wait_timeout": 0.3})
        tell(p, 1, {2: (slow.host, slow.port, 1)})
        asking = [RawClient(p.port, p.host, 20) for _ in range(4)]
        for k in asking:
            k.send(w.cancel_request(0x01020005, b"\1\2\3\7"))
        for k in asking:
            assert k.recv_all() == b""
        p.wait_log("timed out")


def test_thousands_of_requests_through_a_peer_leak_nothing(pg, proxy):
    a, b = group(proxy, pg, 2, workers=2)
    with login(a) as idle:
        idle.query("SELECT 1")
        burst(b, idle, 500)
        before = [(fds(p), procs.rss_kb(p.pid)) for p in (a, b)]
        burst(b, idle, 3000)
        for p, (files, memory) in zip((a, b), before):
            wait_for(lambda p=p, files=files: fds(p) <= files + 2, 10, "the descriptors to be free")
            assert procs.rss_kb(p.pid) < memory + SLACK_KB
        assert idle.value("SELECT 1") == "1"


def burst(p, client, n, at_once=50):
    for _ in range(n // at_once):
        asking = [RawClient(p.port, p.host, 20) for _ in range(at_once)]
        for k in asking:
            k.send(w.cancel_request(client.pid, client.key))
        for k in asking:
            assert k.recv_all() == b""
            k.abort()


def fds(p):
    return len(os.listdir(f"/proc/{p.pid}/fd"))


def test_request_in_hand_when_the_process_ends(pg, proxy):
    with Relay("127.0.0.1", 1) as slow:
        slow.silent = True
        p = proxy(pg, config={"workers": 2})
        tell(p, 1, {2: (slow.host, slow.port, 1)})
        asking = [RawClient(p.port, p.host, 20) for _ in range(3)]
        for k in asking:
            k.send(w.cancel_request(0x01020005, b"\1\2\3\7"))
        wait_for(lambda: slow.firsts, 5, "a request to be passed on")
        p.stop()
        for k in asking:
            k.recv_all()


@pytest.mark.parametrize("line", ["0 = host=a", "70000 = host=a", "1 = port=6432", "x = host=a"])
def test_bad_peer_lines_are_refused(pg, proxy, line):
    p = proxy(pg)
    p.extra = f"[peers]\n{line}\n"
    with pytest.raises(ServerError):
        p.reload()
