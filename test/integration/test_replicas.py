"""A [cluster] of a primary and two streaming replicas: who is what, and where statements go."""
import time
from collections import Counter

import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.pgwire import ServerError
from support.procs import wait_for
from support.trio import Trio, nodes_of, section, wait_nodes

pytestmark = [pytest.mark.penstock_only, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def trio():
    t = Trio()
    yield t
    t.close()


@pytest.fixture
def start(proxy, trio):
    """A function that starts Penstock in front of the trio and waits until it knows the nodes."""
    def make(entry=None, config=None, mode="transaction", **keys):
        databases = {DB: {"cluster": "main", "dbname": DB, **(entry or {})}}
        p = proxy(databases=databases, mode=mode, config=config, extra=section(trio, **keys))
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
        for _ in range(100):
            for c in (a, b):
                c.send(w.query("SELECT node()"))
            for c in (a, b):
                read[int(w.rows_of(c.read_until())[0][0])] += 1
        assert read[trio.primary.port] == 0
        assert all(read[r.port] > 0 for r in trio.replicas), read


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
