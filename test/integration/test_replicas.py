"""A [cluster] of a primary and two streaming replicas: who is what, and where statements go."""
import time
from collections import Counter

import pytest

from support import cached
from support import pgwire as w
from support.common import DB, SECRET, USER
from support.pgwire import ServerError
from support.procs import wait_for
from support.trio import nodes_of, section, wait_nodes

pytestmark = [pytest.mark.penstock_only, pytest.mark.timeout(120)]


@pytest.fixture
def start(proxy, trio):
    """A function that starts Penstock in front of the trio and waits until it knows the nodes."""
    def make(entry=None, config=None, mode="transaction", more="", **keys):
        databases = {DB: {"cluster": "main", "dbname": DB, **(entry or {})}}
        p = proxy(databases=databases, mode=mode, config=config, extra=section(trio, **keys) + more)
        wait_nodes(p, primary=1, replica=len(trio.replicas))
        return p
    return make


def login(p, **kw):
    return p.connect(USER, SECRET, kw.pop("db", DB), **kw)


def warm(p, trio, c):
    """Waits until reads go to replicas: the catalog is known and the marks have been passed."""
    wait_for(lambda: int(c.value("SELECT node()")) != trio.primary.port, 10, lambda: p.show("NODES"))


def test_roles_are_found_and_shown(start, trio):
    p = start()
    rows = nodes_of(p)
    assert {int(n.rsplit(":", 1)[1]): r["role"] for n, r in rows.items()} == {
        trio.primary.port: "primary", **{r.port: "replica" for r in trio.replicas}}
    for r in rows.values():
        assert r["state"] == "up" and float(r["last_change_ms"]) >= 0
    name = f"{trio.replicas[0].host}:{trio.replicas[0].port}"
    wait_for(lambda: nodes_of(p)[name]["lag_bytes"] == "0", 5, "the lag to be known")
    replica = nodes_of(p)[name]
    assert float(replica["lag_ms"]) < 1000 and int(replica["freshness"]) <= 3


def test_reads_go_to_the_replicas_and_writes_to_the_primary(start, trio):
    p = start()
    with login(p) as c:
        warm(p, trio, c)
        read = Counter()
        for _ in range(200):
            read[int(c.value("SELECT node()"))] += 1
        assert set(read) <= {r.port for r in trio.replicas}
        for i in range(20):
            row = c.query(f"UPDATE t SET v = v + 1 WHERE id = {i + 1} RETURNING node()")
            assert row == [[str(trio.primary.port)]]
    with login(p) as a, login(p) as b:      # another client is as good as one that wrote nothing
        read = Counter()

        def both():
            for c in (a, b):
                c.send(w.query("SELECT node()"))
            for c in (a, b):
                read[int(w.rows_of(c.read_until())[0][0])] += 1
            return all(read[r.port] > 0 for r in trio.replicas)

        # a replica whose last probe was before what the client has read elsewhere is not asked yet
        wait_for(both, 10, lambda: (read, p.show("NODES")))
        assert read[trio.primary.port] == 0


@pytest.mark.cluster
def test_pool_size_counts_per_node(start, trio):
    p = start(config={"default_pool_size": 2, "multiplex_depth": 1})
    clients = [login(p) for _ in range(12)]
    warm(p, trio, clients[0])
    for c in clients:
        c.send(w.query("SELECT node(), pg_sleep(0.2) FROM still WHERE id = 1"))
    for c in clients:
        c.read_until()
    for n in trio.nodes:
        assert len(n.backends(DB, f"usename = '{USER}'")) <= 2
    for c in clients:
        c.close()


@pytest.mark.cluster
def test_pools_and_servers_are_shown_by_node(start, trio):
    p = start()
    names = {n.port: f"{n.host}:{n.port}" for n in trio.nodes}
    with login(p) as c:
        warm(p, trio, c)
        c.query("UPDATE t SET v = v WHERE id = 2")
        rows = {r["node"]: r for r in p.show("POOLS") if r["database"] == DB}
        assert set(rows) == {"", *names.values()}
        assert list(rows[""])[-1] == "node"
        assert rows[""]["cl_active"] == "1" and all(rows[n]["cl_active"] == "0" for n in names.values())
        count = {n: sum(int(r[k]) for k in ("sv_active", "sv_idle")) for n, r in rows.items()}
        assert count[""] == 0 and count[names[trio.primary.port]] > 0
        servers = [r for r in p.show("SERVERS") if r["database"] == DB]
        assert all(r["node"] == names[int(r["port"])] for r in servers)
        assert Counter(r["node"] for r in servers) == {n: k for n, k in count.items() if k}
        assert [r["node"] for r in p.show("CLIENTS") if r["user"] == USER] == [""]
        c.query("BEGIN")
        c.query("SELECT 1")
        assert [r["node"] for r in p.show("CLIENTS") if r["user"] == USER] == [names[trio.primary.port]]
        probes = [r for r in p.show("POOLS") if r["database"] == "cluster main"]
        assert {r["node"] for r in probes} == set(names.values())


@pytest.mark.cluster
def test_prepared_statements_and_settings_work_on_every_node(start, trio):
    p = start()
    with login(p) as c:
        warm(p, trio, c)
        c.query("SET statement_timeout = 54321")
        c.send(w.parse("SELECT node(), v, current_setting('statement_timeout') FROM still WHERE id = $1", "s1")
               + w.sync())
        c.read_until()
        seen = Counter()
        for i in range(60):
            c.send(w.bind([str(i % 100 + 1)], "s1") + w.execute() + w.sync())
            row = w.rows_of(c.read_until())[0]
            assert row[1:] == ["0", "54321ms"]
            seen[int(row[0])] += 1
            c.query(f"UPDATE t SET v = v + 1 WHERE id = {i + 1}")
        assert seen


def test_a_read_sees_the_clients_own_write(start, trio):
    p = start()
    with login(p) as c:
        warm(p, trio, c)
        for i in range(300):
            c.query(f"UPDATE t SET v = {i} WHERE id = 7")
            assert c.value("SELECT v FROM t WHERE id = 7") == str(i)


@pytest.mark.parametrize("consistency", ["session", "database"])
def test_the_second_of_two_writes_sent_at_once_is_seen_too(start, trio, consistency):
    """The first ends, and replicas have it, while the second still waits for a row's lock."""
    p = start(consistency=consistency)
    with login(p) as c, trio.primary.connect(USER, SECRET, DB) as direct, login(p) as other:
        warm(p, trio, c)
        was = int(direct.value("SELECT v FROM t WHERE id = 71"))
        direct.query("BEGIN")
        direct.query("UPDATE t SET v = v WHERE id = 71")
        c.send(w.query("UPDATE t SET v = v + 1 WHERE id = 70") + w.query("UPDATE t SET v = v + 1 WHERE id = 71"))
        c.read_until()
        other.query("UPDATE still SET v = v + 1 WHERE id = 2")
        if consistency == "session":    # a probe that was sent after the first write has been passed
            warm(p, trio, other)
        try:
            for r in trio.replicas:
                r.pause_replay()
            direct.query("COMMIT")
            c.read_until()
            assert int(c.value("SELECT v FROM t WHERE id = 71")) == was + 1
            if consistency == "database":
                assert int(other.value("SELECT v FROM t WHERE id = 71")) == was + 1
        finally:
            for r in trio.replicas:
                r.resume_replay()


def test_an_entry_may_demand_the_primary_or_a_replica(proxy, trio):
    p = proxy(databases={"rw": {"cluster": "main", "dbname": DB, "route": "primary"},
                         "ro": {"cluster": "main", "dbname": DB, "route": "replica"}},
              extra=section(trio))
    wait_nodes(p, primary=1, replica=2)
    with login(p, db="rw") as c:
        assert {int(c.value("SELECT node()")) for _ in range(20)} == {trio.primary.port}
    with login(p, db="ro") as c:
        assert {int(c.value("SELECT node()")) for _ in range(20)} <= {r.port for r in trio.replicas}
        with pytest.raises(ServerError) as e:
            c.query("UPDATE t SET v = 0 WHERE id = 1")
        assert e.value.code == "25006"
        assert c.value("SELECT 1") == "1"


def test_a_transaction_stays_where_it_began(start, trio):
    p = start()
    with login(p) as c:
        warm(p, trio, c)
        c.query("BEGIN")
        assert int(c.value("SELECT node()")) == trio.primary.port
        c.query("UPDATE t SET v = -1 WHERE id = 9")
        assert c.value("SELECT v FROM t WHERE id = 9") == "-1"
        c.query("COMMIT")
        wait_for(lambda: int(c.value("SELECT node()")) != trio.primary.port, 10, "reads on a replica")
        c.query("BEGIN READ ONLY")
        where = int(c.value("SELECT node()"))
        assert where != trio.primary.port
        assert {int(c.value("SELECT node()")) for _ in range(5)} == {where}
        c.query("COMMIT")


@pytest.mark.cluster
def test_a_drained_node_gets_nothing_new(start, trio):
    p = start()
    out, stays = trio.replicas
    with login(p) as c, p.console() as con:
        warm(p, trio, c)
        con.run(f"DRAIN {out.host}:{out.port}")
        wait_for(lambda: nodes_of(p)[f"{out.host}:{out.port}"]["state"] == "drained", 5, "the drain")
        assert {int(c.value("SELECT node()")) for _ in range(50)} <= {stays.port, trio.primary.port}
        wait_for(lambda: not out.backends(DB, f"usename = '{USER}'"), 5, "the pool to be empty")
        con.run(f"UNDRAIN {out.host}:{out.port}")
        wait_for(lambda: int(c.value("SELECT node()")) == out.port, 10, "reads on the node")
        with pytest.raises(ServerError):
            con.run("DRAIN nowhere:1")


def test_the_first_client_waits_until_the_nodes_are_known(proxy, trio):
    p = proxy(databases={DB: {"cluster": "main", "dbname": DB}}, extra=section(trio))
    began = time.monotonic()
    with login(p) as c:
        assert int(c.value("SELECT node() FROM t WHERE id = 1")) in {n.port for n in trio.nodes}
    assert time.monotonic() - began < 10


def last(c):
    return c.query("SHOW LAST")[0]


@pytest.mark.cluster
def test_overrides_stand_in_their_order(start, trio):
    p = start(rule="primary SELECT v FROM still WHERE id = *")
    replicas = {f"{r.host}:{r.port}" for r in trio.replicas}
    primary = f"{trio.primary.host}:{trio.primary.port}"
    with login(p) as c:
        warm(p, trio, c)
        assert last(c)[0] in replicas and last(c)[1:] == ["replica", "analysis", "read"]
        c.query("SELECT v FROM still WHERE id = 1")
        assert last(c) == [primary, "primary", "rule", "read"]
        c.query("SET penstock.route = 'prefer-replica'")
        wait_for(lambda: c.query("SELECT v FROM still WHERE id = 1") and last(c)[0] in replicas, 5,
                 lambda: last(c))
        assert last(c)[2] == "setting"
        c.query("/* penstock: route=primary */ SELECT v FROM still WHERE id = 1")
        assert last(c)[:3] == [primary, "primary", "hint"]
        c.query("RESET penstock.route")
        c.query("BEGIN")
        c.query("SELECT 1")
        assert last(c)[2] == "in_transaction"
        c.query("ROLLBACK")
        c.query("INSERT INTO t VALUES (1000, 1)")
        assert last(c)[2:] == ["analysis", "write"]
        c.query("DELETE FROM t WHERE id = 1000")
        c.send(w.parse("SHOW LAST") + w.bind() + w.describe("", "P") + w.execute() + w.sync())
        assert w.rows_of(c.read_until())[0][3] == "write"
    with login(p, target_session_attrs="read-write") as c:
        assert c.value("SELECT node()") == str(trio.primary.port)
        assert last(c)[2] == "startup"
    with pytest.raises(ServerError):
        login(p, target_session_attrs="sideways")


@pytest.mark.cluster
def test_a_token_carries_a_write_to_another_connection(proxy, trio):
    slow = trio.replicas
    p = proxy(databases={DB: {"cluster": "main", "dbname": DB}}, extra=section(trio))
    wait_nodes(p, primary=1, replica=2)
    with login(p) as a, login(p) as b:
        warm(p, trio, b)
        try:
            for r in slow:
                r.pause_replay()
            before = b.value("SELECT v FROM t WHERE id = 33")
            a.query("UPDATE t SET v = 4711 WHERE id = 33")
            token = a.value("SHOW penstock.token")
            assert token.count(".") == 2
            assert b.value("SELECT v FROM t WHERE id = 33") == before     # it knows of nothing
            b.query(f"SET penstock.token = '{token}'")
            assert b.value("SELECT v FROM t WHERE id = 33") == "4711"
        finally:
            for r in slow:
                r.resume_replay()


@pytest.mark.cluster
def test_database_scope_shows_every_acknowledged_write(start, trio):
    p = start(consistency="database")
    with login(p) as a, login(p) as b:
        warm(p, trio, b)
        try:
            trio.replicas[0].pause_replay()
            for i in range(200):
                a.query(f"UPDATE t SET v = {i} WHERE id = 44")
                assert b.value("SELECT v FROM t WHERE id = 44") == str(i)
            wait_for(lambda: b.value("SELECT node() FROM still WHERE id = 1") != str(trio.primary.port), 5,
                     "reads of a table that nobody writes to go to a replica")
            on_replicas = sum(int(b.value("SELECT node() FROM still WHERE id = 1")) != trio.primary.port
                              for _ in range(100))
            assert on_replicas > 50
        finally:
            trio.replicas[0].resume_replay()


def test_without_consistency_a_read_may_be_stale(start, trio):
    p = start(consistency="off", max_replica_lag=0)
    with login(p) as c:
        warm(p, trio, c)
        try:
            for r in trio.replicas:
                r.pause_replay()
            before = c.value("SELECT v FROM t WHERE id = 55")
            c.query("UPDATE t SET v = v + 1 WHERE id = 55")
            assert c.value("SELECT v FROM t WHERE id = 55") == before
        finally:
            for r in trio.replicas:
                r.resume_replay()


def test_an_open_transaction_does_not_make_replicas_lag(start, trio):
    """What it has written may stay in the primary's memory for as long as it is open."""
    p = start(max_replica_lag=0.5)
    with login(p) as c, login(p) as busy:
        warm(p, trio, c)
        busy.query("BEGIN")
        busy.query("UPDATE t SET v = v WHERE id = 61")
        began = time.monotonic()
        while time.monotonic() - began < 2:
            assert all(r["state"] in ("up", "slow") for r in p.show("NODES")), p.show("NODES")
            time.sleep(0.05)
        busy.query("ROLLBACK")


@pytest.mark.cluster
def test_a_reload_changes_the_nodes_and_the_cluster(proxy, trio):
    """Nodes leave and return, policies change, the entry leaves its cluster: nobody is disturbed."""
    entry = {DB: {"cluster": "main", "dbname": DB}}
    first, second = trio.replicas
    p = proxy(databases=entry, extra=section(trio))
    wait_nodes(p, primary=1, replica=2)
    with login(p) as c, login(p) as busy:
        warm(p, trio, c)
        busy.query("BEGIN")
        busy.query("UPDATE t SET v = v WHERE id = 60")
        without = ", ".join(f"{n.host}:{n.port}" for n in (trio.primary, second))
        p.extra = section(trio, hosts=without, consistency="off", weights="1, 5")
        p.reload()
        wait_for(lambda: f"{first.host}:{first.port}" not in nodes_of(p), 10, lambda: p.show("NODES"))
        assert nodes_of(p)[f"{second.host}:{second.port}"]["weight"] == "5"
        assert {int(c.value("SELECT node()")) for _ in range(30)} <= {second.port, trio.primary.port}
        wait_for(lambda: not first.backends(DB, f"usename = '{USER}'"), 10, "the node's servers to be closed")
        busy.query("COMMIT")
        p.extra = section(trio)
        p.reload()
        wait_nodes(p, primary=1, replica=2)
        wait_for(lambda: int(c.value("SELECT node()")) == first.port, 10, "reads on the node that is back")
        p.databases, p.extra = {DB: {"host": trio.primary.host, "port": trio.primary.port, "dbname": DB}}, ""
        p.reload()
        wait_for(lambda: p.show("NODES") == [] or c.value("SELECT node()") == str(trio.primary.port), 10,
                 "the entry to have left its cluster")
        assert {int(x.value("SELECT node()")) for x in (c, busy) for _ in range(10)} == {trio.primary.port}
        p.databases, p.extra = entry, section(trio)
        p.reload()
        with login(p) as late:
            warm(p, trio, late)
            assert c.value("SELECT 1") == "1" and busy.value("SELECT 1") == "1"


def test_a_node_in_the_place_of_another_is_not_taken_for_it(proxy, trio):
    """One replica leaves, and then another comes: reads go there, and it is not drained for the first."""
    entry = {DB: {"cluster": "main", "dbname": DB}}
    first, second = trio.replicas
    name = {n.port: f"{n.host}:{n.port}" for n in trio.nodes}
    p = proxy(databases=entry, extra=section(trio, hosts=f"{name[trio.primary.port]}, {name[first.port]}"))
    wait_nodes(p, primary=1, replica=1)
    with login(p) as c, p.console() as con:
        warm(p, trio, c)
        con.run(f"DRAIN {name[first.port]}")
        for hosts, there in ((f"{name[trio.primary.port]}", 1),
                             (f"{name[trio.primary.port]}, {name[second.port]}", 2)):
            p.extra = section(trio, hosts=hosts)
            p.reload()
            wait_for(lambda: len(nodes_of(p)) == there, 10, lambda: p.show("NODES"))
        wait_nodes(p, primary=1, replica=1)
        wait_for(lambda: int(c.value("SELECT node()")) == second.port, 10, lambda: p.show("NODES"))
        assert {int(c.value("SELECT node()")) for _ in range(20)} == {second.port}


def test_a_write_that_ends_after_its_entry_has_left_the_cluster_is_over(proxy, trio):
    """While it may commit, its table is read from the primary; that must not be so for good."""
    entry, plain = {DB: {"cluster": "main", "dbname": DB}}, {"host": trio.primary.host,
                                                             "port": trio.primary.port, "dbname": DB}
    p = proxy(databases=entry, extra=section(trio, consistency="database"))
    wait_nodes(p, primary=1, replica=2)
    with login(p) as c, login(p) as reader, trio.primary.connect(USER, SECRET, DB) as direct:
        warm(p, trio, reader)
        direct.query("BEGIN")
        direct.query("UPDATE t SET v = v WHERE id = 72")
        c.send(w.query("UPDATE t SET v = v + 1 WHERE id = 72"))
        wait_for(lambda: direct.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1", 10, "the write")
        p.databases = {DB: plain}
        p.reload()
        wait_for(lambda: reader.value("SELECT node()") == str(trio.primary.port), 10, "the entry to have left")
        direct.query("COMMIT")
        c.read_until()
        p.databases = entry
        p.reload()
        wait_for(lambda: reader.value("SELECT node() FROM t WHERE id = 72") != str(trio.primary.port), 20,
                 lambda: (p.show("NODES"), last(reader)))


@pytest.mark.parametrize("hold", [0.5, 0])
def test_a_lock_that_nobody_would_see_is_refused_and_the_client_goes_on(start, trio, hold):
    p = start(begin_hold=hold)
    with login(p) as c:
        for pipelined in (False, True):
            warm(p, trio, c)
            begin = w.query("BEGIN READ ONLY") + w.query("SELECT v FROM still WHERE id = 1")
            lock = w.query("SELECT pg_advisory_xact_lock(1)")
            c.send(begin + lock if pipelined else begin)
            c.read_until()
            c.read_until()
            if not pipelined:
                assert last(c)[1] == "replica"
                c.send(lock)
            msgs = c.read_until()
            assert [m.fields["C"] for m in msgs if m.type == "E"] == ["0A000"]
            assert msgs[-1].fields["status"] == "E"
            with pytest.raises(ServerError) as e:
                c.query("SELECT 1")
            assert e.value.code == "25P02"
            assert [m.type for m in c.ask(w.query("ROLLBACK"))] == ["C", "Z"]
            assert c.value("SELECT 1") == "1"
            for r in trio.replicas:
                assert r.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"


def test_a_request_that_waits_is_planned_once(start, trio):
    p = start(config={"default_pool_size": 1, "multiplex_depth": 1})

    def binds():
        return sum(int(row["bind_count"]) for row in p.show("STATS_TOTALS"))
    with login(p) as holds, login(p) as c:
        warm(p, trio, c)
        c.send(w.parse("UPDATE t SET v = v + $1 WHERE id = 73 RETURNING v", "up") + w.sync())
        c.read_until()
        holds.query("BEGIN")
        holds.query("UPDATE t SET v = v WHERE id = 74")
        before = binds()
        c.send(w.bind(["1"], "up") + w.execute() + w.sync())
        wait_for(lambda: any(row["state"] == "waiting" for row in p.show("CLIENTS")), 10, lambda: p.show("CLIENTS"))
        holds.query("COMMIT")
        assert w.rows_of(c.read_until()) == [["1"]]
        assert binds() == before + 1


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_that_listen_leave_the_primarys_servers_to_others(start, trio, workers):
    p = start(config={"default_pool_size": 1, "multiplex_depth": 1, "workers": workers})
    with login(p) as a, login(p) as b, login(p) as c:
        warm(p, trio, c)
        for x in (a, b):
            x.query("LISTEN news")
        wait_for(lambda: all(row["state"] != "held" for row in p.show("CLIENTS") if row["user"] == USER), 10,
                 lambda: p.show("CLIENTS"))
        for i in range(3):
            c.query("BEGIN")
            c.query("UPDATE t SET v = v WHERE id = 75")
            c.query(f"NOTIFY news, '{i}'")
            c.query("COMMIT")
        for x in (a, b):
            assert [m.fields["payload"] for m in x.read_until("A", 3)] == ["0", "1", "2"]
        a.query("UNLISTEN *")
        c.query("NOTIFY news, 'last'")
        assert b.read_until("A")[-1].fields["payload"] == "last"
        assert a.value("SELECT 1") == "1" and a.quiet(0.1)


# ---- answers that are kept ----------------------------------------------------------------------------

@pytest.fixture
def keeping(start, trio):
    """With a rule of the result cache, and reads that may be stale otherwise."""
    trio.primary.sql(cached.SCHEMA, DB)
    for r in trio.replicas:
        r.catch_up(30)
    p = start(more=cached.RULE, consistency="off")
    with login(p) as c:
        warm(p, trio, c)
        cached.wait_ready(p)
    return p


def test_what_is_kept_was_read_from_the_primary(keeping, trio):
    with login(keeping) as c, login(keeping) as other:
        assert cached.warm(keeping, c, 7) == "7"
        for r in trio.replicas:
            r.pause_replay()
        try:
            for n in range(100, 120):
                c.query(f"UPDATE kept SET v = {n} WHERE id = 7")
                assert [x.value(cached.read(7)) for x in (other, c, other)] == [str(n)] * 3
            assert other.value("SELECT v + 0 FROM kept WHERE id = 7") == "7"      # a replica, which has not heard of it
        finally:
            for r in trio.replicas:
                r.resume_replay()
        got = cached.counts(keeping)
    assert got["hits"] >= 20 and got["fills"] >= 20 and got["refused"] == 0


def test_what_a_replica_answered_is_not_kept(keeping, trio):
    ask = "/* penstock: route=replica */ " + cached.read(9)
    with login(keeping) as c:
        for r in trio.replicas:
            r.pause_replay()
        try:
            c.query("UPDATE kept SET v = 10 WHERE id = 9")
            assert [c.value(ask) for _ in range(5)] == ["9"] * 5
            assert c.value(cached.read(9)) == "10"
            got = cached.counts(keeping)
        finally:
            for r in trio.replicas:
                r.resume_replay()
    assert got["refused"] >= 5 and got["fills"] == 1
