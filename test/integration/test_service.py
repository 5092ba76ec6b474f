"""Under a service manager: its notifications and watchdog, the sockets it opens, and the end that it asks
for.  systemd itself is not needed: the test owns the notify socket and passes the descriptors."""
import asyncio
import ctypes
import os
import signal
import socket
import textwrap
import threading
import time

import pytest

from support import pgwire as w
from support import procs
from support.aio import AioConn
from support.common import DB, SECRET, USER
from support.pgwire import RawClient, WireError
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only
PTRACE_ATTACH, PTRACE_DETACH, WALL = 16, 17, 0x40000000


def login(p, **kw):
    return p.connect(USER, SECRET, kw.pop("db", DB), **kw)


class Manager:
    """The socket that NOTIFY_SOCKET names, and what has come."""

    def __init__(self, abstract=False):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.dir = procs.temp_dir("penstock-notify-")
        self.name = f"@penstock-test-{os.getpid()}" if abstract else f"{self.dir}/notify"
        self.sock.bind("\0" + self.name[1:] if abstract else self.name)
        if not abstract:
            procs.give(self.name)
        self.sock.setblocking(False)
        self.seen = []

    def read(self):
        while True:
            try:
                text = self.sock.recv(65536).decode()
            except BlockingIOError:
                return self.seen
            self.seen.append(dict(line.split("=", 1) for line in text.split("\n")))

    def wait(self, **want):
        return wait_for(lambda: [m for m in self.read() if want.items() <= m.items()], 10,
                        lambda: f"{want} among {self.seen}")[-1]

    def beats(self):
        return sum("WATCHDOG" in m for m in self.read())

    def env(self, **more):
        return {"NOTIFY_SOCKET": self.name, **{k: str(v) for k, v in more.items()}}


# ---- notifications ----------------------------------------------------------------------------------

@pytest.mark.parametrize("abstract", [False, True])
def test_manager_is_told_of_start_reload_and_end(pg, proxy, abstract):
    m = Manager(abstract)
    p = proxy(pg, env=m.env())
    ready = m.wait(READY="1")
    assert ready["MAINPID"] == str(p.pid) and ready["STATUS"] == "serving"
    assert len(m.seen) == 1
    p.reload()
    m.wait(READY="1", STATUS="serving")
    assert [sorted(x) for x in m.read()[1:]] == [["MONOTONIC_USEC", "RELOADING"], ["READY", "STATUS"]]
    assert 0 < int(m.seen[1]["MONOTONIC_USEC"]) / 1e6 <= time.monotonic()
    p.config["default_pool_size"] = "many"
    p.hup()
    p.wait_log("reload failed")
    wait_for(lambda: "the last reload failed: " in m.read()[-1].get("STATUS", ""), 5, lambda: str(m.seen))
    assert m.seen[-1]["READY"] == "1" and "default_pool_size" in m.seen[-1]["STATUS"]
    with login(p) as c:
        c.query("BEGIN")
        p.child.send_signal(signal.SIGTERM)
        assert "1 clients" in m.wait(STOPPING="1")["STATUS"]
        c.query("COMMIT")
    assert p.child.wait(5) == 0


def test_manager_that_does_not_listen_is_no_reason_to_fail(pg, proxy):
    m = Manager()
    m.sock.close()
    for name in (m.name, "nonsense", "/" + "x" * 200):
        p = proxy(pg, env={"NOTIFY_SOCKET": name})
        with login(p) as c:
            assert c.value("SELECT 1") == "1"


@pytest.mark.parametrize("workers", [1, 3])
def test_watchdog_beats_only_while_every_worker_turns(pg, proxy, workers):
    libc = ctypes.CDLL(None, use_errno=True)
    m = Manager()
    p = proxy(pg, config={"workers": workers}, env=m.env(WATCHDOG_USEC=400000))
    wait_for(lambda: m.beats() >= 5, 10, "five signs of life")
    tids = sorted(int(t) for t in os.listdir(f"/proc/{p.pid}/task"))
    stuck = tids[-1]                                # the workers are started last
    assert libc.ptrace(PTRACE_ATTACH, stuck, None, None) == 0
    os.waitpid(stuck, WALL)
    p.wait_log(f"watchdog: worker {workers - 1} does not answer")
    before = m.beats()
    time.sleep(1)                                   # more than two periods
    assert m.beats() <= before + 1
    assert libc.ptrace(PTRACE_DETACH, stuck, None, None) == 0
    wait_for(lambda: m.beats() >= before + 5, 10, "signs of life again")


def test_watchdog_of_another_process_is_not_ours(pg, proxy):
    m = Manager()
    proxy(pg, env=m.env(WATCHDOG_USEC=100000, WATCHDOG_PID=1))
    m.wait(READY="1")
    time.sleep(0.5)
    assert m.beats() == 0


# ---- socket activation ------------------------------------------------------------------------------

ACTIVATE = textwrap.dedent("""\
    #!/usr/bin/python3
    import os, socket, sys
    c = socket.socket(socket.AF_UNIX)
    c.connect({path!r})
    _, fds, _, _ = socket.recv_fds(c, 1, 8)
    c.close()
    high = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
    for i, fd in enumerate(high):
        os.dup2(fd, 3 + i, inheritable=True)
    os.environ.update(LISTEN_FDS=str(len(fds) + {more}), LISTEN_PID=str(os.getpid() + {other}))
    os.execv({program!r}, [{program!r}] + sys.argv[1:])
    """)


class Activated:
    """Holds listening sockets and hands them to each process that is started."""

    def __init__(self, p, sockets, more=0, other=0):
        self.sockets = sockets
        self.dir = procs.temp_dir("penstock-sockets-")
        self.giver = socket.socket(socket.AF_UNIX)
        self.giver.bind(self.dir + "/give")
        procs.give(self.dir + "/give")
        self.giver.listen()
        wrapper = f"{self.dir}/activate"
        with open(wrapper, "w") as f:
            f.write(ACTIVATE.format(path=self.dir + "/give", program=p.program, more=more, other=other))
        os.chmod(wrapper, 0o755)
        p.program = wrapper

    def hand_out(self):
        self.giver.settimeout(20)
        c, _ = self.giver.accept()
        socket.send_fds(c, [b"x"], [s.fileno() for s in self.sockets])
        c.close()


def start(p, activated):
    """start() waits for p.port, which answers already because the test listens on it."""
    p.start()
    activated.hand_out()


def listening(p, unix_path):
    tcp = socket.create_server((p.host, p.port), backlog=64)
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(unix_path)
    procs.give(unix_path)
    unix.listen()
    return [tcp, unix]


@pytest.mark.parametrize("workers", [1, 3])
def test_sockets_of_the_manager_are_served_instead_of_those_of_the_file(pg, proxy, workers):
    p = proxy(pg, start=False, config={"workers": workers, "listen_addr": "127.0.0.9"})
    there = f"{p.dir}/given"
    os.mkdir(there)
    procs.give(there)
    sockets = listening(p, f"{there}/.s.PGSQL.{p.port}")
    early = RawClient(p.port, p.host, 10)                   # before there is a process
    early.send(w.startup_packet([("user", USER), ("database", DB)]))
    a = Activated(p, sockets)
    start(p, a)
    early.finish_login(USER, SECRET)
    assert early.value("SELECT 1") == "1"
    with login(p) as c, login(p, host=there) as u:
        assert c.value("SELECT 2") == "2" and u.value("SELECT 3") == "3"
    with pytest.raises(ConnectionRefusedError):
        RawClient(p.port, "127.0.0.9", 2)
    assert not os.path.exists(f"{p.dir}/.s.PGSQL.{p.port}")
    early.close()
    assert p.stop() == 0
    assert os.path.exists(f"{there}/.s.PGSQL.{p.port}")     # the manager's, not ours to remove
    between = RawClient(p.port, p.host, 10)                 # nobody runs, and nobody is refused
    between.send(w.startup_packet([("user", USER), ("database", DB)]))
    start(p, a)
    between.finish_login(USER, SECRET)
    assert between.value("SELECT 4") == "4"
    between.close()


def test_descriptors_that_are_not_there_or_no_listeners_are_refused(pg, proxy):
    for more, kind, text in ((2, "listener", "LISTEN_FDS"), (0, "datagram", "no listening stream socket")):
        p = proxy(pg, start=False, config={"listen_addr": "127.0.0.9"})
        sock = socket.create_server((p.host, p.port)) if kind == "listener" else socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM)
        keep = sock if kind == "listener" else socket.create_server((p.host, p.port))
        a = Activated(p, [sock], more=more)
        start(p, a)
        assert p.child.wait(10) == 1
        assert text in p.log_text()
        p.kill()
        keep.close()
        sock.close()


def test_sockets_meant_for_another_process_are_left_alone(pg, proxy):
    p = proxy(pg, start=False)
    other = socket.create_server(("127.0.0.1", 0))
    a = Activated(p, [other], other=1)
    t = threading.Thread(target=a.hand_out)                 # p.start() waits for an answer
    t.start()
    p.start()
    t.join()
    with login(p) as c:
        assert c.value("SELECT 1") == "1"
    other.close()


# ---- SIGTERM within shutdown_timeout ----------------------------------------------------------------

def end_of(c):
    errors = w.errors_of(c.read_to_end())
    return (errors[-1]["S"], errors[-1]["C"]) if errors else None


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_term_lets_transactions_finish_and_sends_the_others_away(pg, proxy, workers, mode):
    p = proxy(pg, mode=mode, config={"workers": workers, "shutdown_timeout": 20})
    idle, fresh, pinned, in_tx, busy = (login(p) for _ in range(5))
    idle.query("SELECT 1")
    pinned.query("CREATE TEMP TABLE mine (i int)")
    in_tx.query("BEGIN")
    busy.send(w.query("SELECT 'slow', pg_sleep(1)"))
    wait_for(lambda: pg.backends(DB, "state = 'active' AND query LIKE '%slow%'"), 5, "the query")
    p.child.send_signal(signal.SIGTERM)
    for c in (idle, fresh, pinned):
        assert end_of(c) == ("FATAL", "57P01")
    assert in_tx.value("SELECT 'goes on'") == "goes on"
    assert w.rows_of(busy.read_until())[0][0] == "slow"
    assert end_of(busy) == ("FATAL", "57P01")
    with pytest.raises(OSError):
        RawClient(p.port, p.host, 2)
    assert p.alive()
    in_tx.query("COMMIT")
    assert end_of(in_tx) == ("FATAL", "57P01")
    assert p.child.wait(5) == 0


def test_client_that_asks_without_a_pause_leaves_at_the_next_end_of_a_transaction(pg, proxy):
    p = proxy(pg, config={"shutdown_timeout": 20})
    with login(p) as c:
        p.child.send_signal(signal.SIGTERM)
        began = time.monotonic()
        with pytest.raises(WireError):
            while time.monotonic() < began + 10:
                c.value("SELECT 1")
        assert time.monotonic() < began + 1
    assert p.child.wait(5) == 0


def test_shutdown_timeout_ends_what_does_not_end(pg, proxy):
    p = proxy(pg, config={"shutdown_timeout": 0.5})
    in_tx, busy = login(p), login(p)
    in_tx.query("BEGIN")
    busy.send(w.query("SELECT pg_sleep(30)"))
    wait_for(lambda: pg.backends(DB, "state = 'active' AND query LIKE '%sleep(30)%'"), 5, "the query")
    began = time.monotonic()
    p.child.send_signal(signal.SIGTERM)
    assert p.child.wait(5) == 0 and 0.5 <= time.monotonic() - began < 3
    p.wait_log("shutdown_timeout is over, 2 clients are closed")
    pg.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'")
    pg.wait_backends(DB, 0, f"usename = '{USER}'")


@pytest.mark.parametrize("workers", [1, 4])
def test_drain_under_load_cuts_no_transaction(pg, proxy, workers):
    """What a client was doing when the process began to end is done; only then it is told."""
    p = proxy(pg, pool_size=10, config={"workers": workers, "shutdown_timeout": 20})
    pg.sql("CREATE TABLE IF NOT EXISTS drained (client int, step int)", DB)
    pg.sql("TRUNCATE drained", DB)
    pg.sql("GRANT ALL ON drained TO PUBLIC", DB)
    committed, cut, told = {}, [], []

    async def one(i):
        c = await AioConn.open(p.host, p.port, USER, SECRET, DB)
        n, inside, code = 0, False, None
        try:
            while code is None:
                for text in ("BEGIN", f"INSERT INTO drained VALUES ({i}, {n})", "SELECT pg_sleep(0.01)",
                             "COMMIT"):
                    msgs = await c.request(w.query(text))
                    if "Z" in [k for k, _ in msgs]:                 # done; what else there is came later
                        inside = text != "COMMIT"
                        n += not inside
                    code = ([w.error_fields(b)["C"] for k, b in msgs if k == "E"] or [None])[0]
                    if code:
                        break
                committed[i] = n
        except WireError:
            code = ([w.error_fields(b)["C"] for k, b in c.take() if k == "E"] or ["closed"])[0]
        finally:
            c.abort()
        (cut if inside or code != "57P01" else told).append((i, code))

    async def crowd():
        clients = [asyncio.create_task(one(i)) for i in range(60)]
        while sum(committed.values()) < 200:
            await asyncio.sleep(0.01)
        p.child.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients)

    asyncio.run(crowd())
    assert p.child.wait(10) == 0
    assert len(told) == 60 and not cut, (len(told), cut[:5])
    assert int(pg.value("SELECT count(*) FROM drained", DB)) == sum(committed.values())
