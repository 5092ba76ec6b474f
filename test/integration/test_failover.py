"""A node of a [cluster] fails: what its clients notice, and what becomes of their requests."""
import asyncio
import threading
import time

import pytest

from support import aio
from support import pgwire as w
from support.common import DB, SECRET, USER
from support.fault import Faulty
from support.pgwire import ServerError
from support.procs import wait_for
from support.trio import Trio, nodes_of, section, wait_nodes

pytestmark = [pytest.mark.penstock_only, pytest.mark.timeout(180)]


@pytest.fixture
def trio():
    t = Trio()
    yield t
    t.close()


@pytest.fixture
def start(proxy):
    def make(trio, config=None, entry=None, **keys):
        databases = {DB: {"cluster": "main", "dbname": DB, **(entry or {})}}
        p = proxy(databases=databases, config=config, extra=section(trio, **keys))
        wait_nodes(p, primary=1, replica=len(trio.replicas))
        with login(p) as c:     # the catalog is known, and reads go to replicas
            wait_for(lambda: int(c.value("SELECT node()")) != trio.primary.port, 10, lambda: p.show("NODES"))
        return p
    return make


def login(p, **kw):
    return p.connect(USER, SECRET, kw.pop("db", DB), **kw)


class Load:
    """Clients that read, and clients that write single statements; what went wrong is kept, and what
    became of each writer's row.  direct: a server that is read without Penstock, too: what takes long
    there at the same time is the machine's fault."""

    SLOW = 0.1

    def __init__(self, p, readers=10, writers=10, pause=0.005, direct=None):
        self.direct, self.late, self.late_direct = direct, [], []
        self.p, self.readers, self.writers, self.pause = p, readers, writers, pause
        self.errors, self.longest, self.reads, self.writes, self.stop = [], 0, 0, 0, False
        self.done, self.unknown = [0] * writers, [0] * writers

    def _note(self, kind, i, began, error):
        took = time.monotonic() - began
        self.longest = max(self.longest, took)
        if kind == "reads":
            if took > self.SLOW:
                self.late.append((i, began, took))
        elif error is None:
            self.done[i] += 1
        else:
            self.unknown[i] += 1
        if error is not None:
            self.errors.append((kind, str(error)))

    async def _one(self, i, sql, kind):
        conn = await aio.AioConn.open(self.p.host, self.p.port, USER, SECRET, DB, timeout=60)
        while not self.stop:
            began, error = time.monotonic(), None
            try:
                await conn.query(sql)
                setattr(self, kind, getattr(self, kind) + 1)
            except Exception as e:  # noqa: BLE001
                error = e
            self._note(kind, i, began, error)
            if error is not None and not isinstance(error, ServerError):
                return
            await asyncio.sleep(self.pause)
        conn.close()

    async def _directly(self):
        conn = await aio.AioConn.open(self.direct.host, self.direct.port, USER, SECRET, DB, timeout=60)
        while not self.stop:
            began = time.monotonic()
            await conn.query("SELECT v FROM t WHERE id = 1")
            if time.monotonic() - began > self.SLOW / 10:
                self.late_direct.append((began, time.monotonic() - began))
            await asyncio.sleep(self.pause / 4)
        conn.close()

    def slow(self):
        """How many reads of each client took more than SLOW, without what the machine took."""
        out = [0] * self.readers
        for i, began, took in self.late:
            machine = sum(t for at, t in self.late_direct if at < began + took and at + t > began)
            out[i] += took - machine > self.SLOW
        return out

    async def run(self, during):
        """Runs the load while `during` does in a thread what happens to the nodes."""
        tasks = [asyncio.create_task(self._one(i, f"SELECT v FROM t WHERE id = {i + 1}", "reads"))
                 for i in range(self.readers)]
        tasks += [asyncio.create_task(self._one(i, f"UPDATE t SET v = v + 1 WHERE id = {i + 1}", "writes"))
                  for i in range(self.writers)]
        if self.direct:
            tasks.append(asyncio.create_task(self._directly()))
        await asyncio.sleep(1)
        await asyncio.to_thread(during)
        await asyncio.sleep(1)
        self.stop = True
        await asyncio.gather(*tasks)

    def judge_rows(self, node):
        """Each write that was acknowledged counts once; one whose outcome is unknown once or not."""
        rows = dict(node.sql("SELECT id, v FROM t", DB))
        for i in range(self.writers):
            have = int(rows[str(i + 1)])
            assert self.done[i] <= have <= self.done[i] + self.unknown[i], (i, have, self.done[i], self.unknown[i])


def test_a_replica_that_is_killed_is_noticed_by_nobody(start, trio):
    p = start(trio)
    out = trio.replicas[0]
    load = Load(p)
    asyncio.run(load.run(out.kill))
    assert load.errors == [] and load.reads > 200 and load.writes > 200
    assert load.longest < 1
    assert nodes_of(p)[f"{out.host}:{out.port}"]["state"] == "down"
    out.start()
    wait_nodes(p, primary=1, replica=2)


def judge_ill_replica(load):
    slow = load.slow()
    print(f"{load.reads} reads of {load.readers} clients; slow: {sum(slow)}, of one client at most {max(slow)};"
          f" {len(load.late) - sum(slow)} slow with the machine; longest {load.longest:.3f} s")
    assert load.errors == [] and load.reads > 20 * load.readers
    assert max(slow) <= 2


@pytest.mark.cluster
def test_a_replica_that_hangs_delays_each_client_once(start, trio):
    p = start(trio)
    out = trio.replicas[0]
    load = Load(p, readers=20, writers=0, pause=0.02, direct=trio.primary)

    def hang():
        out.freeze()
        time.sleep(4)
    try:
        asyncio.run(load.run(hang))
    finally:
        out.thaw()
    judge_ill_replica(load)
    wait_nodes(p, primary=1, replica=2)


@pytest.mark.parametrize("fault", ["reset", "swallow"])
def test_a_replica_whose_connections_fail_delays_each_client_once(start, trio, fault):
    """It resets all connections, old and new ones, or accepts all and never says a word."""
    out = trio.replicas[0]
    with Faulty(out.host, out.port) as f:
        hosts = trio.hosts().replace(f"{out.host}:{out.port}", f"{f.host}:{f.port}")
        p = start(trio, hosts=hosts)
        load = Load(p, readers=20, writers=0, pause=0.02, direct=trio.primary)

        def fail():
            getattr(f, fault)()
            time.sleep(4)
        asyncio.run(load.run(fail))
        judge_ill_replica(load)
        assert nodes_of(p)[f"{f.host}:{f.port}"]["state"] == "down"
        f.heal()
        wait_nodes(p, primary=1, replica=2)
        with login(p) as c:
            wait_for(lambda: int(c.value("SELECT node()")) == out.port, 10, "reads on the node that is back")


@pytest.mark.cluster
def test_a_clean_switchover_shows_no_error(start, trio):
    p = start(trio)
    old, new, other = trio.nodes
    took = []

    def switch():
        began = time.monotonic()
        old.stop("fast")
        new.promote()
        took.append(time.monotonic() - began)
        other.follow(new)
    load = Load(p, readers=100, writers=100, pause=0.05)
    asyncio.run(load.run(switch))
    print(f"{load.reads} reads and {load.writes} writes of 200 clients; promoted after {took[0]:.2f} s;"
          f" longest request {load.longest:.2f} s")
    assert load.errors == [] and load.writes > 200
    assert load.longest < took[0] + 1
    wait_nodes(p, primary=1, replica=1)
    assert nodes_of(p)[f"{new.host}:{new.port}"]["role"] == "primary"
    load.judge_rows(new)
    assert int(new.value("SELECT sum(v) FROM t", DB)) == load.writes


def have_synchronous_replicas(trio):
    """What is acknowledged has reached one of them."""
    trio.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
    trio.primary.sql("ALTER SYSTEM SET synchronous_commit = 'remote_write'")
    trio.primary.sql("SELECT pg_reload_conf()")
    wait_for(lambda: trio.primary.value("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'") == "2",
             10, "the replicas to be synchronous")


def most_advanced(replicas):
    """The one that has received most, and the rest: who fails over takes that."""
    has = {r: int(r.value("SELECT (pg_last_wal_receive_lsn() - '0/0'::pg_lsn)::bigint")) for r in replicas}
    return sorted(replicas, key=has.get, reverse=True)


@pytest.mark.cluster
@pytest.mark.parametrize("end", ["kill", "crash"])
def test_a_killed_primary_fails_only_writes_in_flight(start, trio, end):
    """kill -9 of the server's parent lets its children finish what they do; of all, does not."""
    p = start(trio)
    have_synchronous_replicas(trio)
    now = []

    def fail():
        getattr(trio.primary, end)()
        now.extend(most_advanced(trio.replicas))
        now[0].promote()
        now[1].follow(now[0])
    load = Load(p, readers=100, writers=100, pause=0.02)
    asyncio.run(load.run(fail))
    unknown = len(load.errors)
    print(f"{load.reads} reads, {load.writes} writes, {unknown} with an unknown outcome")
    assert [e for e in load.errors if e[0] == "reads"] == []
    assert max(load.unknown) <= 1, load.errors
    assert unknown > 0 or end == "kill"
    assert all("08007" in e[1] or "outcome" in e[1] for e in load.errors), load.errors
    load.judge_rows(now[0])
    wait_nodes(p, primary=1, replica=1)


def test_two_primaries_on_one_timeline_raise_the_alarm_and_the_current_one_stays(start, trio):
    p = start(trio)
    old, new, other = trio.nodes
    old.kill()
    new.promote()
    wait_for(lambda: nodes_of(p)[f"{new.host}:{new.port}"]["role"] == "primary", 20, lambda: p.show("NODES"))
    assert "two nodes take writes" not in p.log_text()
    other.promote()         # it knows nothing of the other one's promotion
    timelines = {n.value("SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)") for n in (new, other)}
    assert len(timelines) == 1
    wait_for(lambda: "two nodes take writes on one timeline" in p.log_text(), 10, "the alarm")
    name = f"{other.host}:{other.port}"
    wait_for(lambda: nodes_of(p)[name]["state"] == "fenced", 10, lambda: p.show("NODES"))
    with login(p) as c:
        for _ in range(20):
            assert c.query("UPDATE t SET v = v + 1 WHERE id = 1 RETURNING node()") == [[str(new.port)]]
            assert int(c.value("SELECT node()")) == new.port


def test_two_first_primaries_on_one_timeline_are_none(proxy, trio):
    """Whoever has never seen which was first must not guess."""
    old, new, other = trio.nodes
    old.kill()
    new.promote()
    other.promote()
    p = proxy(databases={DB: {"cluster": "main", "dbname": DB}}, config={"client_login_timeout": 3},
              extra=section(trio, failover_hold=1))
    wait_for(lambda: "two nodes take writes on one timeline" in p.log_text(), 10, "the alarm")
    assert [r["role"] for r in p.show("NODES")].count("primary") == 0
    with pytest.raises(ServerError):
        with login(p) as c:
            c.query("UPDATE t SET v = v + 1 WHERE id = 1")
    assert {n.value("SELECT v FROM t WHERE id = 1", DB) for n in (new, other)} == {"0"}


@pytest.mark.cluster
def test_an_old_primary_that_returns_is_fenced(start, trio):
    p = start(trio)
    old, new, other = trio.nodes
    old.kill()
    new.promote()
    other.follow(new)
    wait_for(lambda: nodes_of(p)[f"{new.host}:{new.port}"]["role"] == "primary", 20, lambda: p.show("NODES"))
    with login(p) as c:
        assert c.query("UPDATE t SET v = 0 WHERE id = 1 RETURNING node()") == [[str(new.port)]]
        old.start()
        name = f"{old.host}:{old.port}"
        wait_for(lambda: nodes_of(p)[name]["state"] == "fenced", 20, lambda: p.show("NODES"))
        for _ in range(20):
            assert c.query("UPDATE t SET v = v + 1 WHERE id = 1 RETURNING node()") == [[str(new.port)]]
            assert int(c.value("SELECT node()")) != old.port
    old.kill()
    old.become_standby_of(new)
    wait_nodes(p, primary=1, replica=2)


@pytest.mark.cluster
def test_a_transaction_that_is_lost_leaves_its_client_connected(start, trio):
    p = start(trio)
    with login(p) as c, login(p) as idle, login(p) as ext:
        for x in (c, idle, ext):
            x.query("BEGIN")
            x.query("UPDATE t SET v = v + 1 WHERE id = 50" if x is c else "SELECT 1")
        old, new, _ = trio.nodes
        old.kill()
        new.promote()
        with pytest.raises(ServerError) as e:
            c.query("SELECT 1")
        assert e.value.code == "08007"
        with pytest.raises(ServerError) as e:
            c.query("SELECT 1")
        assert e.value.code == "25P02"
        msgs = c.ask(w.query("ROLLBACK"))
        assert [m.type for m in msgs] == ["C", "Z"]
        assert int(c.query("UPDATE t SET v = 1 WHERE id = 50 RETURNING node()")[0][0]) == new.port
        with pytest.raises(ServerError) as e:     # who commits must not take it for committed
            idle.query("COMMIT")
        assert e.value.code == "08007"
        assert idle.value("SELECT 1") == "1"
        with pytest.raises(ServerError):
            ext.query("SELECT 1")
        ext.send(w.parse("ROLLBACK") + w.bind() + w.describe("", "P") + w.execute() + w.sync())
        assert [m.type for m in ext.read_until()] == ["1", "2", "n", "C", "Z"]
        assert ext.value("SELECT 1") == "1"


def test_what_a_standby_refuses_is_done_by_the_primary(start, trio):
    p = start(trio)
    trio.primary.sql("CREATE FUNCTION sly() RETURNS int LANGUAGE plpgsql STABLE AS"
                     " $$ BEGIN PERFORM pg_advisory_xact_lock(1);"
                     " EXECUTE 'UPDATE t SET v = v + 1 WHERE id = 99'; RETURN 1; END $$", DB)
    trio.primary.sql("ALTER FUNCTION sly() VOLATILE; UPDATE pg_proc SET provolatile = 's'"
                     " WHERE proname = 'sly'", DB)
    for r in trio.replicas:
        r.catch_up()
    with login(p) as c:
        time.sleep(3)                            # the catalog is fetched again
        for _ in range(5):
            try:
                c.query("SELECT sly()")
            except ServerError as e:             # the primary itself may refuse a write in it
                assert "non-volatile" in str(e) or e.code == "0A000", e
        c.send(w.parse("SELECT sly()") + w.bind() + w.describe("", "P") + w.execute() + w.sync())
        c.read_until()


@pytest.mark.parametrize("begin", ["BEGIN READ ONLY", "BEGIN TRANSACTION READ ONLY ISOLATION LEVEL REPEATABLE READ"])
def test_a_write_behind_its_begin_is_not_repeated_outside_of_the_transaction(start, trio, begin):
    """Both are sent before anything is answered: the write may not run by itself elsewhere."""
    p = start(trio)
    with login(p) as c:
        c.send(w.query(begin) + w.query("UPDATE t SET v = 1000 WHERE id = 50"))
        first, second = c.read_until(), c.read_until()
        assert not any(m.type == "E" for m in first)
        assert any(m.type == "E" for m in second) and second[-1].fields["status"] == "E"
        c.query("ROLLBACK")
        assert trio.primary.value("SELECT v FROM t WHERE id = 50", DB) == "0"


def test_a_request_is_not_held_for_longer_than_failover_hold(start, trio):
    p = start(trio, failover_hold=1)
    trio.primary.kill()
    with login(p) as c:
        assert c.value("SELECT v FROM still WHERE id = 1") == "0"
        began = time.monotonic()
        with pytest.raises(ServerError) as e:
            c.query("UPDATE t SET v = 1 WHERE id = 1")
        assert e.value.code in ("57P03", "08007") and time.monotonic() - began < 5
        with pytest.raises(ServerError) as e:
            c.query("UPDATE t SET v = 1 WHERE id = 1")
        assert e.value.code == "57P03"
        assert c.value("SELECT v FROM still WHERE id = 1") == "0"


def test_each_request_is_held_for_as_long_as_another(start, trio):
    """The one before was refused after its time: that says nothing of how long the next may wait."""
    p = start(trio, failover_hold=2)
    trio.primary.kill()
    with login(p) as c:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(ServerError):
                c.query("UPDATE t SET v = 1 WHERE id = 1")
        assert time.monotonic() - began > 1


def test_who_listens_is_not_left_deaf_by_a_switch(start, trio):
    p = start(trio)
    old, new, other = trio.nodes
    with login(p) as c, login(p) as idle:
        c.query("LISTEN news")
        wait_for(lambda: all(row["state"] != "held" for row in p.show("CLIENTS") if row["user"] == USER), 10,
                 lambda: p.show("CLIENTS"))
        old.freeze()                     # nothing is said, and nothing will be
        try:
            new.promote()
            other.follow(new)
            c.sock.settimeout(30)
            assert [m.fields["S"] for m in c.read_to_end() if m.type == "E"] == ["FATAL"]
        finally:
            old.thaw()
        idle.sock.settimeout(30)
        with login(p, timeout=30) as again:
            again.query("LISTEN news")
            idle.query("NOTIFY news, 'there'")
            assert again.read_until("A")[-1].fields["payload"] == "there"


def test_who_stops_a_session_is_obeyed(start, trio):
    """A server that shuts down says the same; so the statement is sent again, but not for ever."""
    p = start(trio)
    with login(p) as c:
        c.sock.settimeout(90)
        c.send(w.query("SELECT pg_sleep(60) FROM still WHERE id = 1"))
        times, said = 0, []
        reader = threading.Thread(target=lambda: said.extend(c.read_until()), daemon=True)
        reader.start()

        def stop():
            nonlocal times
            for n in trio.nodes:
                times += int(n.value("SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM"
                                     f" pg_stat_activity WHERE usename = '{USER}' AND query LIKE '%pg_sleep(60)%'"
                                     " AND state = 'active'"))
            return not reader.is_alive()
        wait_for(stop, 60, lambda: times)
        assert any(m.type == "E" for m in said)
        assert times <= 5
        assert c.value("SELECT 1") == "1"
