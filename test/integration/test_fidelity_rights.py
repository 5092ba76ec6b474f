"""Settings that were set with other rights, refused, committed before an error, or reset by who has left.

What a client has is what a direct connection would have, and nobody's connection ends because of another's.
"""
import pytest
from test_fidelity import code_of

from support import pgwire as w
from support.common import DB, SECRET, USER

pytestmark = pytest.mark.penstock_only

CONFLICT = "SET plpgsql.variable_conflict = 'use_column'"
SHOWN = "SELECT current_setting('plpgsql.variable_conflict'), current_setting('log_statement')"


def extended(sql, params=()):
    return w.parse(sql) + w.bind(params) + w.execute() + w.sync()


def two(p, **params):
    """The client that is looked at, and one that comes in between on the one server."""
    return p.connect(USER, SECRET, DB, **params), p.connect(USER, SECRET, DB)


@pytest.mark.parametrize("steps", [
    ["SET ROLE strong", CONFLICT, "RESET plpgsql.variable_conflict", "RESET ROLE"],
    ["SET ROLE strong", CONFLICT, "RESET ALL", "RESET ROLE"],
    ["BEGIN", "SET LOCAL ROLE strong", CONFLICT, "ROLLBACK"],
    ["BEGIN", "SAVEPOINT s", extended(CONFLICT), "ROLLBACK TO s", "COMMIT"],
    [extended(CONFLICT)],
    [extended("SELECT set_config($1, 'use_column', false)", ["plpgsql.variable_conflict"])],
], ids=("reset", "reset all", "rolled back", "savepoint", "refused", "bound"))
def test_setting_of_a_library_that_was_refused_is_nobodys_wish(rights, proxy, steps):
    a, b = two(proxy(rights, pool_size=1))
    b.query("DO $$ BEGIN PERFORM 1; END $$")        # loads the library
    for step in steps:
        a.ask(step if isinstance(step, bytes) else w.query(step))
    assert b.query(SHOWN) == [["error", "none"]]
    b.query("SET work_mem = '1MB'")
    assert a.query(SHOWN) == [["error", "none"]]


@pytest.mark.parametrize("steps", [
    ["SET ROLE strong", "SET log_statement = 'all'", "LISTEN news"],
    ["BEGIN", "SET LOCAL ROLE strong", "SET log_statement = 'all'", "COMMIT", "LISTEN news"],
    ["BEGIN", "SET LOCAL ROLE strong", "SET log_statement = 'all'", "LISTEN news", "COMMIT"],
], ids=("role", "transaction", "within"))
def test_who_has_set_with_other_rights_may_listen(rights, proxy, steps):
    a, b = two(proxy(rights, pool_size=1))
    b.query("SELECT 1")
    for step in steps:
        a.query(step)
    b.query("NOTIFY news, 'x'")
    assert b.value("SHOW log_statement") == "none"
    assert a.read_until("A")[-1].fields["payload"] == "x"


@pytest.mark.parametrize("texts", [
    ["BEGIN; SET app.x = '1'; COMMIT; SELECT 1/0"],
    ["BEGIN", "SAVEPOINT s", "SET app.x = '1'; SAVEPOINT t; SELECT 1/0", "ROLLBACK TO t", "COMMIT"],
], ids=("committed", "savepoint"))
def test_what_was_set_before_an_error_in_the_same_text_stays(pg, proxy, texts):
    a, b = two(proxy(pg, pool_size=1))
    for text in texts:
        assert code_of(a, w.query(text)) in (None, "22012")
    b.query("SET work_mem = '1MB'")
    b.query("SELECT 1")
    assert a.value("SELECT current_setting('app.x', true)") == "1"


def test_failed_reset_takes_nothing_away(pg, proxy):
    a, b = two(proxy(pg, pool_size=1), options="-c statement_timeout=5000 -c app.tenant=came")
    a.query("SET app.tenant = ''")
    a.query("SET statement_timeout = 0")
    assert code_of(a, w.query("RESET statement_timeout; RESET app.tenant; SELECT 1/0")) == "22012"
    b.query("SET work_mem = '1MB'")
    assert a.query("SELECT current_setting('app.tenant'), current_setting('statement_timeout')") == [["", "0"]]


@pytest.mark.parametrize("how", ["RESET ALL", "RESET statement_timeout"])
def test_reset_of_a_client_that_leaves_is_not_the_next_ones(pg, proxy, how):
    b, a = two(proxy(pg, pool_size=1), options="-c statement_timeout=5000")
    b.query("SET statement_timeout = 0")
    a.query("BEGIN")
    a.query(how)
    a.close()
    assert b.value("SHOW statement_timeout") == "0"
    b.query("DO $$ BEGIN END $$")
    assert b.value("SHOW statement_timeout") == "0"
