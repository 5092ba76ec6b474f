"""Which statements may run on a standby, against real catalogs and a real standby.

The rows of the catalog question go to a small C program linked with the product's own protocol code,
which judges the statements of route_table.inc as the proxy would.  What it calls a read is then run on
a standby, where it must not fail.
"""
import glob
import os
import subprocess

import pytest

from support.cluster import NotAvailable, PgCluster
from support.pgwire import ServerError
from support.route_objects import OBJECTS, route_table

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# what is made, {statement: verdict}
CHANGES = [
    ("unlogged partition", "CREATE UNLOGGED TABLE part3 PARTITION OF part FOR VALUES IN (3)",
     {"SELECT * FROM part": "unlogged table", "SELECT * FROM part3": "unlogged table",
      "SELECT * FROM part1": "read"}),
    ("unlogged child", "CREATE UNLOGGED TABLE child () INHERITS (scratch)",
     {"SELECT * FROM scratch": "unlogged table", "SELECT * FROM child": "unlogged table"}),
    ("policy that reads an unlogged table", "CREATE POLICY q ON guarded USING (a IN (SELECT a FROM logs))",
     {"SELECT * FROM guarded": "unlogged table"}),
    ("view of a view of an unlogged table", "CREATE VIEW w AS SELECT count(*) FROM v_logs, accounts",
     {"SELECT * FROM w": "unlogged table"}),
    ("a copy of an unlogged table is none", "CREATE MATERIALIZED VIEW m AS SELECT * FROM logs",
     {"SELECT * FROM m": "read"}),
    ("no longer unlogged", "ALTER TABLE logs SET LOGGED",
     {"SELECT * FROM logs": "read, plain", "SELECT * FROM v_logs": "read"}),
    ("view of a foreign table", "CREATE VIEW w AS SELECT * FROM far", {"SELECT * FROM w": "volatile view"}),
    ("label", "ALTER FUNCTION fn_stable(int) VOLATILE",
     {"SELECT fn_stable(1)": "volatile function", "SELECT * FROM v_stable_code": "volatile view",
      "SELECT * FROM guarded": "volatile view"}),
    ("overload of a built-in", "CREATE FUNCTION lower(int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1'",
     {"SELECT lower('A')": "volatile function", "SELECT pg_catalog.lower('A')": "read",
      "SELECT upper('a')": "read"}),
    ("overload in another schema", "CREATE FUNCTION other.fn_stable(int) RETURNS int VOLATILE LANGUAGE sql"
     " AS 'SELECT 1'", {"SELECT fn_stable(1)": "volatile function", "SELECT public.fn_stable(1)": "read"}),
    ("stable overload", "CREATE FUNCTION lower(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT 1'",
     {"SELECT lower('A')": "read"}),
    ("operator", "CREATE FUNCTION vop(int, int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1';"
     " CREATE OPERATOR +# (FUNCTION = vop, LEFTARG = int, RIGHTARG = int)",
     {"SELECT 1 +# 2": "volatile operators", "SELECT * FROM users": "volatile operators, plain"}),
    ("stable operator", "CREATE FUNCTION sop(int, int) RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN RETURN"
     " 1; END'; CREATE OPERATOR +# (FUNCTION = sop, LEFTARG = int, RIGHTARG = int)",
     {"SELECT 1 +# 2": "read"}),
    ("cast", "CREATE TYPE c AS (x int); CREATE FUNCTION cc(c) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1';"
     " CREATE CAST (c AS int) WITH FUNCTION cc(c)", {"SELECT id FROM users": "volatile operators, plain"}),
    ("domain", "CREATE DOMAIN d AS int CHECK (VALUE > random())", {"SELECT 1": "volatile operators"}),
    ("attribute", "CREATE FUNCTION quack(users) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1'",
     {"SELECT users.quack FROM users": "volatile view", "SELECT id FROM accounts": "read"}),
    ("default, check and trigger of a table are not read", "CREATE TABLE c (a float8 DEFAULT random() CHECK"
     " (a < random() + 9)); CREATE TRIGGER g BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION trg()",
     {"SELECT * FROM c": "read"}),
    ("temporary", "CREATE TEMP TABLE tmp (a int)", {"SELECT * FROM tmp": "unknown relation"}),
    ("generated column calls", "CREATE TABLE c (a int, b int GENERATED ALWAYS AS (fn_immutable(a)) STORED)",
     {"SELECT * FROM c": "read"}),
    # tables by themselves
    ("key without cascade", "CREATE TABLE c (a int PRIMARY KEY); CREATE TABLE d (a int REFERENCES c)",
     {"SELECT * FROM c": "read, plain", "SELECT * FROM d": "read, plain"}),
    ("key with cascade", "CREATE TABLE c (a int PRIMARY KEY); CREATE TABLE d (a int REFERENCES c ON DELETE"
     " CASCADE); CREATE TABLE e (a int REFERENCES c ON UPDATE SET NULL)",
     {"SELECT * FROM c": "read", "SELECT * FROM d": "read, plain", "SELECT * FROM e": "read, plain"}),
    ("trigger of the house", "CREATE TRIGGER s BEFORE UPDATE ON scratch FOR EACH ROW EXECUTE FUNCTION"
     " suppress_redundant_updates_trigger()", {"SELECT * FROM scratch": "read"}),
    ("rule", "CREATE RULE r AS ON INSERT TO scratch DO ALSO INSERT INTO users VALUES (99)",
     {"SELECT * FROM scratch": "read"}),
    ("row security", "ALTER TABLE scratch ENABLE ROW LEVEL SECURITY", {"SELECT * FROM scratch": "read"}),
    ("default that runs code", "ALTER TABLE scratch ADD b int DEFAULT fn_volatile(1)",
     {"SELECT * FROM scratch": "read"}),
    ("index that runs code", "CREATE INDEX ON scratch (fn_immutable(a))", {"SELECT * FROM scratch": "read"}),
    ("two of one name", "CREATE VIEW other.scratch AS SELECT 1",
     {"SELECT * FROM scratch": "read", "SELECT * FROM public.scratch": "read, plain"}),
]


def compiled(tmp, name, sources, libraries=()):
    program = str(tmp / name)
    subprocess.run([os.environ.get("CC", "cc").split()[0], "-std=c11", "-D_GNU_SOURCE", "-pthread", "-I",
                    ROOT, "-o", program, f"{ROOT}/test/support/{name}.c", *sources, *libraries],
                   check=True, timeout=120)
    return program


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    program = compiled(tmp_path_factory.mktemp("print"), "print_catalog_query",
                       [f"{ROOT}/protocol/pg/pg_catalog.c"])
    return subprocess.run([program], check=True, capture_output=True, text=True, timeout=10).stdout


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    program = compiled(tmp_path_factory.mktemp("judge"), "judge_statements",
                       [f"{ROOT}/protocol/catalog.c", *glob.glob(f"{ROOT}/protocol/sql/*.c"),
                        *glob.glob(f"{ROOT}/base/*.c")], ["-lpg_query", "-lcrypto", "-lm"])

    def run(rows, statements):
        text = "\n".join(["\t".join(row) for row in rows] + [""] + statements) + "\n"
        done = subprocess.run([program, "standby"], input=text, check=True, capture_output=True,
                              text=True, timeout=60)
        return dict(zip(statements, done.stdout.splitlines(), strict=True))
    return run


@pytest.fixture(scope="module", params=[15, 18])
def server(request):
    try:
        pg = PgCluster(version=request.param)
    except NotAvailable as e:
        pytest.skip(str(e))
    with pg:
        pg.database("route")
        pg.sql(OBJECTS, "route")
        yield pg


@pytest.fixture(scope="module")
def session(server):
    with server.admin("route") as c:
        yield c


@pytest.fixture(scope="module")
def rows(session, question):
    return session.query(question)


def test_the_table_against_the_real_catalog(rows, judge):
    table = [entry for entry in route_table() if "\n" not in entry[0] and entry[0]]
    said = judge(rows, [text for text, _, _ in table])
    assert len(table) >= 150
    assert {text: said[text].removesuffix(", plain") for text, _, _ in table} == \
        {text: reason for text, _, reason in table}


@pytest.mark.parametrize("case", CHANGES, ids=[c[0] for c in CHANGES])
def test_what_a_definition_changes(session, question, judge, case):
    _, made, expected = case
    session.query("BEGIN")
    try:
        session.query(made)
        found = session.query(question)
    finally:
        session.query("ROLLBACK")
    assert judge(found, list(expected)) == expected


def test_what_is_called_a_read_runs_on_a_standby(server):
    """And what is refused for a reason of its own fails there: so the reason is needed."""
    reads = [text for text, node, _ in route_table() if node == "replica"]
    needed = [text for text, _, why in route_table() if why in ("unlogged table", "notify")
              and not text.startswith("UNLISTEN")]
    if not os.path.exists(f"{server.bin}/pg_basebackup"):
        pytest.skip("this PostgreSQL came without pg_basebackup")
    with server.replica() as standby:
        standby.catch_up()
        with standby.admin("route") as c:
            for text in reads:
                c.query(text)
            for text in needed:
                with pytest.raises(ServerError):
                    c.query(text)
