"""SHOW STATEMENTS: what ran how often, merged over workers, and forgotten when told to."""
import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.penstock import STATS, STATS_SECRET
from support.procs import wait_for
from support.pgwire import ServerError, errors_of

pytestmark = pytest.mark.penstock_only


TEXTS = {"database", "host", "digest", "query"}


def numbers(row):
    return {k: v if k in TEXTS else int(v) for k, v in row.items()}


def workers(p):
    return [numbers(r) for r in p.show("WORKERS")]


def statements(p, **where):
    rows = [numbers(r) for r in p.show("STATEMENTS")]
    return [r for r in rows if all(r[k] == v for k, v in where.items())]


def one(p, query):
    rows = statements(p, query=query)
    assert len(rows) <= 1
    return rows[0] if rows else None


def test_simple_and_prepared_are_one_row_of_all_workers(pg, proxy):
    p = proxy(pg, config={"workers": 2})
    clients = [p.connect(USER, SECRET, DB) for _ in range(4)]  # the fewest clients: two on each worker
    for i, c in enumerate(clients):
        c.query(f"SELECT g FROM generate_series(1, {i + 1}) g")
        c.extended("select g from generate_series(1, $1) g", ["3"])
        c.ask(w.parse("select g from generate_series(1, $1) g", "s"), w.sync())
        c.ask(w.bind(["2"], "s"), w.execute(), w.sync())
    for c in clients:
        c.close()
    row = one(p, "select g from generate_series($?, $?) g")
    assert row["database"] == DB and row["host"] == f"{pg.host}:{pg.port}"
    assert (row["calls"], row["errors"]) == (12, 0)
    assert row["rows"] == 1 + 2 + 3 + 4 + 4 * 3 + 4 * 2
    assert len(row["digest"]) == 16
    assert 0 < row["mean_time"] <= row["p95_time"] <= row["max_time"] <= row["total_time"]
    assert sum(r["tracked_statements"] for r in workers(p)) >= 2


def test_time_is_the_databases_and_the_slowest_comes_first(pg, proxy):
    p = proxy(pg)
    with p.connect(USER, SECRET, DB) as c:
        for _ in range(20):
            c.query("SELECT 1")
        c.query("SELECT pg_sleep(0.2)")
    row = statements(p)[0]
    assert row["query"] == "select pg_sleep($?)"
    assert 200000 <= row["total_time"] < 2000000 and row["total_time"] == row["max_time"]


def test_waiting_for_a_server_is_counted_apart(pg, proxy):
    p = proxy(pg, pool_size=1)
    with p.connect(USER, SECRET, DB) as a, p.connect(USER, SECRET, DB) as b:
        a.query("BEGIN")  # the only server is its
        a.send(w.query("SELECT pg_sleep(0.2); COMMIT"))
        b.query("SELECT now() < 'infinity'")
        a.read_until()
    waited = one(p, "select now() < $?")
    assert waited["wait_time"] > 100000 > waited["total_time"]
    batch = one(p, "select pg_sleep($?); commit")
    assert (batch["calls"], batch["wait_time"]) == (1, 0)


def test_errors_are_counted(pg, proxy):
    p = proxy(pg)
    with p.connect(USER, SECRET, DB) as c:
        assert errors_of(c.ask(w.query("SELECT 1 / 0")))
        assert errors_of(c.ask(w.query("SELEC 'secret'")))
        c.query("SELECT 1 / 1")
    assert (one(p, "select $? / $?")["calls"], one(p, "select $? / $?")["errors"]) == (2, 1)
    assert one(p, "selec $?")["errors"] == 1


RULE = """
[cache]
[cache one]
query = SELECT v FROM cached_statement WHERE id = $1
key = one:$1
"""


def test_answers_of_the_result_cache_are_counted_with_their_statement(pg, proxy):
    pg.sql("CREATE TABLE IF NOT EXISTS cached_statement (id int PRIMARY KEY, v int); "
           "INSERT INTO cached_statement SELECT 1, 10 ON CONFLICT DO NOTHING; "
           f"GRANT SELECT ON cached_statement TO {USER}", DB)
    p = proxy(pg, config={"workers": 2}, extra=RULE)
    ask, text = "SELECT v FROM cached_statement WHERE id = 1", "select v from cached_statement where id = $?"
    clients = [p.connect(USER, SECRET, DB) for _ in range(4)]
    for c in clients:
        c.query("SELECT 1")
    wait_for(lambda: p.show("CACHE")[0]["state"] == "ready", 15)
    for c in clients * 5:
        assert c.query(ask) == [["10"]]
        c.extended(ask.replace("1", "$1"), ["1"])
    hits, row = int(p.show("CACHE")[0]["hits"]), one(p, text)
    assert hits > 0 and row["cached"] == hits and row["calls"] == 40 - hits
    assert row["host"] == f"{pg.host}:{pg.port}"
    with p.console() as con:
        con.run("RESET STATEMENTS")
    clients[0].query(ask)
    row = one(p, text)
    assert (row["cached"], row["calls"], row["host"], row["total_time"]) == (1, 0, "", 0)
    for c in clients:
        c.close()


def test_session_mode_counts_what_it_sees(pg, proxy):
    p = proxy(pg, mode="session")
    with p.connect(USER, SECRET, DB) as c:
        c.extended("SELECT $1::int", ["1"])
        c.ask(w.parse("SELECT $1::int + 1", "s"), w.sync())
        c.ask(w.bind(["2"], "s"), w.execute(), w.sync())
    assert one(p, "select $?::int")["calls"] == 1
    assert one(p, "(not seen)")["calls"] == 1


def test_reset_forgets_and_needs_an_administrator(pg, proxy):
    p = proxy(pg)
    with p.connect(USER, SECRET, DB) as c:
        c.query("SELECT 1")
        assert one(p, "select $?")["calls"] == 1
        with p.console(STATS, STATS_SECRET) as con:
            assert con.query("SHOW STATEMENTS")
            with pytest.raises(ServerError, match="admin access needed"):
                con.run("RESET STATEMENTS")
        with p.console() as con:
            msgs = con.run("RESET STATEMENTS;")
            assert [m.fields["tag"] for m in msgs if m.type == "C"] == ["RESET"]
            with pytest.raises(ServerError, match="invalid command"):
                con.run("RESET ALL")
        assert statements(p) == []
        c.query("SELECT 1")
    assert one(p, "select $?")["calls"] == 1


def test_memory_is_bounded_and_tracking_can_be_switched(pg, proxy):
    p = proxy(pg, config={"workers": 1, "track_statements_memory": "64kB"})
    with p.connect(USER, SECRET, DB) as c, p.console() as con:
        for i in range(150):
            c.query(f"SELECT 1 AS column_{i}")
        row = workers(p)[0]
        assert row["tracked_bytes"] <= 65536 and row["tracked_statements"] < 150
        assert row["tracked_statements"] + row["tracked_evicted"] == 150
        con.run("SET track_statements = 0")
        c.query("SELECT 1")
        assert statements(p) == []
        con.run("SET track_statements = 1")
        c.query("SELECT 1")
        assert len(statements(p)) == 1
