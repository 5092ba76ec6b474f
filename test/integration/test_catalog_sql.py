"""The catalog question against real catalogs: what may be proved, and above all what must not be.

Flag "s" (repeatable reads) is looked at by test_repeatable_sql.py, those for standbys and tables by
themselves by test_standby_sql.py; they are left out here.
Each case makes its objects in a transaction, asks as the program would, and rolls back.  The text is
printed by a small C program linked with protocol/pg/pg_catalog.c, so these are the bytes that are sent.
"""
import json
import os
import subprocess
import time

import pytest

from support.cluster import NotAvailable, PgCluster

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

SETUP = """
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION pg_trgm; CREATE EXTENSION file_fdw;
CREATE EXTENSION isn; CREATE EXTENSION tablefunc;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FUNCTION pl(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
CREATE FUNCTION plb(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
CREATE FUNCTION sq(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TABLE base (id int PRIMARY KEY, a int DEFAULT 0, b text CHECK (length(b) < 100));
CREATE TABLE seq_default (id bigserial, u uuid DEFAULT gen_random_uuid(), at timestamptz DEFAULT now());
CREATE TABLE bad (id int PRIMARY KEY, a int);
CREATE TRIGGER g BEFORE INSERT ON bad FOR EACH ROW EXECUTE FUNCTION trg();
CREATE FOREIGN TABLE far (a int) SERVER files OPTIONS (filename '/dev/null');
CREATE VIEW good_view AS SELECT id, upper(b) AS b FROM base;
CREATE SCHEMA other;
"""

# what is made, {relation: flags}
RELATIONS = [
    ("nothing", "", {"base": "rw", "seq_default": "rw", "seq_default_id_seq": "rw", "bad": "r",
                     "far": "", "good_view": "rw", "pg_class": "rw", "pg_settings": "r",
                     "columns": "rw"}),
    # views
    ("view over trigger", "CREATE VIEW v AS SELECT * FROM bad", {"v": "r"}),
    ("view calls plpgsql", "CREATE VIEW v AS SELECT pl(a) FROM base", {"v": "", "base": "rw"}),
    ("view calls sql", "CREATE VIEW v AS SELECT sq(a) FROM base", {"v": ""}),
    ("view calls set_config", "CREATE VIEW v AS SELECT set_config('a.b', 'c', false)", {"v": ""}),
    ("view locks", "CREATE VIEW v AS SELECT id FROM base WHERE pg_try_advisory_lock(id)", {"v": ""}),
    ("view locks by alias of nothing", "CREATE VIEW v AS SELECT 'pg_advisory_lock 2880'::text",
     {"v": "rw"}),
    ("view makes a range", "CREATE TYPE r AS RANGE (SUBTYPE = int); CREATE VIEW v AS SELECT r(a, a + 1)"
     " FROM base", {"v": "rw"}),
    ("view runs text", "CREATE VIEW v AS SELECT query_to_xml('select 1', true, true, '')", {"v": ""}),
    ("view moves sequence", "CREATE SEQUENCE s; CREATE VIEW v AS SELECT nextval('s')",
     {"v": "", "s": "rw"}),
    ("view over foreign", "CREATE VIEW v AS SELECT * FROM far", {"v": ""}),
    ("view of view of foreign", "CREATE VIEW v1 AS SELECT * FROM far; CREATE VIEW v2 AS SELECT * FROM"
     " v1; CREATE VIEW v3 AS SELECT * FROM good_view, v2", {"v1": "", "v2": "", "v3": ""}),
    ("view in a subquery", "CREATE VIEW v AS SELECT (SELECT max(a) FROM far) FROM base", {"v": ""}),
    ("view instead of trigger", "CREATE VIEW v AS SELECT * FROM base; CREATE TRIGGER g INSTEAD OF"
     " INSERT ON v FOR EACH ROW EXECUTE FUNCTION trg()", {"v": "r"}),
    ("view rule", "CREATE VIEW v AS SELECT * FROM base; CREATE RULE r AS ON INSERT TO v DO INSTEAD"
     " SELECT pl(1)", {"v": "r"}),
    ("view default", "CREATE VIEW v AS SELECT * FROM base; ALTER VIEW v ALTER a SET DEFAULT pl(1)",
     {"v": "r", "base": "rw"}),
    ("view over settings", "CREATE VIEW v AS SELECT * FROM pg_settings", {"v": "r"}),
    ("matview", "CREATE MATERIALIZED VIEW m AS SELECT id FROM base", {"m": "rw"}),
    ("matview calls", "CREATE MATERIALIZED VIEW m AS SELECT pl(id) FROM base; CREATE VIEW v AS"
     " SELECT * FROM m", {"m": "r", "v": "r"}),
    ("matview over foreign", "CREATE MATERIALIZED VIEW m AS SELECT * FROM far", {"m": "r"}),
    ("view through hstore operator", "CREATE VIEW v AS SELECT 'a=>1'::hstore -> b FROM base",
     {"v": "rw"}),
    ("view through extension cast", "CREATE VIEW v AS SELECT b::bpchar::citext FROM base",
     {"v": "rw"}),
    ("view calls extension function", "CREATE VIEW v AS SELECT set_limit(0.5)", {"v": ""}),
    ("view calls overload of a built-in", "CREATE VIEW v AS SELECT max(b::citext) FROM base",
     {"v": "rw"}),
    # triggers, rules
    ("trigger disabled", "ALTER TABLE bad DISABLE TRIGGER g", {"bad": "rw"}),
    ("trigger always", "ALTER TABLE bad ENABLE ALWAYS TRIGGER g", {"bad": "r"}),
    ("trigger of the house", "CREATE TRIGGER s BEFORE UPDATE ON base FOR EACH ROW EXECUTE FUNCTION"
     " suppress_redundant_updates_trigger()", {"base": "rw"}),
    ("trigger when", "CREATE TRIGGER s BEFORE UPDATE ON base FOR EACH ROW WHEN (pl(new.a) > 0)"
     " EXECUTE FUNCTION suppress_redundant_updates_trigger()", {"base": "r"}),
    ("trigger when locks", "CREATE TRIGGER s BEFORE UPDATE ON base FOR EACH ROW WHEN"
     " (pg_try_advisory_lock(1)) EXECUTE FUNCTION suppress_redundant_updates_trigger()",
     {"base": "r"}),
    ("rule", "CREATE RULE r AS ON UPDATE TO base DO ALSO SELECT 1", {"base": "r"}),
    ("rule disabled", "CREATE RULE r AS ON UPDATE TO base DO ALSO SELECT 1; ALTER TABLE base DISABLE"
     " RULE r", {"base": "rw"}),
    # row security
    ("policy off", "CREATE POLICY p ON base USING (pl(a) > 0)", {"base": "rw"}),
    ("policy on", "CREATE POLICY p ON base USING (pl(a) > 0); ALTER TABLE base ENABLE ROW LEVEL"
     " SECURITY", {"base": "", "good_view": ""}),
    ("policy harmless", "CREATE POLICY p ON base USING (b = current_user); ALTER TABLE base ENABLE"
     " ROW LEVEL SECURITY", {"base": "rw"}),
    ("policy with check", "CREATE POLICY p ON base FOR INSERT WITH CHECK (sq(a) > 0); ALTER TABLE"
     " base ENABLE ROW LEVEL SECURITY", {"base": ""}),
    ("policy sets", "CREATE POLICY p ON base USING (set_config('a.b', b, false) > ''); ALTER TABLE"
     " base ENABLE ROW LEVEL SECURITY", {"base": ""}),
    ("policy reads foreign", "CREATE POLICY p ON base USING (a = (SELECT max(a) FROM far)); ALTER"
     " TABLE base ENABLE ROW LEVEL SECURITY", {"base": ""}),
    # defaults, checks, indexes
    ("default", "ALTER TABLE base ADD c int DEFAULT pl(1)", {"base": "r"}),
    ("default locks", "ALTER TABLE base ADD c bool DEFAULT true; ALTER TABLE base ALTER c SET"
     " DEFAULT pg_try_advisory_lock(1)", {"base": "r"}),
    ("generated", "ALTER TABLE base ADD c int GENERATED ALWAYS AS (pl(a)) STORED", {"base": "r"}),
    ("identity", "ALTER TABLE base ADD c int GENERATED ALWAYS AS IDENTITY", {"base": "rw"}),
    ("check", "ALTER TABLE base ADD CHECK (plb(b))", {"base": "r"}),
    ("check that may fold", "ALTER TABLE base ADD CHECK (a + pl(1) > 0)", {"base": ""}),
    ("check in sql", "ALTER TABLE base ADD CHECK (sq(a) >= 0)", {"base": ""}),
    ("check sets", "ALTER TABLE base ADD CHECK (set_config('a.b', b, false) IS NOT NULL)",
     {"base": "r"}),
    ("index", "CREATE INDEX i ON base (pl(a))", {"base": "r"}),
    ("index on varchar", "CREATE TABLE t (v varchar(9)); CREATE INDEX i ON t (plb(v))", {"t": "r"}),
    ("index that folds", "CREATE INDEX i ON base ((a + pl(1)))", {"base": ""}),
    ("index predicate", "CREATE INDEX i ON base (a) WHERE plb(b)", {"base": "r"}),
    ("index in sql", "CREATE INDEX i ON base (sq(a))", {"base": ""}),
    ("index harmless", "CREATE INDEX i ON base (lower(b)); CREATE INDEX ON base USING gin (b"
     " gin_trgm_ops)", {"base": "rw"}),
    # domains
    ("domain", "CREATE DOMAIN d AS text CHECK (plb(VALUE)); CREATE TABLE t (x d); CREATE TABLE ta (x"
     " d[]); CREATE TYPE c AS (x d); CREATE TABLE tc (x c); CREATE DOMAIN dd AS d; CREATE TABLE td (x"
     " dd); CREATE VIEW v AS SELECT b::d FROM base",
     {"t": "r", "ta": "r", "tc": "r", "td": "r", "v": "", "base": "rw"}),
    ("domain default", "CREATE DOMAIN d AS int DEFAULT pl(1); CREATE TABLE t (x d)", {"t": "r"}),
    ("domain locks", "CREATE DOMAIN d AS int CHECK (pg_try_advisory_lock(VALUE)); CREATE TABLE t (x"
     " d)", {"t": "r"}),
    ("domain harmless", "CREATE DOMAIN d AS int CHECK (VALUE > 0); CREATE TABLE t (x d)",
     {"t": "rw"}),
    # foreign keys
    ("key cascades", "CREATE TABLE p (id int PRIMARY KEY); ALTER TABLE bad ADD FOREIGN KEY (a)"
     " REFERENCES p ON DELETE CASCADE", {"p": "r"}),
    ("key sets null on update", "CREATE TABLE p (id int PRIMARY KEY); ALTER TABLE bad ADD FOREIGN KEY"
     " (a) REFERENCES p ON UPDATE SET NULL", {"p": "r"}),
    ("key chain", "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE q (id int PRIMARY KEY REFERENCES"
     " p ON DELETE CASCADE); ALTER TABLE bad ADD FOREIGN KEY (a) REFERENCES q ON DELETE SET DEFAULT",
     {"p": "r", "q": "r"}),
    ("key cycle", "CREATE TABLE p (id int PRIMARY KEY, x int); CREATE TABLE q (id int PRIMARY KEY"
     " REFERENCES p ON DELETE CASCADE); ALTER TABLE p ADD FOREIGN KEY (x) REFERENCES q ON DELETE"
     " CASCADE", {"p": "rw", "q": "rw"}),
    ("key refuses", "CREATE TABLE p (id int PRIMARY KEY); ALTER TABLE bad ADD FOREIGN KEY (a)"
     " REFERENCES p", {"p": "rw"}),
    ("key to bad", "ALTER TABLE base ADD FOREIGN KEY (a) REFERENCES bad ON DELETE CASCADE",
     {"base": "rw", "bad": "r"}),
    # inheritance
    ("child", "CREATE TABLE c () INHERITS (base); CREATE TRIGGER g BEFORE INSERT ON c FOR EACH ROW"
     " EXECUTE FUNCTION trg()", {"base": "r", "c": "r"}),
    ("foreign partition", "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF"
     " p FOR VALUES IN (1); CREATE FOREIGN TABLE p2 PARTITION OF p FOR VALUES IN (2) SERVER files"
     " OPTIONS (filename '/dev/null')", {"p": "", "p1": "rw", "p2": ""}),
    ("trigger of parent", "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF"
     " p FOR VALUES IN (1); CREATE TRIGGER g BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION trg()",
     {"p": "r", "p1": "r"}),
    ("partition key", "CREATE TABLE p (a int) PARTITION BY RANGE (pl(a)); CREATE TABLE p1 PARTITION"
     " OF p FOR VALUES FROM (1) TO (9) PARTITION BY LIST (a); CREATE TABLE p2 PARTITION OF p1 DEFAULT",
     {"p": "r", "p1": "r", "p2": "r"}),
    ("partition key that folds", "CREATE TABLE p (a int) PARTITION BY RANGE ((a + pl(1))); CREATE"
     " TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (9)", {"p": "", "p1": ""}),
    ("partitions harmless", "CREATE TABLE p (a int) PARTITION BY RANGE (abs(a)); CREATE TABLE p1"
     " PARTITION OF p FOR VALUES FROM (1) TO (9)", {"p": "rw", "p1": "rw"}),
    # t.f
    ("attribute", "CREATE FUNCTION f(base) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE c ()"
     " INHERITS (base)", {"base": "", "c": "", "bad": "r"}),
    ("attribute with defaults", "CREATE FUNCTION f(base, int DEFAULT 1) RETURNS int LANGUAGE sql AS"
     " 'SELECT 1'", {"base": ""}),
    ("not an attribute", "CREATE FUNCTION f(base, int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
     {"base": "rw"}),
    # names
    ("temporary", "CREATE TEMP TABLE tt (a int)", {"tt": None}),
    ("index and toast are no relations", "", {"base_pkey": None, "pg_toast_1255": None}),
]

# what is made, {function: flags}
FUNCTIONS = [
    ("nothing", "", {
        "lower": "bq", "now": "bq", "count": "bq", "set_config": "bq", "pg_advisory_lock": "bq",
        "nextval": "bq", "setseed": None, "query_to_xml": None, "ts_stat": None, "ts_rewrite": None,
        "pl": None, "set_limit": None, "max": "bq", "split_part": "bq", "similarity": "bq",
        "isn_weak": None, "crosstab": None, "hstore": "q", "word_similarity": "bq",
        "pg_create_logical_replication_slot": None}),
    ("shadowed", "CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'", {"lower": "q"}),
    ("shadowed elsewhere", "CREATE FUNCTION other.upper(int) RETURNS int LANGUAGE plpgsql AS"
     " 'BEGIN RETURN 1; END'", {"upper": "q", "lower": "bq"}),
    ("shadowed by an aggregate", "CREATE AGGREGATE sum(text) (SFUNC = textcat, STYPE = text)",
     {"sum": "q"}),
    ("shadowed by a type", "CREATE DOMAIN upper AS text CHECK (plb(VALUE))", {"upper": "q"}),
]

# what is made, reasons for custom code
CUSTOM = [
    ("nothing", "", set()),
    ("operator", "CREATE FUNCTION eq(int, text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN true;"
     " END'; CREATE OPERATOR = (LEFTARG = int, RIGHTARG = text, FUNCTION = eq)", {"operator"}),
    ("operator that locks", "CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION ="
     " pg_try_advisory_lock)", {"operator"}),
    ("harmless operator", "CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)",
     set()),
    ("cast", "CREATE TYPE c AS (x int); CREATE FUNCTION cc(c) RETURNS int LANGUAGE sql AS 'SELECT 1';"
     " CREATE CAST (c AS int) WITH FUNCTION cc(c) AS IMPLICIT", {"cast", "attribute"}),
    ("domain", "CREATE DOMAIN d AS text CHECK (plb(VALUE))", {"domain"}),
    ("harmless domain", "CREATE DOMAIN d AS text CHECK (VALUE <> '')", set()),
    ("range", "CREATE FUNCTION dif(int, int) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT"
     " 1.0::float8'; CREATE TYPE r AS RANGE (SUBTYPE = int, SUBTYPE_DIFF = dif)", {"range"}),
    ("harmless range", "CREATE TYPE r AS RANGE (SUBTYPE = int)", set()),
    ("operator class", "CREATE FUNCTION cmp(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
     " 'BEGIN RETURN 0; END'; CREATE OPERATOR CLASS oc FOR TYPE int USING btree AS OPERATOR 1 <,"
     " OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 cmp(int, int)",
     {"operator class"}),
    ("attribute of anything", "CREATE FUNCTION f(anyelement) RETURNS int LANGUAGE sql AS 'SELECT 1'",
     {"attribute"}),
    ("attribute of a record", "CREATE FUNCTION f(record) RETURNS int LANGUAGE plpgsql AS 'BEGIN"
     " RETURN 1; END'", {"attribute"}),
    ("function of a table's row", "CREATE FUNCTION f(base) RETURNS int LANGUAGE sql AS 'SELECT 1'",
     set()),
    ("aggregate is called by name", "CREATE FUNCTION st(int, int, int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE"
     " AGGREGATE agg(int, int) (SFUNC = st, STYPE = int)", set()),
]


def case_ids(cases):
    return [c[0] for c in cases]


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    program = str(tmp_path_factory.mktemp("catalog") / "print_catalog_query")
    subprocess.run([os.environ.get("CC", "cc").split()[0], "-std=c11", "-I", ROOT, "-o", program,
                    f"{ROOT}/test/support/print_catalog_query.c",
                    f"{ROOT}/protocol/pg/pg_catalog.c"], check=True, timeout=60)
    return subprocess.run([program], check=True, capture_output=True, text=True, timeout=10).stdout


def cluster_of(version):
    try:
        return PgCluster(version=version)
    except NotAvailable as e:
        pytest.skip(str(e))


@pytest.fixture(scope="module", params=[15, 18])
def server(request):
    pg = cluster_of(request.param)
    pg.database("cat")
    pg.role("nobody")
    pg.sql(SETUP, "cat")
    yield pg
    pg.close()


@pytest.fixture(scope="module")
def session(server):
    with server.admin("cat") as c:
        yield c


def ask(session, question, made=""):
    """{(kind, schema, name): flags} as things are after `made`, which is undone."""
    session.query("BEGIN")
    try:
        if made:
            session.query(made)
        rows = session.query(question)
    finally:
        session.query("ROLLBACK")
    assert all(len(row) == 4 and None not in row for row in rows)
    names = {(kind, schema, name): "".join(f for f in flags if f in "rwbq")
             for kind, schema, name, flags in rows}
    assert len(names) == len(rows)
    # Functions that are not proved have rows for what their labels say.
    return {key: flags for key, flags in names.items() if key[0] != "f" or flags}


def relation(names, name):
    found = [flags for (kind, _, n), flags in names.items() if kind == "r" and n == name]
    return found[0] if found else None


@pytest.mark.parametrize("case", RELATIONS, ids=case_ids(RELATIONS))
def test_relations(session, question, case):
    _, made, expected = case
    names = ask(session, question, made)
    assert {name: relation(names, name) for name in expected} == expected


@pytest.mark.parametrize("case", FUNCTIONS, ids=case_ids(FUNCTIONS))
def test_functions(session, question, case):
    _, made, expected = case
    names = ask(session, question, made)
    flags = {key[2]: flags for key, flags in names.items() if key[0] == "f"}
    assert {name: flags.get(name) for name in expected} == expected


@pytest.mark.parametrize("case", CUSTOM, ids=case_ids(CUSTOM))
def test_custom_code(session, question, case):
    _, made, expected = case
    names = ask(session, question, made)
    assert {key[2] for key in names if key[0] == "c"} == expected


def test_every_relation_has_a_row(session, question):
    names = ask(session, question)
    known = session.query(
        "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE"
        " relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'")
    assert {key[1:] for key in names if key[0] == "r"} == {tuple(row) for row in known}


def test_a_hostile_search_path_changes_nothing(server, session, question):
    hostile = """
        CREATE FUNCTION other.yes(oid, oid) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT 1/0 = 1';
        CREATE FUNCTION other.yes("char", "char") RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT 1/0=1';
        CREATE FUNCTION other.yes(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT 1/0 = 1';
        CREATE FUNCTION other.yes(name, name) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT 1/0 = 1';
        CREATE FUNCTION other.yes(int4, int4) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT 1/0 = 1';
        CREATE FUNCTION other.yes(int2, int2) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT 1/0 = 1';
        CREATE TABLE other.pg_class (a int); CREATE TABLE other.pg_proc (a int);
        CREATE DOMAIN other.text AS int4; CREATE DOMAIN other.oid AS int4;
        CREATE FUNCTION other.concat(VARIADIC "any") RETURNS int LANGUAGE internal AS 'pg_num_nulls';
        CREATE FUNCTION other.unnest(anyarray) RETURNS int LANGUAGE sql AS 'SELECT 1/0';
    """
    for op in ("=", "<>", "<", ">", "<=", ">=", "~", "-", "~~"):
        for kind in ("oid", '"char"', "text", "name", "int4", "int2"):
            if op == "-" and kind == "oid":
                continue
            hostile += (f"CREATE OPERATOR other.{op} (LEFTARG = pg_catalog.{kind}, RIGHTARG ="
                        f" pg_catalog.{kind}, FUNCTION = other.yes);\n")
    quiet = ask(session, question, hostile)
    loud = ask(session, question, hostile + "SET LOCAL search_path = other, pg_catalog;"
               " SET LOCAL standard_conforming_strings = off; SET LOCAL escape_string_warning = on;"
               " SET LOCAL transform_null_equals = on")
    assert loud == quiet


def test_a_role_without_rights_sees_the_same(server, session, question):
    session.query("CREATE VIEW secret AS SELECT pl(a) FROM base; REVOKE ALL ON secret FROM public;"
                  " REVOKE ALL ON SCHEMA other FROM public")
    try:
        expected = ask(session, question)
        with server.admin("cat") as c:
            c.query("SET SESSION AUTHORIZATION nobody")
            assert ask(c, question) == expected
        assert relation(expected, "secret") == ""
    finally:
        session.query("DROP VIEW secret")


def test_it_runs_read_only_and_in_one_statement(session, question):
    assert ";" not in question and "\\" not in question
    session.query("BEGIN READ ONLY")
    try:
        assert session.query(question)
    finally:
        session.query("ROLLBACK")


def test_planning_a_read_really_runs_constant_calls_in_an_index(session):
    """Why an index can spoil a read; should PostgreSQL stop doing this, the rule can go."""
    session.query("CREATE FUNCTION sets(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN"
                  " PERFORM set_config('seen.it', 'yes', false); RETURN 1; END$$;"
                  " CREATE TABLE folds (a int); CREATE INDEX ON folds ((a + sets(1)))")
    try:
        session.query("SELECT set_config('seen.it', 'no', false)")
        session.query("SELECT a FROM folds")
        assert session.value("SELECT current_setting('seen.it')") == "yes"
    finally:
        session.query("DROP TABLE folds; DROP FUNCTION sets")


def test_an_attribute_really_calls_a_function(session):
    session.query("CREATE FUNCTION quack(base) RETURNS text LANGUAGE sql AS $$SELECT 'quack'$$;"
                  " INSERT INTO base VALUES (1)")
    try:
        assert session.value("SELECT base.quack FROM base") == "quack"
    finally:
        session.query("DROP FUNCTION quack; DELETE FROM base")


def test_many_functions_do_not_make_the_planner_compile(session, question):
    """Past jit_above_cost (100,000) the question took seconds; see pg_catalog.c."""
    session.query("BEGIN")
    try:
        session.query("""DO $$ BEGIN FOR i IN 1..1000 LOOP
            EXECUTE format('CREATE FUNCTION many_%s(base, int DEFAULT 1) RETURNS int LANGUAGE plpgsql'
                ' AS %L', i, 'BEGIN RETURN 1; END');
            EXECUTE format('CREATE VIEW many_%s AS SELECT many_%s(base) FROM base', i, i);
            END LOOP; END $$; ANALYZE""")
        plan = session.query("EXPLAIN (FORMAT json) " + question)
    finally:
        session.query("ROLLBACK")
    assert json.loads(plan[0][0])[0]["Plan"]["Total Cost"] < 50000


@pytest.mark.full
def test_a_long_closure_over_many_tables_ends_in_time(server, question):
    """A guard against a plan that goes quadratic; the figure itself is in pg_catalog.c."""
    server.database("many")
    with server.admin("many") as c:
        c.query("CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'")
        for start in range(1, 2000, 250):
            c.query(f"""DO $$ BEGIN FOR i IN {start}..{start + 249} LOOP
                EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a int DEFAULT 0, b text)', i);
                IF i > 1 THEN EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (a) REFERENCES t%s ON'
                    ' DELETE CASCADE', i, i - 1); END IF;
                IF i % 4 = 0 THEN EXECUTE format('CREATE VIEW v%s AS SELECT * FROM t%s', i, i); END IF;
                END LOOP; END $$""")
        c.query("ALTER TABLE t2000 ADD c int DEFAULT f(1)")
        began = time.monotonic()
        rows = c.query(question)
        took = time.monotonic() - began
    flags = {name: f for kind, _, name, f in rows if kind == "r"}
    # The cascade reaches the bad default from everywhere: the longest closure there is.
    assert all(flags[f"t{i}"] == "rst" for i in range(1, 2001))
    assert all(flags[f"v{i}"] == "rst" for i in range(4, 2001, 4))
    assert took < 10
