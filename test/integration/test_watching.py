"""Clusters, routing, the result cache and Redis in /metrics and on the console: the same numbers in both."""
import os
import re

import pytest

from support import pgwire as w
from support import procs
from support.common import DB, SECRET, USER
from support.pgwire import ServerError
from support.procs import wait_for
from support.redis import Redis
from support.trio import nodes_of, section, wait_nodes

pytestmark = [pytest.mark.penstock_only, pytest.mark.timeout(120)]

ROOT = os.path.dirname(procs.BUILD)
READ = "SELECT v FROM still WHERE id = {}"
RULE = """
[cache]
{more}
[cache kept]
query = SELECT v FROM still WHERE id = $1
key = kept:$1
ttl = 300
"""


@pytest.fixture
def start(proxy, trio, http):
    """A function that starts Penstock in front of the trio, with the port and perhaps a cache."""
    def make(cache=None, config=None, **keys):
        extra = section(trio, **keys) + (RULE.format(more=cache) if cache is not None else "")
        p = proxy(databases={DB: {"cluster": "main", "dbname": DB}}, config=http.config(**(config or {})), extra=extra)
        wait_nodes(p, primary=1, replica=2)
        return p
    return make


def login(p):
    return p.connect(USER, SECRET, DB)


def read_until_replica(p, trio, c):
    wait_for(lambda: int(c.value("SELECT node()")) != trio.primary.port, 10, lambda: p.show("NODES"))


def use_all_nodes(p, trio, c):
    read_until_replica(p, trio, c)
    for i in range(30):
        c.query("SELECT 1")
        c.query(f"UPDATE t SET v = v + 1 WHERE id = {i + 1}")


def wait_ready(p):
    with login(p) as c:
        c.query("SELECT 1")
    wait_for(lambda: p.show("CACHE")[0]["state"] == "ready", 15, lambda: p.show("CACHE"))


# ---- clusters ---------------------------------------------------------------------------------------

def test_nodes_are_those_of_the_console(start, trio, http):
    p = start()
    with login(p) as c:
        use_all_nodes(p, trio, c)
        scrape, rows = http.scrape(), nodes_of(p)
        assert len(rows) == 3
        for name, row in rows.items():
            of = dict(cluster="main", node=name)
            assert scrape.get("penstock_node_role", role=row["role"], **of) == 1
            assert scrape.sum("penstock_node_role", **of) == scrape.sum("penstock_node_state", **of) == 1
            assert scrape.get("penstock_node_state", state=row["state"], **of) == 1
            assert scrape.get("penstock_node_transactions_total", **of) == int(row["transactions"])
            assert scrape.get("penstock_node_weight", **of) == int(row["weight"])
            assert scrape.get("penstock_node_drained", **of) == 0
            assert scrape.get("penstock_node_in_flight_requests", **of) == 0
            assert scrape.get("penstock_node_since_change_seconds", **of) >= 0
            assert scrape.sum("penstock_node_servers", **of) == len(
                [s for s in p.show("SERVERS") if s["port"] == name.rsplit(":", 1)[1] and s["user"] == USER])
            known = scrape.get("penstock_node_lag_seconds", **of)
            assert (known is None) == (row["role"] == "primary")
            if row["role"] == "replica":
                assert 0 <= known < 5 and scrape.get("penstock_node_lag_bytes", **of) >= 0
                assert scrape.get("penstock_node_missing_probes", **of) >= 0
        assert scrape.sum("penstock_node_transactions_total") == sum(int(r["transactions"]) for r in rows.values())
        assert scrape.get("penstock_cluster_primary_changes_total", cluster="main") == 1
        # The connections that ask the nodes are no pool of anybody.
        assert {s.labels["database"] for s in scrape.all("penstock_pool_servers")} == {DB}
        assert {s.labels["alarm"]: s.value for s in scrape.all("penstock_cluster_alarm", cluster="main")} == {
            "two_primaries": 0, "other_system": 0, "old_primary": 0}


# Column of SHOW STATS -> counter of its pools.
COUNTERS = {"server_assignment_count": "server_assignments", "xact_count": "transactions", "query_count": "queries",
            "received": "client_received_bytes", "sent": "server_received_bytes", "client_login_count": "client_logins"}


def assert_counters(p, scrape):
    stats = next(r for r in p.show("STATS") if r["database"] == DB)
    for column, name in COUNTERS.items():
        assert scrape.sum(f"penstock_pool_{name}_total", database=DB) == int(stats["total_" + column]) > 0, column
    for column, name in (("xact", "transaction"), ("query", "query"), ("wait", "wait")):
        shown = scrape.sum(f"penstock_pool_{name}_time_seconds_total", database=DB)
        assert round(shown * 1e6) == int(stats[f"total_{column}_time"]), column
        assert round(scrape.sum(f"penstock_pool_{name}_seconds_sum", database=DB) * 1e6) == round(shown * 1e6)


def test_pools_of_nodes_are_told_apart(start, trio, http):
    p = start()
    with login(p) as c:
        use_all_nodes(p, trio, c)
        with pytest.raises(ServerError):
            c.query("UPDATE t SET v = v / 0")
        scrape, rows = http.scrape(), {r["node"] or None: r for r in p.show("POOLS") if r["database"] == DB}
        nodes = nodes_of(p)
        assert None in rows and set(rows) - {None} <= set(nodes)
        assert {s.labels.get("node") for s in scrape.all("penstock_pool_clients")} == {None}
        assert {s.labels.get("node") for s in scrape.all("penstock_pool_servers")} == set(rows) - {None}
        for name in ("servers_limit", "share_width", "in_flight_requests", "query_seconds_count"):
            assert {s.labels.get("node") for s in scrape.all(f"penstock_pool_{name}")} == set(rows) - {None}, name
        assert scrape.sum("penstock_pool_clients", user=USER) == int(rows[None]["cl_active"]) == 1
        for node in set(rows) - {None}:
            of = dict(database=DB, user=USER, node=node)
            assert scrape.get("penstock_pool_transactions_total", **of) == int(nodes[node]["transactions"])
            assert scrape.get("penstock_pool_servers", state="idle", **of) == int(rows[node]["sv_idle"])
            assert scrape.sum("penstock_pool_servers", **of) == scrape.sum("penstock_node_servers", node=node)
            given = scrape.get("penstock_pool_server_assignments_total", **of)
            assert scrape.get("penstock_pool_wait_seconds_count", **of) == given
        primary = f"{trio.primary.host}:{trio.primary.port}"
        assert [(s.labels["node"], s.value) for s in scrape.all("penstock_pool_errors_total")] == [(primary, 1)]
        assert_counters(p, scrape)


def test_what_nodes_have_counted_stays_when_their_pools_are_closed(start, trio, http):
    p = start()
    with login(p) as c:
        read_until_replica(p, trio, c)
        c.query("UPDATE t SET v = v + 1 WHERE id = 9")
        before = {s.labels["node"]: s.value for s in http.scrape().all("penstock_pool_transactions_total")}
        assert sum(before.values()) > 1
        p.databases = {DB: {"host": trio.primary.host, "port": trio.primary.port, "dbname": DB}}
        p.extra = ""
        p.reload()
        wait_for(lambda: [r["node"] for r in p.show("POOLS") if r["database"] == DB] == [""], 15,
                 lambda: p.show("POOLS"))
        c.query("SELECT 1")
        scrape = http.scrape()
        for node, n in before.items():
            of = dict(database=DB, user=USER, node=node)
            assert scrape.sum("penstock_pool_transactions_total", **of) == n
            assert scrape.sum("penstock_pool_servers", **of) == 0
        assert scrape.sum("penstock_pool_transactions_total") > sum(before.values())
        assert_counters(p, scrape)


def test_the_lag_of_a_replica_that_stands_still_is_seen(start, trio, http):
    p = start(max_replica_lag=0.3)
    stuck = trio.replicas[0]
    of = dict(cluster="main", node=f"{stuck.host}:{stuck.port}")
    try:
        with login(p) as c:
            stuck.pause_replay()

            def lags():
                c.query("UPDATE t SET v = v + 1 WHERE id = 5")
                s = http.scrape()
                # What is not flushed yet, for its commit did not wait for that, is no standby's lag.
                return (s.get("penstock_node_state", state="lagging", **of) == 1
                        and s.get("penstock_node_lag_bytes", **of) > 0)
            wait_for(lags, 15, lambda: p.show("NODES"))
            scrape = http.scrape()
            assert scrape.get("penstock_node_lag_seconds", **of) > 0.3
            assert scrape.get("penstock_node_state", state="up", **of) == 0
            trouble = http.json("/state.json")["trouble"]
            line = next(x for x in trouble if of["node"] in x)
            assert re.fullmatch(rf"cluster main: replica {of['node']} is lagging for \d+\.\d s, it is \d+\.\d s "
                                r"behind, \d+ bytes of log", line), line
    finally:
        stuck.resume_replay()
    wait_for(lambda: http.scrape().get("penstock_node_state", state="up", **of) == 1, 15)


def test_routing_by_node_and_reason(start, trio, http):
    p = start()
    with login(p) as c:
        read_until_replica(p, trio, c)
        before = http.scrape()
        primary = f"{trio.primary.host}:{trio.primary.port}"

        def more(reason, **of):
            was = before.sum("penstock_node_requests_total", reason=reason, **of)
            return http.scrape().sum("penstock_node_requests_total", reason=reason, **of) - was
        for i in range(5):
            c.query(f"UPDATE t SET v = v + 1 WHERE id = {i + 1}")
        assert more("analysis", node=primary) == 5
        c.query("BEGIN")
        c.query("UPDATE t SET v = v + 1 WHERE id = 1")
        c.query("COMMIT")
        assert more("in_transaction") >= 2
        for _ in range(3):
            c.query("/* penstock: route=primary */ SELECT 1")
        assert more("hint", node=primary) == 3
        rows, scrape = p.show("ROUTING"), http.scrape()
        told = {(r["node"], r["reason"]): int(r["requests"]) for r in rows if r["node"]}
        shown = {(s.labels["node"], s.labels["reason"]): s.value
                 for s in scrape.all("penstock_node_requests_total", cluster="main")}
        assert told == shown and told


def test_requests_that_no_node_may_have_are_counted(start, trio, http):
    p = start(failover_hold=3, max_replica_lag=0)
    with login(p) as c:
        read_until_replica(p, trio, c)
        try:
            for r in trio.replicas:
                r.pause_replay()
            c.query("UPDATE t SET v = v + 1 WHERE id = 6")
            c.send(w.query("/* penstock: route=replica */ SELECT v FROM t WHERE id = 6"))
            wait_for(lambda: http.scrape().get("penstock_cluster_held_requests", cluster="main") == 1)
            assert "cluster main: 1 request held until a node can have it" in http.json("/state.json")["trouble"]
            assert w.errors_of(c.read_until())[0]["C"] == "57P03"
        finally:
            for r in trio.replicas:
                r.resume_replay()
        scrape, of = http.scrape(), dict(cluster="main")
        assert scrape.get("penstock_cluster_held_requests", **of) == 0
        assert scrape.get("penstock_cluster_holds_total", reason="not_fresh", **of) == 1
        assert scrape.get("penstock_cluster_refusals_total", reason="not_fresh", **of) == 1
        rows = [r for r in p.show("ROUTING") if r["node"] is None]
        assert [(r["reason"], r["held"], r["refused"]) for r in rows] == [("not_fresh", "1", "1")]


def test_a_drained_node_is_told(start, trio, http):
    p = start()
    out = trio.replicas[0]
    with p.console() as con:
        con.run(f"DRAIN {out.host}:{out.port}")
        wait_for(lambda: http.scrape().get("penstock_node_drained", node=f"{out.host}:{out.port}") == 1)
        assert http.scrape().sum("penstock_node_drained") == 1
        assert f"cluster main: replica {out.host}:{out.port} is drained" in http.json("/state.json")["trouble"]


def test_counts_of_a_node_survive_its_pools(start, trio, http):
    p = start(config={"pool_idle_timeout": 1, "server_idle_timeout": 1})
    with login(p) as c:
        read_until_replica(p, trio, c)
        for i in range(10):
            c.query(f"UPDATE t SET v = v + 1 WHERE id = {i + 1}")
    before = {n: int(r["transactions"]) for n, r in nodes_of(p).items()}
    assert sum(before.values()) > 10
    wait_for(lambda: p.pool(DB) is None, 20)
    assert {n: int(r["transactions"]) for n, r in nodes_of(p).items()} == before
    scrape = http.scrape()
    assert {s.labels["node"]: s.value for s in scrape.all("penstock_node_transactions_total")} == before


# ---- the result cache -------------------------------------------------------------------------------

def test_the_cache_is_that_of_the_console(start, trio, http):
    p = start(cache="memory = 8MB")
    wait_ready(p)
    with login(p) as c:
        for i in (1, 1, 2, 2, 2):
            c.query(READ.format(i))
        c.query("BEGIN")
        c.query(READ.format(1))
        c.query("COMMIT")
        c.query("UPDATE still SET v = 0 WHERE id = 2")
        c.query("SELECT 1")
    row, scrape, of = p.show("CACHE")[0], http.scrape(), dict(rule="kept", database=DB)
    assert len(p.show("CACHE")) == 1        # none for the connections that ask the nodes
    for column, name in (("hits", "hits"), ("local_hits", "local_hits"), ("misses", "misses"), ("waits", "waits"),
                         ("fills", "fills"), ("refused", "refused_answers"), ("invalidations", "invalidations")):
        assert scrape.get(f"penstock_cache_{name}_total", **of) == int(row[column]), column
    assert int(row["hits"]) == int(row["local_hits"]) > 0 and int(row["fills"]) > 0 and int(row["invalidations"]) > 0
    bypasses = dict(x.split("=") for x in row["bypasses"].split())
    assert {s.labels["reason"]: s.value for s in scrape.all("penstock_cache_bypasses_total", **of)} == {
        k: int(v) for k, v in bypasses.items()} and bypasses["transaction"] == "1"
    assert scrape.get("penstock_cache_rule_in_force", **of) == 1
    assert scrape.get("penstock_cache_entries", **of) == int(row["entries"]) > 0
    assert 0 < scrape.get("penstock_cache_entries_bytes", **of) <= scrape.get("penstock_cache_memory_bytes")
    assert scrape.get("penstock_cache_memory_limit_bytes") == 8 << 20
    assert scrape.all("penstock_redis_up") == []
    with p.console() as con, login(p) as c:
        con.run("CACHE FLUSH")
        c.query(READ.format(1))         # what is void is dropped when it is found
        now, row = http.scrape(), p.show("CACHE")[0]
        assert now.get("penstock_cache_misses_total", **of) == int(row["misses"]) > scrape.get(
            "penstock_cache_misses_total", **of)
        assert now.get("penstock_cache_entries", **of) == int(row["entries"])


def test_redis_and_its_circuit(start, trio, http):
    redis = Redis()
    try:
        p = start(cache=f"store = redis://127.0.0.1:{redis.port}/0\nmode = ttl\nredis_timeout = 0.1")
        wait_ready(p)
        with login(p) as c:
            def hit():
                c.query(READ.format(7))
                return int(p.show("CACHE")[0]["hits"]) > 0
            wait_for(hit, 10)
            scrape = http.scrape()
            assert scrape.sum("penstock_redis_up") == 1 and scrape.sum("penstock_redis_circuit_open") == 0
            asked = scrape.sum("penstock_redis_requests_total")
            assert asked > 0 and scrape.sum("penstock_redis_connects_total") == 1
            assert scrape.sum("penstock_redis_answer_seconds_count") >= asked
            assert 0 < scrape.sum("penstock_redis_answer_seconds_sum") < 5
            assert scrape.all("penstock_cache_entries") == []       # only Redis knows
            line = p.show("REDIS")[0]
            assert line["state"] == "up" and int(line["asked"]) == asked
            redis.kill()
            wait_for(lambda: http.scrape().sum("penstock_redis_circuit_open") == 1, 10)
            assert c.value(READ.format(7)) is not None
            scrape = http.scrape()
            assert scrape.sum("penstock_redis_up") == 0 and scrape.sum("penstock_redis_failures_total") > 0
            assert scrape.get("penstock_cache_bypasses_total", rule="kept", database=DB, reason="store") >= 1
            assert scrape.sum("penstock_redis_refused_requests_total") >= 1
            assert "cache: Redis is not to be had on 1 of 1 threads" in http.json("/state.json")["trouble"]
            assert p.show("REDIS")[0]["state"] == "down"
            redis.start()
            wait_for(lambda: http.scrape().sum("penstock_redis_up") == 1, 15)
            assert http.scrape().sum("penstock_redis_connects_total") == 2
    finally:
        redis.close()


# ---- all of it --------------------------------------------------------------------------------------

# Where nothing has gone wrong there is nothing to show.
TROUBLE = {"penstock_cluster_holds_total", "penstock_cluster_refusals_total", "penstock_pool_errors_total",
           "penstock_pool_refusals_total", "penstock_worker_refusals_total", "penstock_cache_bypasses_total"}
ELSEWHERE = {"penstock_pool_pinned_servers"}        # test_http.py


def test_every_documented_metric_has_samples_where_clusters_and_caches_are(start, trio, http):
    with open(os.path.join(ROOT, "docs", "metrics.md")) as f:
        told = re.findall(r"^\| ((?:penstock|process)_\w+) \| (\w+) \| ([\w, ]*) \|", f.read(), re.M)
    seen = {}

    def look(p):
        clients = [login(p) for _ in range(8)]
        for c in clients:
            c.query(READ.format(1))

        def deep():
            for c in clients:
                c.send(w.query("SELECT v FROM t WHERE id = 3"))
            for c in clients:
                c.read_until()
            return http.scrape().all("penstock_pool_share_depth_count")
        wait_for(deep, 20)
        for family in http.scrape().families.values():
            for s in family.samples:
                name = s.name if family.type != "histogram" else family.name
                seen.setdefault(name, set()).update(set(s.labels) - {"le"})
        for c in clients:
            c.close()

    p = start(cache="memory = 8MB", config={"multiplex_depth": 16, "default_pool_size": 1})
    wait_ready(p)
    look(p)
    p.stop()
    redis = Redis()
    try:
        p = start(cache=f"store = redis://127.0.0.1:{redis.port}/0\nmode = ttl", config={"multiplex_depth": 16, "default_pool_size": 1})
        wait_ready(p)
        look(p)
        p.stop()
    finally:
        redis.close()
    assert {name for name, _, _ in told} - set(seen) <= TROUBLE | ELSEWHERE
    for name, _, labels in told:
        if name in seen:
            assert seen[name] == set(filter(None, labels.split(", "))), name
