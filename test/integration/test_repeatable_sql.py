"""Which statements are repeatable reads, against real catalogs: a truth table, and proof of its truth.

The rows of the catalog question go to a small C program linked with the product's own protocol code,
which judges each statement as the proxy would.  What it calls repeatable is then run twice: it must
lock, write and set nothing and give the same rows.
"""
import glob
import os
import subprocess

import pytest

from support.cluster import NotAvailable, PgCluster

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

SETUP = """
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION pg_trgm; CREATE EXTENSION file_fdw;
CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION isn; CREATE EXTENSION tablefunc; CREATE EXTENSION dblink;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE SCHEMA other;
CREATE FUNCTION pl(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
CREATE FUNCTION sq(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
CREATE FUNCTION other.floor(text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE TABLE t (id int PRIMARY KEY, a int DEFAULT 0, b text, m money, at timestamptz DEFAULT now());
INSERT INTO t SELECT i, i % 7, 'b' || i FROM generate_series(1, 50) i;
CREATE TABLE trg (id int PRIMARY KEY);
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER g BEFORE INSERT ON trg FOR EACH ROW EXECUTE FUNCTION trg();
CREATE UNLOGGED TABLE unlogged (a int);
CREATE SEQUENCE seq;
CREATE TABLE def (id bigserial, r float8 DEFAULT random());
CREATE FOREIGN TABLE far (a int) SERVER files OPTIONS (filename '/dev/null');
CREATE MATERIALIZED VIEW mat AS SELECT random() AS r, id FROM t;
CREATE TABLE part (a int) PARTITION BY LIST (a);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF part DEFAULT;
CREATE TABLE mixed (a int) PARTITION BY LIST (a);
CREATE TABLE mixed1 PARTITION OF mixed FOR VALUES IN (1);
CREATE FOREIGN TABLE mixed2 PARTITION OF mixed FOR VALUES IN (2) SERVER files OPTIONS (filename '/dev/null');
CREATE TABLE parent (a int); CREATE TABLE child () INHERITS (parent);
CREATE VIEW v_plain AS SELECT id, upper(b) AS b, now() - at AS age FROM t;
CREATE VIEW v_of_view AS SELECT count(*) FROM v_plain JOIN v_plain w USING (id);
CREATE VIEW v_random AS SELECT id, random() AS r FROM t;
CREATE VIEW v_of_random AS SELECT id FROM v_random;
CREATE VIEW v_random_below AS SELECT id, (SELECT max(a) FROM t WHERE a < random()) FROM t;
CREATE VIEW v_clock AS SELECT clock_timestamp();
CREATE VIEW v_sleep AS SELECT id FROM t WHERE pg_sleep(0) IS NOT NULL;
CREATE VIEW v_locks_rows AS SELECT id FROM t FOR UPDATE;
CREATE VIEW v_shares_rows AS WITH w AS (SELECT id FROM t FOR SHARE) SELECT * FROM w;
CREATE VIEW v_of_locks AS SELECT count(*) FROM v_locks_rows;
CREATE VIEW v_xact_lock AS SELECT pg_try_advisory_xact_lock(id) FROM t;
CREATE VIEW v_sample AS SELECT id FROM t TABLESAMPLE bernoulli (10);
CREATE VIEW v_seq AS SELECT last_value FROM seq;
CREATE VIEW v_sessions AS SELECT pid FROM pg_stat_activity;
CREATE VIEW v_of_sessions AS SELECT count(*) FROM v_sessions;
CREATE VIEW v_client AS SELECT inet_client_addr();
CREATE VIEW v_uuid AS SELECT uuid_generate_v4();
CREATE VIEW v_far AS SELECT * FROM far;
CREATE VIEW v_mat AS SELECT * FROM mat;
CREATE VIEW v_pl AS SELECT pl(a) FROM t;
CREATE VIEW v_columns AS SELECT column_name FROM information_schema.columns WHERE table_name = 't';
CREATE VIEW v_words AS SELECT ':hasForUpdate false'::text AS w;
CREATE VIEW v_hstore AS SELECT ('a=>1'::hstore) -> 'a' AS x, similarity('a', b) FROM t;
CREATE TABLE rls (a int, b text); ALTER TABLE rls ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON rls USING (b = current_user AND a < length(current_setting('work_mem')));
CREATE TABLE rls_random (a int); ALTER TABLE rls_random ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON rls_random USING (a < random());
CREATE TABLE rls_off (a int); CREATE POLICY p ON rls_off USING (a < random());
CREATE TABLE rls_deep (a int); ALTER TABLE rls_deep ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON rls_deep USING (EXISTS (SELECT FROM v_of_random WHERE id = a));
CREATE TABLE rls_locks (a int); ALTER TABLE rls_locks ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON rls_locks USING (a IN (SELECT id FROM t FOR UPDATE));
CREATE TABLE rls_pl (a int); ALTER TABLE rls_pl ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON rls_pl USING (pl(a) > 0);
CREATE VIEW v_rls_random AS SELECT * FROM rls_random;
CREATE TABLE twin (a int); CREATE VIEW other.twin AS SELECT random();
CREATE TABLE other.only (a int);
"""

YES = """
SELECT 1
SELECT $1
SELECT a, b FROM t WHERE id = 7 ORDER BY a LIMIT 3
SELECT * FROM public.t WHERE id = $1
SELECT count(*), max(a) OVER (), lower(b) FROM t GROUP BY a, b
SELECT id FROM t WHERE a IN (SELECT a FROM t WHERE id BETWEEN 1 AND 5) AND b LIKE 'b%'
WITH w AS (SELECT a FROM t), x AS MATERIALIZED (SELECT * FROM w) SELECT count(*) FROM x
WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n
VALUES (1, 'a'), (2, 'b')
TABLE t
SELECT 1 UNION ALL SELECT a FROM t
SHOW search_path
SHOW ALL
SELECT now(), current_timestamp, current_user, session_user, current_database(), version()
SELECT current_setting('work_mem'), current_schema(), pg_catalog.current_schemas(true)
SELECT at::date, b::varchar(2), '1'::int, extract(year FROM at), at AT TIME ZONE 'UTC' FROM t
SELECT json_agg(t), array_agg(a ORDER BY a), string_agg(b, ',' ORDER BY b), percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t
SELECT to_char(1, '9'), md5('x'), generate_series(1, 3), coalesce(NULL, 1), greatest(1, 2)
SELECT * FROM generate_series(1, 3) g(i), LATERAL (SELECT i + 1) x
SELECT pg_catalog.floor(1.5)
SELECT r FROM mat
SELECT * FROM part
SELECT * FROM part1
SELECT * FROM parent
SELECT * FROM unlogged
SELECT * FROM trg
SELECT * FROM def
SELECT * FROM rls
SELECT * FROM rls_off
SELECT * FROM other.only
SELECT * FROM v_plain
SELECT * FROM v_of_view
SELECT * FROM v_mat
SELECT * FROM v_columns
SELECT * FROM v_words
SELECT * FROM v_hstore
SELECT * FROM public.twin
SELECT relname FROM pg_class WHERE relname = 't'
SELECT * FROM pg_catalog.pg_type WHERE typname = 'int4'
SELECT tablename FROM pg_tables WHERE schemaname = 'public'
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'
SELECT pg_get_viewdef('v_plain'::regclass), format_type(23, NULL), obj_description('t'::regclass)
SELECT has_table_privilege('t', 'select'), to_regclass('t'), 't'::regclass::oid > 0
SELECT 'a=>1'::hstore -> 'a', 'A'::citext = 'a', similarity('abc', 'abd'), 'abc' % 'abd'
SELECT uuid_generate_v5(uuid_ns_url(), 'x')
SELECT id FROM t WHERE EXISTS (SELECT FROM v_plain v WHERE v.id = t.id)
SELECT DISTINCT ON (a) a, row(a, b), ARRAY[a], CASE WHEN a > 1 THEN 'x' ELSE 'y' END FROM t ORDER BY a, id
"""

NO = """
SELECT random()
SELECT pg_sleep(0)
SELECT clock_timestamp()
SELECT timeofday()
SELECT gen_random_uuid()
SELECT nextval('seq')
SELECT currval('seq')
SELECT lastval()
SELECT setval('seq', 1)
SELECT last_value FROM seq
SELECT * FROM pg_sequences
SELECT pg_advisory_lock(1)
SELECT pg_advisory_xact_lock(1)
SELECT pg_try_advisory_xact_lock_shared(1)
SELECT pg_advisory_unlock_all()
SELECT set_config('a.b', 'c', true)
SELECT pg_notify('a', 'b')
SELECT txid_current()
SELECT pg_current_xact_id_if_assigned()
SELECT pg_export_snapshot()
SELECT lo_create(0)
SELECT lo_get(1)
SELECT pg_read_file('x')
SELECT pg_ls_dir('.')
SELECT pg_terminate_backend(1)
SELECT pg_cancel_backend(1)
SELECT pg_reload_conf()
SELECT pg_stat_reset()
SELECT pg_relation_size('t')
SELECT pg_is_in_recovery()
SELECT query_to_xml('select 1', true, true, '')
SELECT ts_stat('select 1')
SELECT setseed(0.5)
SELECT pg_backend_pid()
SELECT inet_client_addr(), inet_server_port()
SELECT pg_listening_channels()
SELECT * FROM pg_listening_channels()
SELECT pg_my_temp_schema()
SELECT pg_stat_get_numscans(1)
SELECT pg_stat_get_activity(NULL)
SELECT pg_cursor()
SELECT current_query()
SELECT * FROM pg_stat_activity
SELECT * FROM pg_stat_user_tables
SELECT * FROM pg_statio_user_tables
SELECT * FROM pg_locks
SELECT * FROM pg_prepared_statements
SELECT * FROM pg_prepared_xacts
SELECT * FROM pg_cursors
SELECT * FROM pg_settings
SELECT * FROM pg_catalog.pg_replication_slots
SELECT pl(1)
SELECT sq(1)
SELECT public.sq(a) FROM t
SELECT missing(1)
SELECT floor(1.5)
SELECT floor FROM missing
SELECT * FROM missing
SELECT * FROM other.t
SELECT isn_weak(true)
SELECT * FROM crosstab('select 1, 2, 3') c(a int, b int)
SELECT dblink('select 1')
SELECT set_limit(0.5)
SELECT uuid_generate_v4()
SELECT * FROM far
SELECT * FROM mixed
SELECT * FROM v_random
SELECT * FROM v_of_random
SELECT * FROM v_random_below
SELECT * FROM v_clock
SELECT * FROM v_sleep
SELECT * FROM v_locks_rows
SELECT * FROM v_shares_rows
SELECT * FROM v_of_locks
SELECT * FROM v_xact_lock
SELECT * FROM v_sample
SELECT * FROM v_seq
SELECT * FROM v_sessions
SELECT * FROM v_of_sessions
SELECT * FROM v_client
SELECT * FROM v_uuid
SELECT * FROM v_far
SELECT * FROM v_pl
SELECT * FROM rls_random
SELECT * FROM rls_deep
SELECT * FROM rls_locks
SELECT * FROM rls_pl
SELECT * FROM v_rls_random
SELECT * FROM twin
SELECT * FROM t WHERE id IN (SELECT id FROM v_random)
SELECT id FROM t WHERE a < random()
SELECT id FROM t ORDER BY random()
SELECT id FROM t LIMIT (random() * 3)::int
SELECT (SELECT random())
WITH w AS (SELECT random()) SELECT * FROM w
VALUES (random())
SELECT * FROM t TABLESAMPLE system (10)
SELECT id FROM t FOR UPDATE
SELECT id FROM t FOR KEY SHARE
SELECT * FROM (SELECT id FROM t FOR SHARE) x
WITH w AS (SELECT id FROM t FOR UPDATE) SELECT * FROM w
SELECT id INTO z FROM t
SELECT id INTO TEMP z FROM t
WITH w AS (INSERT INTO t (id) VALUES (99) RETURNING id) SELECT * FROM w
WITH w AS (DELETE FROM t RETURNING id) SELECT * FROM w
INSERT INTO t (id) VALUES (99)
UPDATE t SET a = 1
DELETE FROM t
MERGE INTO t USING trg ON t.id = trg.id WHEN MATCHED THEN DELETE
TRUNCATE t
SELECT 1; SELECT 2
SELECT 1; SET work_mem = '1MB'
SET work_mem = '1MB'
RESET ALL
BEGIN
COMMIT
DISCARD ALL
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE p
DECLARE c CURSOR FOR SELECT 1
FETCH c
CLOSE c
LISTEN a
NOTIFY a
COPY t TO STDOUT
COPY (SELECT 1) TO STDOUT
EXPLAIN SELECT 1
EXPLAIN ANALYZE SELECT 1
CREATE TABLE z AS SELECT 1
CREATE TABLE z (a int)
LOCK TABLE t
VACUUM t
CALL p()
DO $$ BEGIN END $$
SELECT 'unclosed
SELEC 1
"""

# what is made, {statement: repeatable}
CHANGES = [
    ("volatile overload of a built-in", "CREATE FUNCTION other.lower(int) RETURNS int LANGUAGE plpgsql"
     " AS 'BEGIN RETURN 1; END'", {"SELECT lower('A')": False, "SELECT upper('A')": True}),
    ("overload with a good label", "CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql IMMUTABLE AS"
     " 'SELECT 1'", {"SELECT lower('A')": False, "SELECT pg_catalog.lower('A')": True}),
    ("an extension's volatile overload of a built-in", "CREATE FUNCTION other.lower(float8) RETURNS"
     " float8 LANGUAGE internal AS 'drandom'; ALTER EXTENSION hstore ADD FUNCTION other.lower(float8)",
     {"SELECT lower('A')": False, "SELECT pg_catalog.lower('A')": True, "SELECT other.lower(1)": False}),
    ("an extension's overload of a built-in that runs text", "CREATE FUNCTION other.ts_stat(int)"
     " RETURNS int LANGUAGE internal IMMUTABLE AS 'int4abs'; ALTER EXTENSION hstore ADD FUNCTION"
     " other.ts_stat(int)", {"SELECT ts_stat('select 1')": False, "SELECT other.ts_stat(1)": True}),
    ("volatile alias of a built-in", "CREATE FUNCTION other.lower(float8) RETURNS float8 LANGUAGE"
     " internal AS 'drandom'", {"SELECT lower('A')": False}),
    ("operator over a volatile built-in", "CREATE OPERATOR ~~~ (RIGHTARG = float8, FUNCTION ="
     " pg_sleep)", {"SELECT 1": False, "SELECT * FROM t": False}),
    ("operator over plpgsql", "CREATE OPERATOR ~~~ (RIGHTARG = int, FUNCTION = pl)",
     {"SELECT * FROM t": False}),
    ("operator over a steady built-in", "CREATE OPERATOR ~~~ (RIGHTARG = int, FUNCTION = int4abs)",
     {"SELECT ~~~ 1": True}),
    ("aggregate", "CREATE AGGREGATE agg(bigint) (SFUNC = int8pl, STYPE = bigint); CREATE VIEW w AS"
     " SELECT agg(a) FROM t", {"SELECT agg(1)": False, "SELECT * FROM w": False}),
    ("an extension's aggregate over a volatile built-in", "CREATE FUNCTION vol(bigint, bigint) RETURNS"
     " bigint LANGUAGE internal VOLATILE AS 'int8pl'; CREATE AGGREGATE other.sum(bigint) (SFUNC = vol,"
     " STYPE = bigint); ALTER EXTENSION hstore ADD FUNCTION vol(bigint, bigint); ALTER EXTENSION hstore"
     " ADD AGGREGATE other.sum(bigint); CREATE VIEW w AS SELECT other.sum(a) FROM t",
     {"SELECT sum(1)": False, "SELECT pg_catalog.sum(1)": True, "SELECT * FROM w": False}),
    ("cast over a volatile built-in", "CREATE CAST (bigint AS text) WITH FUNCTION txid_status(bigint)",
     {"SELECT 1": False, "SELECT 't'::regclass": False}),
    ("cast over a steady built-in", "CREATE CAST (bigint AS text) WITH FUNCTION to_hex(bigint)",
     {"SELECT 1::bigint::text": True}),
    ("domain check over a volatile built-in", "CREATE DOMAIN d AS float8 CHECK (VALUE < random() + 9)",
     {"SELECT 1": False, "SELECT $1": False}),
    ("domain check over a steady built-in", "CREATE DOMAIN d AS text CHECK (length(VALUE) < 9);"
     " CREATE TABLE td (x d)", {"SELECT 'a'::d": True, "SELECT * FROM td": True}),
    ("domain check in plpgsql", "CREATE DOMAIN d AS int CHECK (pl(VALUE) < 9)",
     {"SELECT 1": False, "SELECT * FROM t": False, "SHOW work_mem": True}),
    ("enum", "CREATE TYPE e AS ENUM ('x'); CREATE TABLE te (x e)",
     {"SELECT * FROM te WHERE x = 'x'": True, "SELECT 'x'::e": True}),
    ("row function", "CREATE FUNCTION f(t) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'",
     {"SELECT * FROM t": False, "SELECT * FROM trg": True}),
    ("an extension's volatile row function, called on a child", "CREATE FUNCTION size_of(parent) RETURNS"
     " int LANGUAGE internal VOLATILE AS 'pg_column_size'; ALTER EXTENSION hstore ADD FUNCTION"
     " size_of(parent)", {"SELECT parent.size_of FROM parent": False,
                          "SELECT child.size_of FROM child": False, "SELECT * FROM t": True}),
    ("an extension's steady row function", "CREATE FUNCTION size_of(parent) RETURNS int LANGUAGE"
     " internal STABLE AS 'pg_column_size'; ALTER EXTENSION hstore ADD FUNCTION size_of(parent)",
     {"SELECT child.size_of FROM child": True}),
    ("select rule in another schema", "CREATE VIEW other.t AS SELECT * FROM pg_locks",
     {"SELECT * FROM t": False, "SELECT * FROM public.t": True, "SELECT * FROM other.t": False}),
    ("policy on", "ALTER TABLE rls_off ENABLE ROW LEVEL SECURITY", {"SELECT * FROM rls_off": False}),
    ("policy off", "ALTER TABLE rls_random DISABLE ROW LEVEL SECURITY",
     {"SELECT * FROM rls_random": True, "SELECT * FROM v_rls_random": True}),
    ("policy of a partition", "ALTER TABLE part2 ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON part2"
     " USING (a < random())", {"SELECT * FROM part2": False, "SELECT * FROM part1": True}),
    ("foreign child", "CREATE FOREIGN TABLE fc () INHERITS (parent) SERVER files OPTIONS (filename"
     " '/dev/null')", {"SELECT * FROM parent": False, "SELECT * FROM child": True}),
    ("view redefined", "CREATE OR REPLACE VIEW v_plain AS SELECT id, b, clock_timestamp() - at AS age"
     " FROM t", {"SELECT * FROM v_plain": False, "SELECT * FROM v_of_view": False}),
    ("view with a window and a filter", "CREATE VIEW w AS SELECT rank() OVER (ORDER BY a), (SELECT"
     " count(*) FILTER (WHERE a > 1) FROM t) FROM t", {"SELECT * FROM w": True}),
    ("view with a volatile window argument", "CREATE VIEW w AS SELECT ntile(1 + random()::int) OVER"
     " (ORDER BY a) FROM t", {"SELECT * FROM w": False}),
    ("view with a volatile join", "CREATE VIEW w AS SELECT t.id FROM t JOIN trg ON t.a < random()",
     {"SELECT * FROM w": False}),
    ("view with a function in FROM", "CREATE VIEW w AS SELECT * FROM pg_ls_dir('.')",
     {"SELECT * FROM w": False}),
    ("default and check of a table are not read", "CREATE TABLE c (a float8 DEFAULT random() CHECK (a"
     " < random() + 9))", {"SELECT * FROM c": True}),
    ("temporary", "CREATE TEMP TABLE tmp (a int)", {"SELECT * FROM tmp": False}),
    ("temporary shadow", "CREATE TEMP TABLE trg (a int)", {"SELECT * FROM trg": True}),
]


def lines(text):
    return [line for line in text.strip().splitlines() if line]


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
                        *glob.glob(f"{ROOT}/base/*.c")],
                       ["-lpg_query", "-lcrypto", "-lm"])

    def run(rows, statements):
        text = "\n".join(["\t".join(row) for row in rows] + [""] + statements) + "\n"
        done = subprocess.run([program], input=text, check=True, capture_output=True, text=True,
                              timeout=60)
        return dict(zip(statements, done.stdout.splitlines(), strict=True))
    return run


@pytest.fixture(scope="module", params=[15, 18])
def session(request):
    try:
        pg = PgCluster(version=request.param)
    except NotAvailable as e:
        pytest.skip(str(e))
    with pg:
        pg.database("rep")
        pg.sql(SETUP, "rep")
        with pg.admin("rep") as c:
            c.query("SELECT show_limit()")  # the library brings its settings along
            yield c


@pytest.fixture(scope="module")
def rows(session, question):
    return session.query(question)


def test_what_is_repeatable(rows, judge):
    said = judge(rows, lines(YES))
    assert [text for text, answer in said.items() if answer != "yes"] == []


def test_what_is_not(rows, judge):
    said = judge(rows, lines(NO))
    assert [text for text, answer in said.items() if answer == "yes"] == []


def test_an_empty_catalog_proves_next_to_nothing(judge):
    said = judge([], lines(YES))
    assert [text for text, answer in said.items() if answer == "yes"] == [
        "SELECT 1", "SELECT $1", "VALUES (1, 'a'), (2, 'b')", "SHOW search_path", "SHOW ALL"]


@pytest.mark.parametrize("case", CHANGES, ids=[c[0] for c in CHANGES])
def test_what_a_definition_changes(session, question, judge, case):
    _, made, expected = case
    session.query("BEGIN")
    try:
        session.query(made)
        found = session.query(question)
    finally:
        session.query("ROLLBACK")
    said = judge(found, list(expected))
    assert {text: answer == "yes" for text, answer in said.items()} == expected


LOCKS = ("SELECT DISTINCT locktype, mode FROM pg_locks WHERE pid = pg_backend_pid() AND mode <>"
         " 'AccessShareLock' AND NOT (locktype = 'virtualxid' AND mode = 'ExclusiveLock')")
SETTINGS = "SELECT name, setting FROM pg_settings ORDER BY name"


@pytest.mark.parametrize("text", [t for t in lines(YES) if "$1" not in t])
def test_what_is_called_repeatable_is(session, text):
    """Run twice in one snapshot: the same rows, no number of a transaction, no lock, no setting."""
    settings = session.query(SETTINGS)
    session.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
    try:
        first = session.query(text)
        assert sorted(map(str, session.query(text))) == sorted(map(str, first))
        assert session.query(LOCKS) == []
        assert session.value("SELECT pg_current_xact_id_if_assigned()") is None
    finally:
        session.query("ROLLBACK")
    assert session.query(SETTINGS) == settings
    for what in ("pg_prepared_statements", "pg_cursors", "pg_listening_channels()"):
        assert session.query(f"SELECT FROM {what}") == []


def test_labels_of_the_server_are_as_relied_on(session):
    """No volatile built-in hides behind an operator, a cast, a type or a row's attribute.

    (pg_restore_relation_stats takes a row as one of its pairs, and refuses a half one.)
    """
    assert session.query("""
        SELECT 'operator', oprname FROM pg_operator JOIN pg_proc p ON p.oid = oprcode
        WHERE provolatile = 'v' AND pg_operator.oid < 16384
        UNION ALL SELECT 'cast', proname FROM pg_cast c JOIN pg_proc p ON p.oid = castfunc
        WHERE provolatile = 'v' AND c.oid < 16384
        UNION ALL SELECT 'type', typname FROM pg_type t JOIN pg_proc p
        ON p.oid IN (typinput, typoutput, typreceive, typsend, typmodin, typmodout)
        WHERE provolatile = 'v' AND t.oid < 16384
        UNION ALL SELECT 'attribute', proname FROM pg_proc p WHERE provolatile = 'v' AND p.oid < 16384
        AND pronargs - pronargdefaults <= 1 AND provariadic = 0 AND proargtypes[0] IN ('record'::regtype, '"any"'::regtype,
        'anyelement'::regtype, 'anynonarray'::regtype, 'anycompatible'::regtype)""") == []
