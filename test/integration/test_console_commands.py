"""The console's commands: what they do to running clients, who may give them, and both protocols."""
import asyncio
import threading

import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.penstock import ADMIN, ADMIN_SECRET, STATS, STATS_SECRET, Console
from support.pgwire import ServerError, dicts_of, errors_of, types_of
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only

ADMIN_COMMANDS = [
    "SET query_timeout = 5", "RELOAD", "PAUSE", "PAUSE app", "RESUME", "RESUME app", "SUSPEND", "UPGRADE", "DISABLE app",
    "ENABLE app", "RECONNECT", "RECONNECT app", "WAIT_CLOSE", "KILL", "KILL app", "KILL_CLIENT 1",
    "SHUTDOWN", "SHUTDOWN WAIT_FOR_CLIENTS", "SHUTDOWN WAIT_FOR_SERVERS", "SHOW FDS",
]
STATS_COUNTS = ("server_assignment_count xact_count query_count received sent xact_time query_time wait_time "
                "client_parse_count server_parse_count bind_count").split()
TEXT, INT4, INT8, NUMERIC = 25, 23, 20, 1700


class Background:
    """A console command that does not answer at once."""

    def __init__(self, p, command):
        self.con, self.msgs = p.console(), None
        self.thread = threading.Thread(target=self._run, args=(command,), daemon=True)
        self.thread.start()

    def _run(self, command):
        self.msgs = self.con.client.ask(w.query(command))

    def done(self):
        return self.msgs is not None

    def join(self, timeout=10):
        self.thread.join(timeout)
        assert self.msgs is not None, "no answer"
        self.con.close()
        return self.msgs


def fails(con, command):
    with pytest.raises(ServerError) as e:
        con.run(command)
    assert e.value.fields["S"] == "ERROR"
    return e.value.fields


def columns(con, view):
    return [(c["name"], c["oid"]) for m in con.run(f"SHOW {view}") if m.type == "T"
            for c in m.fields["columns"]]


@pytest.fixture
def held(pg, proxy):
    """A proxy with a client in a transaction and one that is idle; yields (proxy, busy, idle)."""
    p = proxy(pg, pool_size=5)
    busy, idle = p.connect(USER, SECRET, DB), p.connect(USER, SECRET, DB)
    idle.query("SELECT 1")
    busy.query("BEGIN")
    yield p, busy, idle
    busy.close()
    idle.close()


@pytest.mark.parametrize("command", ADMIN_COMMANDS)
def test_stats_user_is_refused(pg, proxy, command):
    p = proxy(pg)
    with p.console(STATS, STATS_SECRET) as con:
        assert "admin access needed" in fails(con, command)["M"]
        assert con.query("SHOW STATE") is not None
    with p.connect(USER, SECRET, DB) as c:
        assert c.value("SELECT 1") == "1"


def test_login_reports_the_documented_settings_in_order(pg, proxy):
    p = proxy(pg)
    with w.RawClient(p.port) as c:
        msgs = c.start(ADMIN, ADMIN_SECRET, "pgbouncer")
        got = [(m.fields["name"], m.fields["value"]) for m in msgs if m.type == "S"]
    assert got == [("server_version", "1.25.2/bouncer"), ("client_encoding", "UTF8"),
                   ("server_encoding", "UTF8"), ("DateStyle", "ISO"), ("TimeZone", "GMT"),
                   ("standard_conforming_strings", "on"), ("is_superuser", "on")]


def test_types_and_names_of_columns(pg, proxy):
    p = proxy(pg)
    with p.console() as con:
        assert [t for n, t in columns(con, "POOLS")][:4] == [TEXT, TEXT, INT4, INT4]
        assert columns(con, "DNS_HOSTS") == [("hostname", TEXT), ("ttl", INT8), ("addrs", TEXT)]
        stats = columns(con, "STATS")
        assert {t for n, t in stats[1:]} == {NUMERIC}
        avg = ["avg_" + {"received": "recv"}.get(n, n) for n in STATS_COUNTS]
        assert [n for n, t in stats] == (["database"] + ["total_" + n for n in STATS_COUNTS] + avg +
                                         ["total_client_login_count", "avg_client_login_count"] +
                                         [f"{a}_{n}_count" for n in ("shared", "repeated", "unshared")
                                          for a in ("total", "avg")])
        clients = [n for n, t in columns(con, "CLIENTS")]
        assert clients[20:] == ["id", "worker", "pins", "in_flight", "node"]
        assert dict(columns(con, "CLIENTS"))["pins"] == TEXT
        assert [r["name"] for r in con.query("SHOW MEM")][:3] == ["user_cache", "credentials_cache",
                                                                  "db_cache"]
        assert [r["list"] for r in con.query("SHOW LISTS")] == (
            "databases users peers pools peer_pools free_clients used_clients login_clients free_servers "
            "used_servers dns_names dns_zones dns_queries dns_pending").split()
        totals = [r["name"] for r in con.query("SHOW TOTALS")]
        assert totals[:5] == ["total_server_assignment_count", "total_xact_count", "total_query_count",
                              "total_client_bytes", "total_server_bytes"]


def test_help_is_a_notice_and_no_rows(pg, proxy):
    with proxy(pg).console() as con:
        msgs = con.run("SHOW HELP")
        assert types_of(msgs) == "NCZ"
        assert msgs[0].fields["M"] == "Console usage" and "WAIT_CLOSE" in msgs[0].fields["D"]
        assert msgs[0].fields["C"] == "00000"


def test_settings_of_noisy_drivers_are_faked(pg, proxy):
    p = proxy(pg)
    with p.console(STATS, STATS_SECRET) as con:
        assert con.query("SHOW client_encoding") == [{"client_encoding": "UTF8"}]
        assert con.query("SHOW TimeZone") == [{"timezone": "GMT"}]
        msgs = con.run("SET DateStyle TO 'ISO'")
        assert types_of(msgs) == "NCZ" and msgs[0].fields["M"] == "SET ignored"


def test_errors_have_the_documented_code(pg, proxy):
    p = proxy(pg)
    with p.console() as con:
        assert fails(con, "frobnicate")["C"] == "08P01"
        assert fails(con, "frobnicate")["M"] == "invalid command 'frobnicate', use SHOW HELP;"
        assert fails(con, "RESUME")["M"] == "pooler is not paused/suspended"
        assert fails(con, "RESUME app")["M"] == "database app is not paused"
        assert fails(con, "KILL_CLIENT 123456789")["M"] == "client not found"
        assert fails(con, "SET pool_mode = nonsense")["M"].startswith("SET failed")
        assert fails(con, "SET listen_port = 1")["M"].startswith("SET failed")
        assert fails(con, "PAUSE pgbouncer")["C"] == "08P01"
        assert fails(con, "SHOW FDS")["C"] == "08P01"


def test_unknown_database_is_an_error(pg, proxy):
    p = proxy(databases={"app": {"host": pg.host, "port": pg.port}})
    with p.console() as con:
        for command in ("PAUSE", "RESUME", "DISABLE", "ENABLE", "RECONNECT", "KILL", "WAIT_CLOSE"):
            assert fails(con, f"{command} nosuch")["M"] == "no such database: nosuch"


# ---- holding ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("scope", ["", " app"])
def test_pause_waits_for_transactions_and_holds_requests(held, scope):
    p, busy, idle = held
    pause = Background(p, "PAUSE" + scope)
    wait_for(lambda: p.pool(DB)["sv_idle"] == 0)
    assert not pause.done()
    idle.send(w.query("SELECT 2"))
    assert busy.value("SELECT 7") == "7"
    busy.query("COMMIT")
    assert types_of(pause.join()) == "CZ"
    assert idle.quiet(0.2)
    states = {r["key"]: r["value"] for r in p.show("STATE")}
    assert states["paused"] == ("no" if scope else "yes")
    if scope:
        assert [r["paused"] for r in p.show("DATABASES") if r["name"] == DB] == ["1"]
    with p.console() as con:
        assert "paused" in fails(con, "PAUSE" + scope)["M"]
        con.run("RESUME" + scope)
    assert w.rows_of(idle.read_until()) == [["2"]]


def test_pause_of_all_holds_databases_that_come_later(pg, proxy):
    p = proxy(pg)
    with p.connect(USER, SECRET, DB) as warm:
        warm.query("SELECT 1")
        with p.console() as con:
            con.run("PAUSE")
        with w.RawClient(p.port) as late:
            late.send(w.startup_packet([("user", USER), ("database", "second")]))
            thread = threading.Thread(target=late.finish_login, args=(USER, SECRET), daemon=True)
            thread.start()
            assert wait_for(lambda: (p.pool("second") or {}).get("cl_waiting") == 1)
            with p.console() as con:
                con.run("RESUME")
            thread.join(10)
            assert late.value("SELECT 3") == "3"


def test_cancelled_pause_resumes(held):
    p, busy, idle = held
    pause = Background(p, "PAUSE")
    wait_for(lambda: p.show("STATE")[1]["value"] == "yes")
    pause.con.client.cancel()
    msgs = pause.join()
    assert errors_of(msgs)[0]["C"] == "57014" and types_of(msgs)[-1] == "Z"
    assert p.show("STATE")[1]["value"] == "no"
    assert idle.value("SELECT 4") == "4"


def test_resume_ends_a_pause_that_waits(held):
    p, busy, idle = held
    pause = Background(p, "PAUSE")
    wait_for(lambda: p.show("STATE")[1]["value"] == "yes")
    with p.console() as con:
        con.run("RESUME")
    assert errors_of(pause.join())
    assert idle.value("SELECT 4") == "4"


def test_signals_pause_and_resume(held):
    import signal
    p, busy, idle = held
    busy.query("COMMIT")
    p.child.send_signal(signal.SIGUSR1)
    wait_for(lambda: p.show("STATE")[1]["value"] == "yes")
    wait_for(lambda: not p.show("SERVERS"))
    idle.send(w.query("SELECT 5"))
    assert idle.quiet(0.2)
    p.child.send_signal(signal.SIGUSR2)
    assert w.rows_of(idle.read_until()) == [["5"]]


def test_suspend_stops_clients_and_ends_with_its_console(held):
    p, busy, idle = held
    con = p.console()
    con.run("SUSPEND")
    assert con.query("SHOW STATE")[2] == {"key": "suspended", "value": "yes"}
    idle.send(w.query("SELECT 6"))
    assert idle.quiet(0.2)
    con.close()
    assert w.rows_of(idle.read_until()) == [["6"]]
    assert p.show("STATE")[2]["value"] == "no"


def test_suspend_leaves_new_clients_in_the_queue(held):
    p, busy, idle = held
    with p.console() as con:
        con.run("SUSPEND")
        with w.RawClient(p.port) as late:
            late.send(w.startup_packet([("user", USER), ("database", DB)]))
            assert late.quiet(0.2)
            con.run("RESUME")
            late.finish_login(USER, SECRET)
            assert late.value("SELECT 1") == "1"


def test_cancelled_wait_close_changes_nothing(held):
    p, busy, idle = held
    with p.console() as con:
        con.run("RECONNECT")
    waits = Background(p, "WAIT_CLOSE")
    assert idle.value("SELECT 4") == "4"
    assert not waits.done()
    waits.con.client.cancel()
    assert errors_of(waits.join())[0]["C"] == "57014"
    assert busy.value("SELECT 5") == "5"


def test_suspend_and_resume_by_the_same_console(held):
    p, busy, idle = held
    with p.console() as con:
        con.run("SUSPEND")
        assert "suspended" in fails(con, "PAUSE")["M"]
        con.run("RESUME")
        assert busy.value("SELECT 8") == "8"


def test_disabled_database_refuses_logins_only(held):
    p, busy, idle = held
    with p.console() as con:
        con.run(f"DISABLE {DB}")
        with pytest.raises(ServerError):
            p.connect(USER, SECRET, DB)
        assert idle.value("SELECT 9") == "9"
        assert [r["disabled"] for r in con.query("SHOW DATABASES") if r["name"] == DB] == ["1"]
        con.run(f"ENABLE {DB}")
    with p.connect(USER, SECRET, DB) as c:
        assert c.value("SELECT 1") == "1"


def pids(p):
    return {r["remote_pid"] for r in p.show("SERVERS") if r["database"] == DB}


def test_reconnect_replaces_every_server_and_wait_close_waits(held):
    p, busy, idle = held
    before = pids(p)
    own = busy.value("SELECT pg_backend_pid()")
    assert before and own in before
    with p.console() as con:
        con.run("RECONNECT")
    wait_for(lambda: pids(p) == {own})      # one may have been at work for the proxy itself
    assert [r["close_needed"] for r in p.show("SERVERS") if r["remote_pid"] == own] == ["1"]
    waits = Background(p, f"WAIT_CLOSE {DB}")
    assert idle.value("SELECT pg_backend_pid()") not in before
    assert not waits.done()
    busy.query("COMMIT")
    assert types_of(waits.join()) == "CZ"
    assert own not in pids(p)
    assert busy.value("SELECT pg_backend_pid()") not in before


def test_kill_drops_clients_and_leaves_it_paused(held):
    p, busy, idle = held
    with p.console() as con:
        con.run(f"KILL {DB}")
        assert [m.fields["M"] for m in idle.read_to_end() if m.type == "E"] == ["database removed"]
        assert not [r for r in con.query("SHOW SERVERS") if r["database"] == DB]
        assert [r["paused"] for r in con.query("SHOW DATABASES") if r["name"] == DB] == ["1"]
        con.run(f"RESUME {DB}")
    with p.connect(USER, SECRET, DB) as c:
        assert c.value("SELECT 1") == "1"


def test_kill_of_all(held):
    p, busy, idle = held
    with p.console() as con:
        con.run("KILL")
        assert [m.type for m in busy.read_to_end()] == ["E"]
        con.run("RESUME")
    with p.connect(USER, SECRET, DB) as c:
        assert c.value("SELECT 1") == "1"


def test_kill_client_hits_the_one(held):
    p, busy, idle = held
    own = busy.value("SELECT pg_backend_pid()")
    rows = p.show("CLIENTS")
    link = [r["ptr"] for r in p.show("SERVERS") if r["remote_pid"] == own]
    victim = [r for r in rows if r["link"] and r["link"] in link]
    assert len(victim) == 1 and victim[0]["pins"] == "transaction" and victim[0]["state"] == "active"
    with p.console() as con:
        con.run(f"KILL_CLIENT {victim[0]['id']}")
    error = busy.read_to_end()[-1].fields
    assert error["S"] == "FATAL" and error["M"] == "admin forced disconnect"
    assert idle.value("SELECT 1") == "1"


# ---- configuration and the end ---------------------------------------------------------------------

def test_reload_takes_new_values_and_refuses_bad_ones(pg, proxy):
    p = proxy(pg)
    with p.connect(USER, SECRET, DB) as c, p.console() as con:
        c.query("SELECT 1")
        p.config["query_wait_timeout"] = 17
        p.write()
        con.run("RELOAD")
        value = {r["key"]: r["value"] for r in con.query("SHOW CONFIG")}
        assert value["query_wait_timeout"] == "17"
        p.config["query_wait_timeout"] = "nonsense"
        p.write()
        assert fails(con, "RELOAD") == {
            **fails(con, "RELOAD"), "C": "F0000", "M": "RELOAD failed, see logs for additional details"}
        assert c.value("SELECT 2") == "2"


def test_the_ldap_password_is_for_administrators(pg, proxy):
    p = proxy(pg, config={"auth_ldap_options": "ldapurl=ldap://x ldapbindpasswd=hush"})
    for user, secret, shown in ((ADMIN, ADMIN_SECRET, True), (STATS, STATS_SECRET, False)):
        with p.console(user, secret) as con:
            value = {r["key"]: r["value"] for r in con.query("SHOW CONFIG")}["auth_ldap_options"]
            assert ("hush" in value) == shown and value


def test_tag_of_set(pg, proxy):
    with proxy(pg).console() as con:
        tags = [m.fields["tag"] for m in con.run("SET server_check_query = 'select 1'") if m.type == "C"]
        assert tags == ["SET server_check_query=select 1"]


def test_shutdown_ends_the_process(pg, proxy):
    p = proxy(pg)
    with p.console() as con:
        con.client.send(w.query("SHUTDOWN"))
        assert con.client.recv_all() == b""
    assert p.child.wait(10) == 0


def test_shutdown_wait_for_clients_waits(pg, proxy):
    p = proxy(pg)
    c = p.connect(USER, SECRET, DB)
    with p.console() as con:
        assert types_of(con.run("SHUTDOWN WAIT_FOR_CLIENTS")) == "CZ"
        assert fails(con, "RESUME")["M"] == "pooler is shutting down"
    assert c.value("SELECT 1") == "1"
    assert p.alive()
    c.close()
    assert p.child.wait(10) == 0


# ---- extended protocol -----------------------------------------------------------------------------

def test_pipelined_commands_are_answered_in_order(pg, proxy):
    with proxy(pg).console() as con:
        c = con.client
        msgs = c.ask(w.parse("SHOW VERSION", "v"), w.describe("v"), w.bind(name="v"), w.execute(),
                     w.bind(name="v"), w.describe("", "P"), w.execute(), w.close("v"), w.sync(),
                     w.query("SHOW STATE"), count=2)
        assert types_of(msgs) == "1tT2DC2TDC3ZTDDDCZ"


def test_errors_skip_to_sync_and_names_are_kept_as_postgresql_does(pg, proxy):
    with proxy(pg).console() as con:
        c = con.client
        msgs = c.ask(w.parse("frob", "x"), w.bind(name="x"), w.execute(), w.sync())
        assert types_of(msgs) == "EZ"
        c.send(w.parse("frob", "x"), w.flush())
        assert c.read().type == "E"
        c.send(w.bind(name="x"), w.execute(), w.flush(), w.sync())
        assert types_of(c.read_until()) == "Z"
        c.ask(w.parse("SHOW STATE", "x"), w.sync())
        assert errors_of(c.ask(w.parse("SHOW STATE", "x"), w.sync()))[0]["C"] == "42P05"
        assert errors_of(c.ask(w.bind(name="y"), w.sync()))[0]["C"] == "26000"
        assert errors_of(c.ask(w.execute("nope"), w.sync()))[0]["C"] == "34000"
        msgs = c.ask(w.bind(name="x"), w.execute(), w.sync())
        assert types_of(msgs) == "2DDDCZ"
        msgs = c.ask(w.parse("SET query_timeout = 7"), w.bind(), w.describe("", "P"), w.execute(), w.sync())
        assert types_of(msgs) == "12nCZ"


def test_commands_split_at_every_byte(pg, proxy):
    with proxy(pg).console() as con:
        data = w.query("SHOW STATE") + w.parse("SHOW STATE") + w.bind() + w.execute() + w.sync()
        for cut in range(1, len(data), 3):
            con.client.send_split(data, cut)
            assert types_of(con.client.read_until(count=2)) == "TDDDCZ12DDDCZ"


def test_long_texts_are_refused_and_the_session_goes_on(pg, proxy):
    with proxy(pg).console() as con:
        c = con.client
        assert types_of(c.ask(w.query("SHOW " + "x" * 200000))) == "EZ"
        assert types_of(c.ask(w.parse("SHOW " + "x" * 200000), w.bind(), w.execute(), w.sync())) == "EZ"
        assert types_of(c.ask(w.query("SHOW STATE"))) == "TDDDCZ"


def test_statements_are_bounded(pg, proxy):
    with proxy(pg).console() as con:
        c = con.client
        errors = [errors_of(c.ask(w.parse("SHOW STATE", f"s{i}"), w.sync())) for i in range(250)]
        assert not errors[100] and errors[249]
        assert types_of(c.ask(w.close("s1"), w.parse("SHOW STATE", "again"), w.sync())) == "31Z"


def test_real_drivers(pg, proxy):
    psycopg, asyncpg = pytest.importorskip("psycopg"), pytest.importorskip("asyncpg")
    p = proxy(pg)
    with p.connect(USER, SECRET, DB) as c:
        c.query("SELECT 1")
        kw = dict(host="127.0.0.1", port=p.port, user=ADMIN, password=ADMIN_SECRET)
        with psycopg.connect(dbname="pgbouncer", autocommit=True, **kw) as con:
            for prepare in (False, True, True):
                cur = con.execute("SHOW POOLS", prepare=prepare)
                assert DB in [r[0] for r in cur.fetchall()]
        with psycopg.connect(dbname="pgbouncer", autocommit=True, **kw) as con:
            cur = con.cursor(binary=True)
            cur.execute("SHOW POOLS", prepare=True)
            assert DB in [r[0] for r in cur.fetchall()]

        async def run():
            con = await asyncpg.connect(database="pgbouncer", **kw)
            rows = await con.fetch("SHOW POOLS")
            with pytest.raises(asyncpg.PostgresError):
                await con.fetch("SHOW NOTHING")
            again = await con.fetch("SHOW POOLS")
            await con.close()
            return rows, again
        rows, again = asyncio.run(run())
        row = {r["database"]: r for r in rows}[DB]
        assert int(row["cl_active"]) == 1 and len(again) == len(rows)


# ---- while clients come and go ---------------------------------------------------------------------

@pytest.mark.parametrize("workers", [1, 4])
def test_views_work_while_clients_come_and_go(pg, proxy, workers):
    p = proxy(pg, pool_size=4, config={"workers": workers})
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            with p.connect(USER, SECRET, DB) as c:
                for _ in range(5):
                    c.query("SELECT 1")

    threads = [threading.Thread(target=churn, daemon=True) for _ in range(6)]
    for t in threads:
        t.start()
    try:
        with p.console() as con:
            for _ in range(15):
                for view in ("CLIENTS", "SERVERS", "SOCKETS", "POOLS", "STATS", "LISTS", "MEM", "WORKERS",
                             "DATABASES", "USERS", "TOTALS", "ACTIVE_SOCKETS"):
                    assert con.query(f"SHOW {view}") is not None
                con.run("RECONNECT")
    finally:
        stop.set()
        for t in threads:
            t.join(10)
    wait_for(lambda: p.pool(DB)["cl_active"] == 0)
    lists = {r["list"]: int(r["items"]) for r in p.show("LISTS")}
    assert lists["used_clients"] == 1
    assert len(p.show("WORKERS")) == workers


def test_averages_and_the_statistics_line(pg, proxy):
    p = proxy(pg, config={"stats_period": 1})
    with p.connect(USER, SECRET, DB) as c:
        def some():
            c.query("SELECT 1")
            row = [r for r in p.show("STATS") if r["database"] == DB][0]
            return int(row["avg_query_count"]) > 0 and int(row["avg_query_time"]) > 0
        wait_for(some, 10)
    p.wait_log("stats: ")
    assert "queries/s" in p.log_text()


def test_console_names_are_its_own(pg, proxy):
    p = proxy(pg)
    with Console(p.port, ADMIN, ADMIN_SECRET, "penstock", p.host) as con:
        rows = dicts_of(con.run("SHOW CLIENTS"))
        assert [r["database"] for r in rows] == ["pgbouncer"]
        assert [r["name"] for r in con.query("SHOW DATABASES")] == ["pgbouncer"]
