"""A process is replaced by a newer one while it runs: nobody is refused, nothing fails, cancel requests find
their client, and what cannot be done leaves everything as it was."""
import asyncio
import os
import signal
import shutil
import subprocess
import time

import pytest

from support import cached
from support import pgwire as w
from support import procs
from support.aio import AioConn
from support.common import DB, SECRET, USER
from support.pgwire import RawClient, ServerError, WireError
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only


def login(p, **kw):
    return p.connect(USER, SECRET, kw.pop("db", DB), **kw)


def fds(pid):
    return sorted(os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd"))


def exists(pid):
    st = procs._stat(pid)
    return st is not None and st["state"] != "Z"


class Heirs:
    """Ends the processes that came after the one that the harness knows."""

    def __init__(self):
        self.pids = []

    def upgrade(self, p):
        """Returns the number of the new process, which serves."""
        before = set(self.running(p))
        with p.console() as con:
            con.run("UPGRADE")
        new = set(self.running(p)) - before
        assert len(new) == 1, new
        self.pids += new
        return new.pop()

    @staticmethod
    def running(p):
        return [d["pid"] for d in procs.descendants() if d["name"] == os.path.basename(p.program)[:15]]

    def close(self):
        for pid in self.pids:
            if exists(pid):
                os.kill(pid, signal.SIGQUIT)
        for pid in self.pids:
            wait_for(lambda pid=pid: not exists(pid), 10, f"process {pid} to end")
            procs.reap()


@pytest.fixture
def heirs():
    h = Heirs()
    yield h
    h.close()


def cancel_at(p, pid, key):
    with RawClient(p.port, p.host, 20) as k:
        k.send(w.cancel_request(pid, key))
        assert k.recv_all() == b""


def start_query(pg, c, mark):
    c.send(w.query(f"SELECT pg_sleep(30) /* {mark} */"))
    wait_for(lambda: running(pg, mark), 5, mark)


def running(pg, mark):
    return pg.backends(DB, f"state = 'active' AND query LIKE '%/* {mark} */%'")


@pytest.mark.parametrize("workers", [1, 3])
def test_new_process_serves_new_clients_and_the_old_one_its_own(pg, proxy, heirs, workers):
    p = proxy(pg, config={"workers": workers, "pidfile": None})
    pidfile = f"{p.dir}/pid"
    p.stop()
    p.config["pidfile"] = pidfile
    p.write()
    p.start()
    idle, in_tx = login(p), login(p)
    in_tx.query("BEGIN")
    in_tx.query("CREATE TEMP TABLE kept (i int) ON COMMIT DROP")
    first = p.pid
    second = heirs.upgrade(p)

    def written():
        with open(pidfile) as f:
            return f.read()

    procs.wait_for(lambda: written() == f"{second}\n", 10, lambda: f"the pid file: {written()}")
    with login(p) as new, login(p, host=p.dir) as by_unix:
        assert new.value("SELECT 1") == "1" and by_unix.value("SELECT 2") == "2"
        assert idle.value("SELECT 3") == "3"
        assert in_tx.value("SELECT count(*) FROM kept") == "0"
        assert p.alive() and exists(second)
        with p.console() as con:
            assert len(con.query("SHOW CLIENTS")) == 3      # of the new one: both and the console
        idle.close()
        in_tx.query("COMMIT")
        in_tx.close()
        assert p.child.wait(5) == 0
        assert new.value("SELECT 4") == "4"
    assert os.path.exists(f"{p.dir}/.s.PGSQL.{p.port}")
    os.kill(second, signal.SIGTERM)
    wait_for(lambda: not exists(second), 5, "the second to end")
    assert not os.path.exists(f"{p.dir}/.s.PGSQL.{p.port}") and not os.path.exists(pidfile)
    p.check_log()
    assert first != second


def test_new_process_has_none_of_the_old_ones_connections(pg, proxy, heirs):
    """A descriptor of a client that is open twice would keep the connection open when one lets go."""
    p = proxy(pg)
    clients = [login(p) for _ in range(20)]
    for c in clients:
        c.query("SELECT 1")
    second = heirs.upgrade(p)
    sockets = [x for x in fds(second) if x.startswith("socket:")]
    assert not set(sockets) & set(x for x in fds(p.pid) if x.startswith("socket:"))
    assert len(sockets) <= 6, sockets                 # two listeners, the channel, and none of 20
    for c in clients:
        c.close()


def test_upgrade_after_upgrade(pg, proxy, heirs):
    p = proxy(pg, config={"workers": 2})
    clients, pids = [login(p)], [p.pid]
    for _ in range(4):
        pids.append(heirs.upgrade(p))
        clients.append(login(p))
    assert len(set(pids)) == 5 and all(exists(pid) for pid in pids)
    assert len({c.pid for c in clients}) == 5           # no two clients have one number
    for i, c in enumerate(clients):
        start_query(pg, c, f"generation {i}")
    for i, c in enumerate(clients):                      # through up to four processes
        cancel_at(p, c.pid, c.key)
        assert w.errors_of(c.read_until())[0]["C"] == "57014"
        assert len(running(pg, "generation %")) == 4 - i
        assert c.value("SELECT 1") == "1"
    for pid, c in zip(pids[:-1], clients):
        c.close()
        wait_for(lambda pid=pid: not exists(pid), 5, f"process {pid} to end")
    assert clients[-1].value("SELECT 1") == "1"
    clients[-1].close()


@pytest.mark.parametrize("workers", [1, 3])
def test_cancel_request_finds_the_client_of_the_old_process(pg, proxy, heirs, workers):
    p = proxy(pg, config={"workers": workers})
    with login(p) as old, login(p) as bystander:
        heirs.upgrade(p)
        with login(p) as new:
            assert new.pid not in (old.pid, bystander.pid)
            for c, mark in ((old, "old"), (bystander, "bystander"), (new, "new")):
                start_query(pg, c, mark)
            wrong = bytes(b ^ 0x55 for b in old.key)
            cancel_at(p, old.pid, wrong)
            cancel_at(p, old.pid, old.key)
            assert w.errors_of(old.read_until())[0]["C"] == "57014"
            assert running(pg, "bystander") and running(pg, "new")
            cancel_at(p, new.pid, new.key)
            assert w.errors_of(new.read_until())[0]["C"] == "57014"
            assert running(pg, "bystander")
            cancel_at(p, bystander.pid, bystander.key)
            assert w.errors_of(bystander.read_until())[0]["C"] == "57014"


def test_cancel_request_is_answered_when_the_old_process_dies(pg, proxy, heirs):
    p = proxy(pg)
    c = login(p)
    heirs.upgrade(p)
    os.kill(p.pid, signal.SIGSTOP)
    asking = RawClient(p.port, p.host, 20)
    asking.send(w.cancel_request(c.pid, c.key))
    assert asking.quiet(0.3)
    os.kill(p.pid, signal.SIGKILL)
    assert asking.recv_all() == b""
    p.check_on_stop = False
    cancel_at(p, c.pid, c.key)
    c.abort()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [1, 4])
def test_five_hundred_clients_notice_nothing(pg, proxy, heirs, workers):
    """Mixed load: long-lived clients and ones that come and go, simple and extended, transactions."""
    p = proxy(pg, pool_size=20, config={"workers": workers})
    pg.sql("CREATE TABLE IF NOT EXISTS moved (client int, n int)", DB)
    pg.sql("TRUNCATE moved", DB)
    pg.sql("GRANT ALL ON moved TO PUBLIC", DB)
    stop, failures, counts = asyncio.Event(), [], {"queries": 0, "logins": 0, "committed": 0}

    async def work(c, i, n):
        kind = (i + n) % 4
        if kind == 0:
            assert await c.query(f"SELECT {i}, {n}") == [[str(i), str(n)]]
        elif kind == 1:
            msgs = await c.request(w.parse("SELECT $1::int + 1", "s") + w.bind([str(n)], "s") + w.execute()
                                   + w.close("s") + w.sync())
            assert [b for k, b in msgs if k == "D"] and not [b for k, b in msgs if k == "E"]
        elif kind == 2:
            await c.query("BEGIN")
            await c.query(f"INSERT INTO moved VALUES ({i}, {n})")
            await c.query("COMMIT")
            counts["committed"] += 1
        else:
            await c.query(f"SET application_name = 'client {i}'")
            assert await c.query("SHOW application_name") == [[f"client {i}"]]
        counts["queries"] += 1

    async def one(i):
        c, n = None, 0
        try:
            while not stop.is_set():
                if c is None:
                    c = await AioConn.open(p.host, p.port, USER, SECRET, DB)
                    counts["logins"] += 1
                await work(c, i, n)
                n += 1
                if i % 5 == 0 and n % 10 == 0:          # every fifth does not stay
                    c.close()
                    c = None
                await asyncio.sleep(0.02)
        except (OSError, WireError, ServerError, AssertionError, asyncio.TimeoutError) as e:
            failures.append((i, n, repr(e)))
        if c:
            c.close()

    async def crowd():
        clients = [asyncio.create_task(one(i)) for i in range(500)]
        while counts["logins"] < 500:
            await asyncio.sleep(0.05)
        for _ in range(2):
            before = counts["logins"]
            await asyncio.get_running_loop().run_in_executor(None, heirs.upgrade, p)
            while counts["logins"] < before + 100 and not failures:
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*clients)

    asyncio.run(crowd())
    assert not failures, (len(failures), failures[:5])
    assert counts["logins"] >= 700 and counts["queries"] > 2000, counts
    assert int(pg.value("SELECT count(*) FROM moved", DB)) == counts["committed"]
    assert p.child.wait(10) == 0
    wait_for(lambda: not exists(heirs.pids[0]), 10, "the second process to end")
    with login(p) as c:
        assert c.value("SELECT 1") == "1"
    p.check_log()


def test_sighup_after_the_program_was_replaced_upgrades(pg, proxy, heirs):
    p = proxy(pg, start=False)
    copy = f"{p.dir}/penstock-copy"
    shutil.copy(p.program, copy)
    os.chmod(copy, 0o755)
    p.program = copy
    p.start()
    with login(p) as c:
        p.hup()
        p.wait_log("configuration reloaded")
        assert len(heirs.running(p)) == 1
        shutil.copy(copy, copy + ".new")
        os.chmod(copy + ".new", 0o755)
        os.rename(copy + ".new", copy)
        p.hup()
        p.wait_log("has taken over")
        heirs.pids += [pid for pid in heirs.running(p) if pid != p.pid]
        assert len(heirs.pids) == 1
        assert c.value("SELECT 1") == "1"
    with login(p) as c:
        assert c.value("SELECT 1") == "1"
    assert p.child.wait(5) == 0


def test_a_successor_that_cannot_start_changes_nothing(pg, proxy, heirs):
    p = proxy(pg, start=False)
    copy = f"{p.dir}/penstock-copy"
    shutil.copy(p.program, copy)
    os.chmod(copy, 0o755)
    p.program = copy
    p.start()
    with login(p) as c:
        good = p.config["default_pool_size"]
        p.config["default_pool_size"] = "many"
        p.write()
        with p.console() as con:
            with pytest.raises(ServerError, match="ended with status 1"):
                con.run("UPGRADE")
        p.config["default_pool_size"] = good
        p.write()
        for text, reason in (("#!/bin/sh\nexit 7\n", "status 7"), ("#!/bin/sh\nkill -9 $$\n", "signal 9"),
                             ("no program", "cannot start")):
            with open(copy + ".new", "w") as f:
                f.write(text)
            os.chmod(copy + ".new", 0o755)
            os.rename(copy + ".new", copy)
            with p.console() as con:
                with pytest.raises(ServerError, match=reason):
                    con.run("UPGRADE")
        assert c.value("SELECT 1") == "1"
        with login(p) as new, login(p, host=p.dir) as by_unix:
            assert new.value("SELECT 2") == "2" and by_unix.value("SELECT 3") == "3"
        assert heirs.running(p) == [p.pid]


def test_answers_go_when_a_successor_fails(pg, proxy, heirs):
    """It may have passed on a write before it did."""
    pg.sql(cached.SCHEMA, DB)
    p = proxy(pg, extra=cached.RULE)
    with login(p) as c:
        c.query("SELECT 1")
        cached.wait_ready(p)
        cached.warm(p, c, 7)
        pg.sql("UPDATE kept SET v = 70 WHERE id = 7", DB)      # as if through the successor
        assert c.value(cached.read(7)) == "7"
        p.config["default_pool_size"] = "many"
        p.write()
        with p.console() as con, pytest.raises(ServerError, match="ended with status 1"):
            con.run("UPGRADE")
        assert c.value(cached.read(7)) == "70"


def test_upgrade_from_the_command_line(pg, proxy, heirs):
    p = proxy(pg)
    user = procs.unprivileged_user()
    ids = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}

    def ask():
        return subprocess.run([p.program, "--upgrade", p.ini], capture_output=True, text=True, timeout=30, cwd="/tmp",
                              **ids)

    with login(p) as c:
        with p.console() as con:
            con.run("PAUSE")
            refused = ask()
            assert refused.returncode == 1 and "paused" in refused.stderr
            con.run("RESUME")
        done = ask()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        heirs.pids += [pid for pid in heirs.running(p) if pid != p.pid]
        assert len(heirs.pids) == 1 and c.value("SELECT 1") == "1"
    assert p.child.wait(5) == 0


def test_upgrade_is_refused_while_something_is_held(pg, proxy, heirs):
    p = proxy(pg, databases={DB: {"host": pg.host, "port": pg.port}})
    with login(p) as c, p.console() as con:
        for hold, release in (("PAUSE", "RESUME"), (f"PAUSE {DB}", f"RESUME {DB}"),
                              (f"DISABLE {DB}", f"ENABLE {DB}")):
            con.run(hold)
            with pytest.raises(ServerError, match="paused or disabled"):
                con.run("UPGRADE")
            con.run(release)
        assert c.value("SELECT 1") == "1"
        heirs.upgrade(p)
        with pytest.raises(ServerError):                # the old one's console
            con.run("UPGRADE")


def test_old_process_ends_on_sigterm_between_transactions(pg, proxy, heirs):
    p = proxy(pg, config={"shutdown_timeout": 20})
    idle, in_tx = login(p), login(p)
    in_tx.query("BEGIN")
    heirs.upgrade(p)
    with login(p) as new:
        os.kill(p.pid, signal.SIGTERM)
        assert w.errors_of(idle.read_to_end())[-1]["C"] == "57P01"
        assert in_tx.value("SELECT 1") == "1"
        in_tx.query("COMMIT")
        assert w.errors_of(in_tx.read_to_end())[-1]["C"] == "57P01"
        assert p.child.wait(5) == 0
        assert new.value("SELECT 1") == "1"


def test_old_process_gives_its_idle_servers_up(pg, proxy, heirs):
    p = proxy(pg, pool_size=10, config={"min_pool_size": 3})
    with login(p) as c:
        c.query("SELECT 1")
        wait_for(lambda: len(pg.backends(DB, f"usename = '{USER}'")) == 3, 5, "three servers")
        heirs.upgrade(p)
        pg.wait_backends(DB, 0, f"usename = '{USER}'", timeout=15)
        assert c.value("SELECT 1") == "1"


def test_log_of_the_old_process_is_reopened_too(pg, proxy, heirs):
    p = proxy(pg, start=False, config={"log_connections": 1, "log_disconnections": 1})
    p.config["logfile"] = f"{p.dir}/own.log"
    p.write()
    p.start()
    c = login(p)
    second = heirs.upgrade(p)
    os.rename(f"{p.dir}/own.log", f"{p.dir}/own.log.1")
    os.kill(second, signal.SIGHUP)

    def text():
        try:
            with open(f"{p.dir}/own.log") as f:
                return f.read()
        except OSError:
            return ""

    wait_for(lambda: "configuration reloaded" in text(), 5, "the new file")
    c.close()
    wait_for(lambda: f"[{p.pid}] LOG C-" in text(), 5, "a line of the old process in the new file")
    assert p.child.wait(5) == 0


def test_notifications_follow_the_new_process(pg, proxy, heirs):
    from test_service import Manager
    m = Manager()
    p = proxy(pg, env=m.env(WATCHDOG_USEC=400000))
    m.wait(READY="1")
    second = heirs.upgrade(p)
    said = m.wait(MAINPID=str(second))
    assert said["READY"] == "1"
    at = len(m.seen)
    wait_for(lambda: sum("WATCHDOG" in x for x in m.read()[at:]) >= 4, 5, "signs of life of the new one")
    assert p.child.wait(5) == 0
    assert not [x for x in m.read()[at:] if "STOPPING" in x]
    os.kill(second, signal.SIGTERM)
    m.wait(STOPPING="1")
    wait_for(lambda: not exists(second), 5, "the second to end")
    assert time.monotonic() > 0


def test_answers_are_not_kept_while_two_processes_pass_on_writes(pg, proxy, heirs):
    pg.sql(cached.SCHEMA, DB)
    p = proxy(pg, extra=cached.RULE)
    old = login(p)
    old.query("SELECT 1")
    cached.wait_ready(p)
    assert cached.warm(p, old, 7) == "7"
    heirs.upgrade(p)
    with login(p) as new:
        new.query("SELECT 1")
        cached.wait_ready(p)        # of the new one
        for n in range(20):         # each sees at once what the other writes
            writer, reader = (new, old) if n % 2 else (old, new)
            for c in (old, new):
                c.value(cached.read(7))
            writer.query(f"UPDATE kept SET v = {100 + n} WHERE id = 7")
            assert reader.value(cached.read(7)) == str(100 + n)
        got = cached.counts(p)
        assert got["hits"] == got["fills"] == 0 and got["bypasses"]["upgrade"] >= 30
        old.close()
        assert p.child.wait(5) == 0
        wait_for(lambda: new.value(cached.read(7)) and cached.counts(p)["hits"] > 0, 10, "answers to be kept again")
        new.query("UPDATE kept SET v = 8 WHERE id = 7")
        assert new.value(cached.read(7)) == "8"


# ---- the end of the old process ---------------------------------------------------------------------

def end_of(c):
    errors = w.errors_of(c.read_to_end())
    return (errors[-1]["S"], errors[-1]["C"]) if errors else None


def test_upgrade_timeout_sends_the_old_clients_away_between_transactions(pg, proxy, heirs):
    p = proxy(pg, config={"upgrade_timeout": 0.5, "shutdown_timeout": 20})
    idle, in_tx = login(p), login(p)
    idle.query("SELECT 1")
    in_tx.query("BEGIN")
    second = heirs.upgrade(p)
    began = time.monotonic()
    assert end_of(idle) == ("FATAL", "57P01") and time.monotonic() - began < 10
    assert p.alive() and in_tx.value("SELECT 'goes on'") == "goes on"
    in_tx.query("COMMIT")
    assert end_of(in_tx) == ("FATAL", "57P01")
    assert p.child.wait(5) == 0
    p.wait_log("upgrade_timeout is over, 2 clients are sent to the new process")
    with login(p) as new:
        assert new.value("SELECT 1") == "1"
    assert exists(second)


def test_without_upgrade_timeout_the_old_process_waits(pg, proxy, heirs):
    p = proxy(pg, config={"upgrade_timeout": 0, "shutdown_timeout": 0.2})
    with login(p) as c:
        heirs.upgrade(p)
        assert c.quiet(1.5) and c.value("SELECT 1") == "1"
    assert p.child.wait(5) == 0


def test_upgrade_timeout_cuts_a_transaction_that_does_not_end(pg, proxy, heirs):
    p = proxy(pg, config={"upgrade_timeout": 0.2, "shutdown_timeout": 0.5})
    in_tx = login(p)
    in_tx.query("BEGIN")
    heirs.upgrade(p)
    assert p.child.wait(10) == 0
    p.wait_log("shutdown_timeout is over, 1 clients are closed")
    in_tx.close()


def test_the_http_port_goes_over_to_the_new_process(pg, proxy, heirs, http):
    p = proxy(pg, config=http.config())
    with login(p) as old:
        old.query("BEGIN")
        assert http.scrape().get("penstock_clients") == 1
        second = heirs.upgrade(p)
        wait_for(lambda: http.scrape().get("penstock_clients") == 0, 10, "the new process to answer")
        for _ in range(20):     # and nobody else
            assert http.scrape().get("penstock_clients") == 0
        old.query("COMMIT")
    assert p.child.wait(10) == 0
    assert exists(second) and http.status("/readyz") == 200
    p.check_on_stop = False


def test_a_pid_file_that_cannot_be_written_does_not_end_the_new_process(pg, proxy, heirs):
    """By then the old one has closed its listeners: nobody would serve."""
    p = proxy(pg)
    p.config["pidfile"] = "/dev/full"
    p.write()
    second = heirs.upgrade(p)
    assert p.child.wait(5) == 0
    p.wait_log("the pid file still names the process before this one: pidfile /dev/full")
    with login(p) as c:
        assert c.value("SELECT 1") == "1"
    assert exists(second)
    p.check_on_stop = False
