"""test_cache_catalog.py - the result cache's question to the catalogs, on real databases.

Each case makes something in a transaction that is undone, asks, and looks for the rows it expects (and for
those it must not find).  Numbers of relations are replaced by their names first.
"""

import os
import subprocess

import pytest

from support.cluster import NotAvailable, PgCluster

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

BASE = """
CREATE SCHEMA app;
CREATE TABLE app.accounts (user_id int8 PRIMARY KEY, name text, short varchar(9), fixed char(3), u uuid, n2 int2, n4 int4,
    f float8, d date);
CREATE FUNCTION app.mine() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION app.trig() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE COLLATION app.loose (provider = icu, locale = 'und', deterministic = false);
"""

CASES = [
    ("columns that can be part of a key", "", [
        ("column", "accounts", "user_id", "int8"), ("column", "accounts", "name", "text"),
        ("column", "accounts", "short", "text"), ("column", "accounts", "u", "uuid"),
        ("column", "accounts", "n2", "int2"), ("column", "accounts", "n4", "int4")],
     [("column", "accounts", "fixed"), ("column", "accounts", "f"), ("column", "accounts", "d")]),
    ("collation", "CREATE TABLE app.t (a text COLLATE app.loose, b text COLLATE \"C\")",
     [("column", "t", "b", "text")], [("column", "t", "a")]),
    ("domain", "CREATE DOMAIN app.id AS int8; CREATE TABLE app.t (a app.id)", [], [("column", "t", "a")]),
    ("a table", "", [("relation", "app", "accounts", "accounts r ")], []),
    ("row security", "ALTER TABLE app.accounts ENABLE ROW LEVEL SECURITY",
     [("relation", "app", "accounts", "accounts r p")], []),
    ("a temporary table", "CREATE TEMP TABLE tt (a int)", [], [("relation", None, "tt")]),
    ("a view", "CREATE VIEW app.v AS SELECT * FROM app.accounts",
     [("view", "v", "accounts", ""), ("relation", "app", "v", "v v ")], [("unsteady",)]),
    ("a view of a view", "CREATE VIEW app.v AS SELECT * FROM app.accounts; CREATE VIEW app.w AS SELECT 1 FROM app.v",
     [("view", "w", "v", ""), ("view", "v", "accounts", "")], []),
    ("an unsteady view", "CREATE VIEW app.v AS SELECT * FROM app.accounts WHERE d > now()",
     [("unsteady", "", "it calls now", "v")], []),
    ("a view that asks for the day", "CREATE VIEW app.v AS SELECT * FROM app.accounts WHERE d > CURRENT_DATE",
     [("unsteady", "", "it asks for the time or the user", "v")], []),
    ("a view of the system", "CREATE VIEW app.v AS SELECT relname FROM pg_class",
     [("unsteady", "", "it reads a system table", "v")], []),
    ("a materialized view is a table", "CREATE MATERIALIZED VIEW app.m AS SELECT user_id FROM app.accounts",
     [("relation", "app", "m", "m m "), ("column", "m", "user_id", "int8")], [("view", "m")]),
    ("partitions", "CREATE TABLE app.p (a int) PARTITION BY LIST (a); CREATE TABLE app.p1 PARTITION OF app.p FOR VALUES IN (1)",
     [("child", "p1", "p", ""), ("relation", "app", "p", "p p "), ("relation", "app", "p1", "p1 r ")], []),
    ("heirs", "CREATE TABLE app.h (x int) INHERITS (app.accounts)", [("child", "h", "accounts", "")], []),
    ("keys without action", "CREATE TABLE app.k (a int8 REFERENCES app.accounts)", [("key", "accounts", "k", "")], []),
    ("keys with actions", "CREATE TABLE app.k (a int8 REFERENCES app.accounts ON DELETE CASCADE ON UPDATE SET NULL)",
     [("key", "accounts", "k", "du")], [("code", "app", "trig")]),
    ("a trigger", "CREATE TRIGGER t BEFORE INSERT ON app.accounts FOR EACH ROW EXECUTE FUNCTION app.trig()",
     [("code", "app", "trig", "accounts")], []),
    ("a disabled trigger", "CREATE TRIGGER t BEFORE INSERT ON app.accounts FOR EACH ROW EXECUTE FUNCTION app.trig();"
     " ALTER TABLE app.accounts DISABLE TRIGGER t", [], [("code", "app", "trig")]),
    ("a default", "ALTER TABLE app.accounts ADD x int DEFAULT app.mine()", [("code", "app", "mine", "accounts")], []),
    ("a check", "ALTER TABLE app.accounts ADD CHECK (n4 > app.mine())", [("code", "app", "mine", "accounts")], []),
    ("a policy", "CREATE POLICY p ON app.accounts USING (n4 > app.mine())", [("code", "app", "mine", "accounts")], []),
    ("a rule", "CREATE RULE r AS ON UPDATE TO app.accounts DO ALSO NOTHING", [("rule", "", "r", "accounts")], []),
    ("functions", "", [("immutable", "pg_catalog", "lower", ""), ("immutable", "pg_catalog", "sum", "")],
     [("immutable", "pg_catalog", "now"), ("immutable", "pg_catalog", "to_char"), ("immutable", "app", "mine")]),
    ("the end", "", [("end", "", "", "")], []),
]


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    program = str(tmp_path_factory.mktemp("details") / "print_details_query")
    subprocess.run([os.environ.get("CC", "cc").split()[0], "-std=c11", "-I", ROOT, "-o", program,
                    f"{ROOT}/test/support/print_details_query.c",
                    f"{ROOT}/protocol/pg/pg_catalog_details.c"], check=True, timeout=60)
    return subprocess.run([program], check=True, capture_output=True, text=True, timeout=10).stdout


@pytest.fixture(scope="module", params=[15, 18])
def session(request):
    try:
        pg = PgCluster(version=request.param)
    except NotAvailable as e:
        pytest.skip(str(e))
    pg.database("cat")
    pg.sql(BASE, "cat")
    with pg.admin("cat") as c:
        yield c
    pg.close()


def named(rows, names):
    """Numbers as names; in a relation's own row too."""
    def one(text):
        head, blank, rest = text.partition(" ")
        return names.get(head, head) + blank + rest
    return {(r[0], *(one(x) for x in r[1:])) for r in rows}


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_details(session, question, case):
    _, made, expected, absent = case
    session.query("BEGIN")
    try:
        if made:
            session.query(made)
        rows = session.query(question)
        names = dict(session.query("SELECT oid::text, relname FROM pg_class WHERE oid >= 16384"))
    finally:
        session.query("ROLLBACK")
    assert all(len(row) == 4 and None not in row for row in rows)
    assert rows[-1][0] == "end"
    found = named(rows, names)
    assert set(expected) <= found, sorted(r for r in found if r[0] == expected[0][0] and r[0] != "immutable")
    for start in absent:
        assert not [r for r in found
                    if all(want is None or want == have for want, have in zip(start, r))], start


def test_a_stranger_may_ask(session, question):
    session.query("BEGIN")
    try:
        session.query("CREATE ROLE stranger; SET LOCAL search_path = app; SET LOCAL ROLE stranger")
        assert session.query(question)[-1][0] == "end"
    finally:
        session.query("ROLLBACK")
