"""Behaviours 56 to 91 and 130, 131, 136: an application cannot tell that it does not own its server.

Each test runs directly on PostgreSQL, which proves the test, and through a transaction-mode proxy whose
three servers are handed out in turn, with other clients stirring between any two statements.
"""
import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.penstock import Penstock, is_pgbouncer
from support.pgwire import RawClient, ServerError


class World:
    """connect() makes a session; stir() makes sure the next statement meets another server."""

    def __init__(self, connect, proxy=None):
        self.connect, self.proxy, self.noise = connect, proxy, []
        if proxy:
            self.noise = [connect() for _ in range(3)]

    def stir(self):
        for c in self.noise:
            c.send(w.query("SELECT pg_sleep(0.01)"))
        for c in self.noise:
            c.read_until()

    def close(self):
        for c in self.noise:
            c.close()


@pytest.fixture(params=["direct", "proxy"])
def world(request, pg, penstock):
    if request.param == "proxy" and is_pgbouncer():
        pytest.skip("PgBouncer does not do this")
    port = pg.port if request.param == "direct" else penstock.port
    made = []

    def connect(**kw):
        made.append(RawClient.login(port, USER, SECRET, DB, **kw))
        return made[-1]

    out = World(connect, penstock if request.param == "proxy" else None)
    yield out
    for c in made:
        c.close()


@pytest.fixture(scope="module")
def penstock(pg):
    p = Penstock(cluster=pg, pool_size=3, users={USER: SECRET}, config={"server_round_robin": 1})
    yield p
    p.close()


def code_of(c, *data):
    errors = w.errors_of(c.ask(*data))
    return errors[0]["C"] if errors else None


def same(world, c, sql, want, times=4):
    for _ in range(times):
        world.stir()
        assert c.value(sql) == want, sql


SETTINGS = [("work_mem", "'777kB'", "777kB"), ("statement_timeout", "12345", "12345ms"),
            ("search_path", "pg_catalog, \"odd, name\", public", 'pg_catalog, "odd, name", public'),
            ("app.tenant", "'it''s \"quoted\"'", "it's \"quoted\""), ("app.json", "'{\"a\": [1, 2]}'",
                                                                   '{"a": [1, 2]}'),
            ("DateStyle", "German", "German, DMY"), ("TimeZone", "'Asia/Tokyo'", "Asia/Tokyo"),
            ("application_name", "'my app'", "my app"), ("IntervalStyle", "iso_8601", "iso_8601"),
            ("TimeZone", "INTERVAL '-08:00' HOUR TO MINUTE", "<-08>+08"),
            ("default_transaction_read_only", "on", "on"), ("app.long", "'" + "v" * 2000 + "'", "v" * 2000)]


@pytest.mark.parametrize("name, value, shown", SETTINGS)
def test_setting_holds_for_its_client_alone(world, name, value, shown):
    a, b = world.connect(), world.connect()
    before = b.value(f"SELECT current_setting('{name}', true)")
    a.query(f"SET {'TIME ZONE' if 'INTERVAL' in value else name + ' TO'} {value}")
    for _ in range(3):
        same(world, a, f"SHOW {name}", shown, 1)
        assert b.value(f"SELECT current_setting('{name}', true)") in (before, "")
    a.query(f"RESET {name}")
    assert a.value(f"SELECT current_setting('{name}', true)") in (before, "")


@pytest.mark.parametrize("end, holds", [("COMMIT", True), ("ROLLBACK", False)])
def test_setting_in_a_transaction(world, end, holds):
    c = world.connect()
    c.query("SET work_mem = '500kB'")
    c.query("BEGIN")
    c.query("SET work_mem = '600kB'")
    c.query(end)
    same(world, c, "SHOW work_mem", "600kB" if holds else "500kB")


def test_setting_and_savepoints(world):
    c = world.connect()
    for sql in ("BEGIN", "SET work_mem = '501kB'", "SAVEPOINT s", "SET work_mem = '502kB'",
                "ROLLBACK TO s", "SET LOCAL lock_timeout = 55", "COMMIT"):
        c.query(sql)
    same(world, c, "SHOW work_mem", "501kB")
    same(world, c, "SHOW lock_timeout", "0")


def test_setting_in_a_failed_transaction_is_gone(world):
    c = world.connect()
    c.query("BEGIN")
    c.query("SET work_mem = '503kB'")
    assert code_of(c, w.query("SELECT 1/0")) == "22012"
    assert [m.fields["tag"] for m in c.ask(w.query("COMMIT")) if m.type == "C"] == ["ROLLBACK"]
    same(world, c, "SHOW work_mem", "4MB")


def test_set_config_in_every_form(world):
    c = world.connect()
    c.query("SELECT set_config('app.one', 'simple', false)")
    c.extended("SELECT set_config($1, $2, false)", ["app.two", "bound"])
    c.query("SELECT set_config('app.three', 'local', true)")
    same(world, c, "SELECT current_setting('app.one') || ' ' || current_setting('app.two')",
         "simple bound")
    same(world, c, "SELECT coalesce(current_setting('app.three', true), '')", "")


def test_several_settings_in_one_query(world):
    c = world.connect()
    c.query("SET app.a = '1'; SELECT 1; SET app.b = '2'; RESET app.a")
    same(world, c, "SELECT coalesce(current_setting('app.a', true), '') || current_setting('app.b')", "2")
    assert code_of(c, w.query("SET app.c = '3'; SELECT 1/0")) == "22012"
    same(world, c, "SELECT coalesce(current_setting('app.c', true), '')", "")


def test_a_wrong_setting_is_an_error_at_once(world):
    c = world.connect()
    assert code_of(c, w.query("SET work_mem = 'nonsense'")) == "22023"
    assert code_of(c, w.query("SET absent_setting = 1")) == "42704"
    same(world, c, "SHOW work_mem", "4MB")


def test_setting_that_may_not_be_seen_is_refused_and_nothing_is_lost(world):
    """Not even the question for its value is allowed."""
    c = world.connect()
    c.query("SET app.kept = 'own'; SET work_mem = '333kB'")
    for _ in range(2):
        assert code_of(c, w.query("SET data_directory = '/nowhere'")) == "55P02"
        assert code_of(c, w.query("SET session_preload_libraries = 'x'")) == "42501"
        same(world, c, "SHOW app.kept", "own", 1)
        same(world, c, "SHOW work_mem", "333kB", 1)


def test_reset_all_and_discard_all(world):
    for clean in ("RESET ALL", "DISCARD ALL"):
        c = world.connect(TimeZone="Asia/Tokyo")
        c.query("SET work_mem = '505kB'")
        c.query("SET TimeZone = 'UTC'")
        c.query(clean)
        same(world, c, "SHOW work_mem", "4MB")
        same(world, c, "SHOW TimeZone", "Asia/Tokyo")


# What a session came with is what RESET and DEFAULT return to; the server's own default, set by name, is
# a value like any other.
@pytest.mark.parametrize("steps", [
    ("SET datestyle TO 'ISO, MDY'",),
    ("SET datestyle TO 'ISO, MDY'", "SET extra_float_digits = 2", "RESET extra_float_digits"),
    ("SET datestyle TO 'ISO, MDY'", "SET extra_float_digits TO DEFAULT"),
    ("SET datestyle TO 'ISO, MDY'", "BEGIN; RESET extra_float_digits; COMMIT"),
    ("SET datestyle TO 'ISO, MDY'", "SELECT set_config('extra_float_digits', '1', false)"),
    ("SET datestyle TO 'ISO, MDY'", "SET datestyle TO DEFAULT"),
    ("SET datestyle TO 'ISO, MDY'", "RESET datestyle"),
    ("SET datestyle TO 'ISO, MDY'", "RESET ALL"),
    ("SET datestyle TO 'ISO, MDY'", "SELECT set_config('datestyle', NULL, false)"),
    ("SET statement_timeout = 0", "SELECT set_config('statement_timeout', NULL, false)"),
    ("SET statement_timeout = 0", "SELECT set_config('statement_timeout', NULL::text, false)"),
    ("SELECT set_config('statement_timeout', '0', false)",),
    ("SELECT set_config('extra_float_digits', NULL, false), set_config('statement_timeout', '0', false)",),
    ("SET datestyle TO 'ISO, MDY'", "DISCARD ALL"),
    ("SET datestyle TO 'SQL, DMY'", "SET datestyle TO DEFAULT"),
    ("SET datestyle TO 'SQL, DMY'", "SET datestyle = DEFAULT"),
    ("SET datestyle TO 'SQL, DMY'", "RESET datestyle"),
    ("SET datestyle TO 'SQL, DMY'", "SELECT set_config('datestyle', 'ISO, MDY', false)"),
    ("SET datestyle TO DEFAULT",),
    ("SET datestyle TO DEFAULT", "SET datestyle TO 'ISO, MDY'"),
    ("RESET ALL", "SET datestyle TO 'ISO, MDY'"),
    ("RESET ALL; SET datestyle TO 'ISO, MDY'",),
    ("BEGIN; SET datestyle TO DEFAULT; SET datestyle TO 'ISO, MDY'; COMMIT",),
    ("BEGIN; SET datestyle TO 'ISO, MDY'; SET datestyle TO DEFAULT; COMMIT",),
    ("BEGIN; SET datestyle TO 'ISO, MDY'; ROLLBACK",),
    ("SET statement_timeout = 0",),
    ("SET statement_timeout = 0", "SELECT set_config('extra_float_digits', '1', false)"),
    ("SET statement_timeout = 0", "SET statement_timeout TO DEFAULT"),
    ("SET statement_timeout = 0", "RESET ALL"),
    ("SET statement_timeout = 0", "SET extra_float_digits = 3", "RESET extra_float_digits"),
    ("SET datestyle TO 'ISO, MDY'", "BEGIN; SET datestyle TO DEFAULT; ROLLBACK"),
    ("SET ROLE NONE",), ("SET ROLE NONE", "RESET ROLE"), ("SET ROLE NONE", "RESET extra_float_digits"),
    ("SET ROLE NONE", "DISCARD ALL"),
], ids=" | ".join)
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_default_is_what_the_session_came_with(world, rights, steps, extended):
    came = {"DateStyle": "German, DMY", "extra_float_digits": "0", "statement_timeout": "5s",
            "options": "-c role=weak"}
    c = world.connect(**came)

    def run(who, sql):
        one = extended and (";" not in sql)
        return code_of(who, *([w.parse(sql), w.bind([]), w.execute(), w.sync()] if one else [w.query(sql)]))

    with RawClient.login(rights.port, USER, SECRET, DB, **came) as direct:
        for sql in ("SELECT 1",) + steps:
            world.stir()
            assert run(c, sql) == run(direct, sql)
        for name in ("DateStyle", "extra_float_digits", "statement_timeout", "role"):
            same(world, c, f"SHOW {name}", direct.value(f"SHOW {name}"))


def test_reported_settings_are_reported(world):
    c = world.connect()
    c.query("SET TimeZone = 'Asia/Tokyo'")
    world.stir()
    c.query("SELECT 1")
    assert c.params["TimeZone"] == "Asia/Tokyo"
    c.query("BEGIN")
    c.query("SET TimeZone = 'Europe/Paris'")
    assert c.params["TimeZone"] == "Europe/Paris"
    c.query("ROLLBACK")
    assert c.params["TimeZone"] == "Asia/Tokyo"


def test_setting_is_told_before_the_answer_that_depends_on_it(world):
    """RESET shows the database's own default for a moment. What follows is German again, and a client that
    is told so too late reads it wrong."""
    for clean in ("DISCARD ALL", "RESET ALL", "RESET DateStyle", "SET DateStyle TO DEFAULT"):
        c = world.connect(DateStyle="German, DMY")
        c.query("SELECT 1")
        c.query(clean)
        c.send(w.query("SELECT '2026-01-31'::date"))
        row = c.read_until("D")[-1]
        assert (row.fields["values"], c.params["DateStyle"]) == ([b"31.01.2026"], "German, DMY"), clean
        c.read_until()


@pytest.mark.parametrize("steps, want", [
    (("RESET app.tenant",), "came"), (("RESET ALL",), "came"), (("SET app.tenant TO DEFAULT",), "came"),
    (("BEGIN; RESET ALL; COMMIT",), "came"), (("DISCARD ALL",), "came"),
    (("BEGIN", "RESET app.tenant", "SET app.tenant = ''", "COMMIT"), ""),
    (("BEGIN", "SET app.tenant = ''", "RESET ALL", "COMMIT"), "came"),
    (("SET app.tenant = ''", "RESET work_mem"), ""), (("RESET ALL", "SET app.tenant = ''"), ""),
    (("SELECT set_config('app.tenant', NULL, false)",), "came"),
    (("SELECT set_config('app.tenant', '', false)",), ""),
    (("RESET ALL; SET app.tenant = 'y'",), "y")])
def test_custom_setting_that_a_client_came_with_is_what_reset_returns_to(world, steps, want):
    c = world.connect(options="-c app.tenant=came")
    for sql in ("SET app.tenant = 'x'",) + steps:
        world.stir()
        c.query(sql)
    same(world, c, "SELECT current_setting('app.tenant')", want)


STRONG = [("SET LOCAL ROLE strong; SET log_statement = 'all'",),
          ("BEGIN", "SET LOCAL ROLE strong", "SET log_statement = 'all'", "COMMIT"),
          ("SET ROLE strong", "SET log_statement = 'all'"),
          ("SET ROLE strong; SET log_statement = 'all'; RESET ROLE",),
          ("SET ROLE strong", "SET log_statement = 'all'", "SET work_mem = '1MB'")]


@pytest.mark.parametrize("steps", STRONG, ids=" | ".join)
def test_setting_that_the_login_may_not_reset_stays_with_its_client(rights, proxy, steps):
    """Neither does a stranger's request run under it, nor is the stranger sent away."""
    p = proxy(rights, pool_size=1)
    a, b = (p.connect(USER, SECRET, DB) for _ in range(2))
    assert b.value("SHOW log_statement") == "none"
    for sql in steps:
        a.query(sql)
    for _ in range(2):
        assert b.query("SELECT current_setting('log_statement'), current_user") == [["none", USER]]
    a.close()
    b.close()


@pytest.mark.parametrize("name, extended", [("log_statement", False), ("log_statement", True),
                                            ("plpgsql.variable_conflict", False)])
def test_setting_that_was_refused_hurts_nobody(rights, proxy, name, extended):
    """Its value is not on record as somebody's wish: others could not take it back."""
    p = proxy(rights, pool_size=1)
    a, b = (p.connect(USER, SECRET, DB) for _ in range(2))
    for _ in range(2):
        b.query("DO $$ BEGIN PERFORM 1; END $$")
        sql = f"SET {name} = '{'use_column' if '.' in name else 'all'}'"
        assert code_of(a, *([w.parse(sql), w.bind([]), w.execute(), w.sync()] if extended else
                            [w.query(sql)])) == "42501"
        assert b.value("SELECT 'b'") == "b"
        assert a.value("SELECT 'a'") == "a"
    a.close()
    b.close()


def test_setting_of_a_superuser_that_has_become_another(rights, proxy):
    """Its role may not set it, and neither may the role of who comes next take it away."""
    p = proxy(rights, pool_size=1, users={"boss": "boss secret"})
    a, b = (p.connect("boss", "boss secret", DB) for _ in range(2))
    ask = "SELECT current_user, session_user, current_setting('log_statement')"
    for c in (a, b):
        c.query("SET ROLE weak")
    a.query("RESET ROLE")
    a.query("SET log_statement = 'all'")
    a.query("SET ROLE weak")
    for _ in range(4):
        assert a.query(ask) == [["weak", "boss", "all"]]
        assert b.query(ask) == [["weak", "boss", "none"]]
    a.close()
    b.close()


def test_role_is_kept_where_the_session_user_changes(rights, proxy):
    p = proxy(rights, pool_size=1, users={"boss": "boss secret"})
    a, b, c = (p.connect("boss", "boss secret", DB) for _ in range(3))
    for x, user in ((a, USER), (b, "weaker")):
        x.query(f"SET SESSION AUTHORIZATION {user}")
        x.query("SET ROLE weak")
    c.query("SET ROLE weak")
    for _ in range(3):
        for x, user in ((a, USER), (b, "weaker"), (c, "boss")):
            assert x.query("SELECT current_user, session_user") == [["weak", user]]
    for x in (a, b, c):
        x.close()


def test_setting_changed_inside_a_function_stays_with_its_client(world):
    a, b = world.connect(), world.connect()
    a.query("CREATE OR REPLACE FUNCTION sets() RETURNS int LANGUAGE plpgsql AS $$ BEGIN "
            "PERFORM set_config('work_mem', '506kB', false); RETURN 1; END $$")
    a.query("SELECT sets()")
    for _ in range(4):
        same(world, b, "SHOW work_mem", "4MB", 1)
    same(world, a, "SHOW work_mem", "506kB")


def test_setting_changed_by_the_type_of_a_parameter_stays_with_its_client(world):
    a, b = world.connect(), world.connect()
    a.query("CREATE OR REPLACE FUNCTION checks(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN "
            "PERFORM set_config('work_mem', '507kB', false); RETURN true; END $$")
    a.query("DROP DOMAIN IF EXISTS checked; CREATE DOMAIN checked AS int CHECK (checks(VALUE))")
    oid = int(a.value("SELECT 'checked'::regtype::oid"))
    try:
        assert code_of(a, w.parse("SELECT $1", types=[oid]), w.bind(["5"]), w.execute(), w.sync()) is None
        for _ in range(4):
            same(world, b, "SHOW work_mem", "4MB", 1)
        same(world, a, "SHOW work_mem", "507kB")
    finally:
        b.query("DROP DOMAIN checked; DROP FUNCTION checks")


def test_statement_timeout_of_one_client_never_strikes_another(world):
    a, b = world.connect(options="-c statement_timeout=100"), world.connect()
    for _ in range(3):
        assert code_of(a, w.query("SELECT pg_sleep(5)")) == "57014"
        assert b.value("SELECT pg_sleep(0.2)::text || 'slept'") == "slept"


def test_role_does_not_leak(world, pg):
    pg.sql("DO $$ BEGIN CREATE ROLE role_a; EXCEPTION WHEN duplicate_object THEN NULL; END $$; "
           "GRANT role_a TO app")
    a, b = world.connect(), world.connect()
    a.query("SET ROLE role_a")
    for _ in range(3):
        same(world, a, "SELECT current_user", "role_a", 1)
        same(world, b, "SELECT current_user", USER, 1)
    a.query("RESET ROLE")
    same(world, a, "SELECT current_user", USER)


# ---- things that keep a server ----------------------------------------------------------------------

def test_temp_table_is_its_clients(world):
    a, b = world.connect(), world.connect()
    a.query("CREATE TEMP TABLE own (a int)")
    a.query("INSERT INTO own VALUES (7)")
    for _ in range(3):
        same(world, a, "SELECT a FROM own", "7", 1)
        assert code_of(b, w.query("SELECT a FROM own")) == "42P01"
    a.query("DROP TABLE own")


def test_temp_table_ends_with_its_client(world):
    a = world.connect()
    a.query("CREATE TEMP TABLE gone (a int)")
    a.close()
    for _ in range(4):
        c = world.connect()
        assert c.value("SELECT count(*) FROM pg_class WHERE relname = 'gone' AND "
                       "relnamespace = pg_my_temp_schema()") == "0"


def test_session_advisory_lock(world):
    a, b = world.connect(), world.connect()
    a.query("SELECT pg_advisory_lock(42), pg_advisory_lock(42)")
    for _ in range(3):
        world.stir()
        assert b.value("SELECT pg_try_advisory_lock(42)") == "f"
    assert a.value("SELECT pg_advisory_unlock(42)") == "t"
    assert b.value("SELECT pg_try_advisory_lock(42)") == "f"
    assert a.value("SELECT pg_advisory_unlock(42)") == "t"
    assert a.value("SELECT pg_advisory_unlock(42)") == "f"
    assert b.value("SELECT pg_try_advisory_lock(42)") == "t"
    b.query("SELECT pg_advisory_unlock_all()")


def test_cursor_with_hold(world):
    c = world.connect()
    c.query("BEGIN")
    c.query("DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 5)")
    c.query("COMMIT")
    for i in range(1, 6):
        same(world, c, "FETCH 1 FROM held", str(i), 1)
    c.query("CLOSE held")


def test_listen_and_notify(world):
    a, b = world.connect(), world.connect()
    a.query("LISTEN news")
    b.query("BEGIN")
    b.query("NOTIFY news, 'it''s new'")
    assert a.quiet(0.2)
    b.query("COMMIT")
    m = a.read_until("A")[-1]
    assert (m.fields["channel"], m.fields["payload"]) == ("news", "it's new")
    b.query("BEGIN")
    b.query("NOTIFY news, 'never'")
    b.query("ROLLBACK")
    a.query("UNLISTEN news")
    b.query("NOTIFY news, 'unheard'")
    assert a.quiet(0.2)
    assert "A" not in w.types_of(a.ask(w.query("SELECT 1")))


# ---- prepared statements ----------------------------------------------------------------------------

def run_named(c, name, *params):
    return w.rows_of(c.ask(w.bind(params, name), w.execute(), w.sync()))


def test_prepared_statement_on_every_server(world):
    a, b = world.connect(), world.connect()
    a.ask(w.parse("SELECT 'a ' || $1::text", "same"), w.sync())
    b.ask(w.parse("SELECT 'b ' || $1::text", "same"), w.sync())
    for i in range(5):
        world.stir()
        assert run_named(a, "same", str(i)) == [[f"a {i}"]]
        assert run_named(b, "same", str(i)) == [[f"b {i}"]]


def test_unnamed_statement_survives_other_clients(world):
    a = world.connect()
    a.ask(w.parse("SELECT $1::int + 1"), w.sync())
    for i in range(4):
        world.stir()
        assert run_named(a, "", str(i)) == [[str(i + 1)]]


def test_statement_names_follow_postgresqls_rules(world):
    c = world.connect()
    c.ask(w.parse("SELECT 1", "n"), w.sync())
    for _ in range(3):
        world.stir()
        assert code_of(c, w.parse("SELECT 2", "n"), w.sync()) == "42P05"
        assert code_of(c, w.bind([], "unknown"), w.execute(), w.sync()) == "26000"
        assert run_named(c, "n") == [["1"]]
    c.ask(w.close("n"), w.sync())
    assert code_of(c, w.bind([], "n"), w.execute(), w.sync()) == "26000"
    c.ask(w.parse("SELECT 2", "n"), w.sync())
    assert run_named(c, "n") == [["2"]]


@pytest.mark.parametrize("clean", ["DEALLOCATE n", "DEALLOCATE ALL", "DISCARD ALL"])
def test_sql_forgets_protocol_statements(world, clean):
    c = world.connect()
    c.ask(w.parse("SELECT 1", "n"), w.sync())
    world.stir()
    c.query(clean)
    world.stir()
    assert code_of(c, w.bind([], "n"), w.execute(), w.sync()) == "26000"
    c.ask(w.parse("SELECT 2", "n"), w.sync())
    assert run_named(c, "n") == [["2"]]


def test_sql_prepare_and_execute(world):
    a, b = world.connect(), world.connect()
    a.query("PREPARE p (int) AS SELECT 'a', $1")
    b.query("PREPARE p (int) AS SELECT 'b', $1")
    for i in range(4):
        world.stir()
        assert a.query(f"EXECUTE p ({i})") == [["a", str(i)]]
        assert b.query(f"EXECUTE p ({i})") == [["b", str(i)]]
    a.query("DEALLOCATE p")
    assert code_of(a, w.query("EXECUTE p (1)")) == "26000"
    assert b.query("EXECUTE p (9)") == [["b", "9"]]


def test_failed_parse_leaves_nothing(world):
    c = world.connect()
    assert code_of(c, w.parse("SELECT * FROM absent_table", "f"), w.sync()) == "42P01"
    assert code_of(c, w.bind([], "f"), w.execute(), w.sync()) == "26000"
    c.ask(w.parse("SELECT 1", "f"), w.sync())
    assert run_named(c, "f") == [["1"]]


def test_same_text_with_other_types(world):
    c = world.connect()
    c.ask(w.parse("SELECT pg_typeof($1)::text", "i", [23]), w.parse("SELECT pg_typeof($1)::text", "t", [25]),
          w.sync())
    for _ in range(3):
        world.stir()
        assert run_named(c, "i", "1") == [["integer"]] and run_named(c, "t", "1") == [["text"]]


def test_statement_is_analysed_in_its_clients_search_path(world, pg):
    pg.sql("CREATE SCHEMA IF NOT EXISTS s1; CREATE SCHEMA IF NOT EXISTS s2; "
           "CREATE OR REPLACE VIEW s1.v AS SELECT 'one' AS a; CREATE OR REPLACE VIEW s2.v AS SELECT 'two' AS a;"
           "GRANT USAGE ON SCHEMA s1, s2 TO app; GRANT SELECT ON s1.v, s2.v TO app", DB)
    a, b = world.connect(), world.connect()
    for c, schema in ((a, "s1"), (b, "s2")):
        c.query(f"SET search_path = {schema}")
        c.ask(w.parse("SELECT a FROM v", "v"), w.sync())
    for _ in range(3):
        world.stir()
        assert run_named(a, "v") == [["one"]] and run_named(b, "v") == [["two"]]


def test_a_thousand_statements_prepared_and_closed(world):
    c = world.connect()
    for i in range(0, 1000, 50):
        msgs = c.ask(*(w.parse(f"SELECT {n}, $1::int", f"s{n}") for n in range(i, i + 50)), w.sync())
        assert not w.errors_of(msgs)
    world.stir()
    for n in (0, 500, 999, 0):
        assert run_named(c, f"s{n}", "5") == [[str(n), "5"]]
    c.ask(*(w.close(f"s{n}") for n in range(1000)), w.sync())
    if world.proxy:
        assert int(c.value("SELECT count(*) FROM pg_prepared_statements")) <= 200


def test_ddl_between_two_runs_of_a_statement(world):
    a, b = world.connect(), world.connect()
    b.query("DROP TABLE IF EXISTS altered")
    b.query("CREATE TABLE altered AS SELECT 1 AS x")
    a.ask(w.parse("SELECT * FROM altered", "d"), w.sync())
    assert run_named(a, "d") == [["1"]]
    b.query("ALTER TABLE altered ADD COLUMN y int DEFAULT 2")
    if world.proxy:         # PostgreSQL itself answers "cached plan must not change result type"
        for _ in range(4):
            world.stir()
            assert run_named(a, "d") == [["1", "2"]]
    b.query("DROP TABLE altered")


def test_ddl_after_a_description_is_not_hidden(pg, proxy):
    """Who was told the columns decodes by them: other rows must not come without a word."""
    p = proxy(pg, pool_size=1)
    a, b = p.connect(USER, SECRET, DB), p.connect(USER, SECRET, DB)
    b.query("DROP TABLE IF EXISTS shape")
    b.query("CREATE TABLE shape AS SELECT 1 AS x")
    a.ask(w.parse("SELECT * FROM shape", "d1"), w.describe("d1"), w.sync())
    assert run_named(a, "d1") == [["1"]]
    b.query("ALTER TABLE shape ADD COLUMN y int DEFAULT 2")
    assert code_of(a, w.bind([], "d1"), w.execute(), w.sync()) == "0A000"
    a.ask(w.close("d1"), w.parse("SELECT * FROM shape", "d2"), w.describe("d2"), w.sync())
    assert run_named(a, "d2") == [["1", "2"]]
    b.query("DROP TABLE shape")
    a.close()
    b.close()


def test_short_time_limit_of_the_session_strikes_statements_only(world):
    c = world.connect()
    c.query("SET statement_timeout = 40")
    for _ in range(5):
        c.query("DO $$ BEGIN PERFORM 1; END $$")
        assert code_of(c, w.query("SELECT pg_sleep(1)")) == "57014"
        same(world, c, "SHOW statement_timeout", "40ms", times=1)
    c.query("SET statement_timeout = 0")
    same(world, c, "SHOW statement_timeout", "0")


def test_errors_of_helpers_are_raised():
    """The helpers above would pass silently if errors were swallowed."""
    with pytest.raises(ServerError):
        w.rows_of([w.Msg("E", {"C": "XX000", "M": "x"}, b"")])
