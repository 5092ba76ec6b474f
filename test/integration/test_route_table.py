"""Every statement of route_table.inc through the proxy to a primary and two replicas, for real.

Each statement carries a mark in a comment, and the nodes log what they run; so the nodes themselves
say where it was.  Nothing that is not called a read may be in a replica's log, whatever came of it.
"""
import re

import pytest

from support import pgwire as w
from support.common import DB
from support.procs import wait_for
from support.route_objects import OBJECTS, route_table
from support.trio import Trio, section, wait_nodes

pytestmark = [pytest.mark.penstock_only, pytest.mark.timeout(240)]

BOSS, BOSS_SECRET = "boss", "boss secret"   # may do all that the table tries
MARK = re.compile(r"/\* m(\d+) \*/")
END = "SELECT 'the end'"


@pytest.fixture(scope="module")
def trio():
    t = Trio(log_statement="all", track_functions="all")
    t.primary.role(BOSS, BOSS_SECRET, "SUPERUSER")
    t.primary.sql(OBJECTS, DB)
    for r in t.replicas:
        r.catch_up()
    yield t
    t.close()


@pytest.fixture
def start(proxy, trio):
    def make(routes=""):
        p = proxy(databases={DB: {"cluster": "main", "dbname": DB}}, users={BOSS: BOSS_SECRET},
                  extra=section(trio, consistency="off") + routes)
        wait_nodes(p, primary=1, replica=2)
        with login(p) as c:
            wait_for(lambda: int(c.value("SELECT node()")) != trio.primary.port, 10, "reads on a replica")
        return p
    return make


def login(p):
    return p.connect(BOSS, BOSS_SECRET, DB)


def simple(text):
    return w.query(text), b""


def extended(text):
    return w.parse(text) + w.bind() + w.execute() + w.sync(), w.sync()


def run(c, text, how):
    """Sends the statement and reads its answer, errors too; an upload is an empty one."""
    request, end = how(text)
    try:
        if c.ask(request, until="GZ")[-1].type == "G":
            c.ask(w.copy_done(), end)
    except w.WireError as e:
        raise AssertionError(f"{text}: {e}") from e


def where(trio, first, count):
    """mark -> the nodes that have it in their logs, once all of them have written the last one."""
    def seen():
        found = {}
        for n in trio.nodes:
            for mark in MARK.findall(n.log_text()):
                found.setdefault(int(mark), set()).add(n)
        return found
    wait_for(lambda: trio.primary in seen().get(first + count, ()), 10, "the logs to be written")
    return seen()


@pytest.mark.parametrize("how, first", [(simple, 1000), (extended, 2000)], ids=["simple", "extended"])
def test_every_statement_goes_where_the_table_says(start, trio, how, first):
    table, p = route_table(), start()
    for i, (text, _, _) in enumerate(table):
        with login(p) as c:
            run(c, f"/* m{first + i} */ {text}", how)
    with trio.primary.admin(DB) as c:
        c.query(f"/* m{first + len(table)} */ {END}")
    ran = where(trio, first, len(table))
    wrong = []
    for i, (text, node, reason) in enumerate(table):
        nodes = ran.get(first + i, set())
        replicas = nodes & set(trio.replicas)
        # The proxy itself answers some of what is for the primary: LISTEN, DEALLOCATE.
        ok = not replicas if node == "primary" else nodes == replicas and len(nodes) == 1
        if not ok:
            wrong.append((text, reason, [n.port for n in nodes]))
    assert wrong == []


def test_the_replicas_were_asked_for_nothing_that_they_refuse(trio):
    """After the statements above: no write was tried there, and no volatile function was called."""
    for r in trio.replicas:
        text = r.log_text()
        assert re.findall("ERROR: .*(?:recovery|read-only).*", text) == []
        called = {row[0] for row in r.sql("SELECT funcname FROM pg_stat_user_functions", DB)}
        assert called.isdisjoint({"fn_volatile", "fn_writes", "add_volatile", "fn_mixed"})
    assert any(r.value("SELECT count(*) FROM pg_stat_user_functions WHERE funcname = 'fn_stable'", DB) != "0"
               for r in trio.replicas)


def explain(con, text):
    (row,) = con.query("EXPLAIN ROUTE " + text)
    return row


def test_explain_route_tells_the_same_without_running_it(start, trio):
    p = start()
    with p.console() as con:
        wrong = []
        for text, node, reason in route_table():
            if text in ("", ";"):
                continue
            row = explain(con, text)
            if (row["target"], row["statement"]) != (node, reason):
                wrong.append((text, row))
        assert wrong == []
        row = explain(con, "SELECT * FROM accounts WHERE id = 7")
        assert row["database"] == DB and row["reason"] == "analysis" and row["rule"] is None
        assert row["text"] == "select * from accounts where id = $?" and len(row["digest"]) == 16
        assert int(row["node"].rsplit(":", 1)[1]) in {r.port for r in trio.replicas}
        assert explain(con, "/* penstock: route=primary */ SELECT 1")["reason"] == "hint"
        for wrong in ("EXPLAIN ROUTE", "EXPLAIN", "EXPLAIN SELECT 1", "EXPLAIN ROUTE "):
            with pytest.raises(w.ServerError):
                con.query(wrong)


def test_hints_and_rules_decide_before_the_analysis(start, trio):
    with start().console() as con:
        digest = explain(con, "SELECT count(*) FROM users")["digest"]
    named = "primary select name from * where id = $1"
    p = start(f"""
rule = primary digest:{digest}
rule = {named}
rule = replica SELECT fn_volatile($1), node()
rule = auto select $1, *
rule = primary select $1*
""")
    primary, replicas = trio.primary.port, {r.port for r in trio.replicas}
    with login(p) as c, p.console() as con:
        assert explain(con, "SELECT count(*) FROM users")["rule"] == f"primary digest:{digest}"
        assert explain(con, "SELECT count(*) FROM users")["target"] == "primary"
        assert explain(con, "SELECT name FROM users WHERE id = 'x'")["rule"] == named
        assert explain(con, "SELECT name FROM users WHERE id > 2")["target"] == "replica"
        assert int(c.query("SELECT fn_volatile(1), node()")[0][1]) in replicas
        assert int(c.query("SELECT 2, node()")[0][1]) in replicas
        assert explain(con, "SELECT 2")["target"] == "primary"
        assert int(c.value("/* penstock: route=primary */ SELECT node()")) == primary
        assert int(c.value("/* penstock: route=replica */ SELECT inet_server_port()")) in replicas
        assert int(c.query("/* penstock: route=primary */ SELECT fn_volatile(1), node()")[0][1]) == primary


def test_an_advisory_lock_is_not_taken_on_a_replica(start, trio):
    p = start()
    with login(p) as c:
        c.query("BEGIN READ ONLY")
        assert int(c.value("SELECT node()")) != trio.primary.port
        error = c.ask(w.query("SELECT pg_advisory_xact_lock(4711)"), until="E")[-1]
        assert w.ServerError(error.fields).code == "0A000"
    with login(p) as c:
        c.query("BEGIN")
        c.query("SELECT pg_advisory_xact_lock(4711)")
        assert int(c.value("SELECT node()")) == trio.primary.port
        c.query("COMMIT")
    assert not any("pg_advisory_xact_lock(4711)" in r.log_text() for r in trio.replicas)


@pytest.mark.parametrize("begin, replica", [
    ("BEGIN READ ONLY", True), ("BEGIN", False), ("BEGIN READ ONLY ISOLATION LEVEL SERIALIZABLE", False),
    ("START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", True),
    ("SET default_transaction_read_only = on; BEGIN READ WRITE", False)])
def test_what_a_transaction_says_of_itself_decides(start, trio, begin, replica):
    *settings, begin = begin.split("; ")
    with login(start()) as c:
        for s in settings:
            c.query(s)
        c.query(begin)
        assert (int(c.value("SELECT node()")) != trio.primary.port) == replica
        c.query("COMMIT")
