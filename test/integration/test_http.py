"""The HTTP port: what it says, to whom, and that nothing sent to it does harm."""
import contextlib
import glob
import os
import re
import socket
import time

import pytest

from support import pgwire as w
from support import procs
from support.common import DB, SECRET, USER
from support.pgwire import ServerError
from support.penstock import ADMIN, ADMIN_SECRET, STATS, STATS_SECRET

pytestmark = pytest.mark.penstock_only

ROOT = os.path.dirname(procs.BUILD)


@pytest.fixture
def watched(pg, proxy, http):
    """A proxy with a client in a transaction, an idle one and one that waits; and its port."""
    p = proxy(pg, pool_size=1, config=http.config())
    held, idle, waiting = (p.connect(USER, SECRET, DB) for _ in range(3))
    idle.query("SELECT 1")
    held.query("BEGIN")
    waiting.send(w.query("SELECT 1"))
    procs.wait_for(lambda: p.pool(DB)["cl_waiting"] == 1)
    yield p
    held.query("COMMIT")
    waiting.read_until()
    for c in (held, idle, waiting):
        c.close()


def documented():
    """Name -> (type, labels) of docs/metrics.md."""
    with open(os.path.join(ROOT, "docs", "metrics.md")) as f:
        rows = re.findall(r"^\| ((?:penstock|process)_\w+) \| (\w+) \| ([\w, ]*) \|", f.read(), re.M)
    return {name: (kind, set(filter(None, labels.split(", ")))) for name, kind, labels in rows}


def only_in_clusters(name):
    return {"node"} if name.startswith("penstock_pool_") else set()


# ---- /metrics ---------------------------------------------------------------------------------------

def test_every_metric_is_documented_and_every_documented_one_is_there(watched, http):
    suffix = {"counter": "_total", "info": "_info"}
    scrape = http.scrape()
    there = {name + suffix.get(f.type, ""): f for name, f in scrape.families.items()}
    told = documented()
    assert set(there) == set(told)
    for name, f in there.items():
        assert f.type == told[name][0]
        for s in f.samples:
            assert set(s.labels) - {"le"} == told[name][1] - only_in_clusters(name), s


def test_the_page_is_openmetrics_by_its_headers_too(watched, http):
    status, headers, body = http.ask("/metrics")
    assert status == 200
    assert headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body.endswith("# EOF\n")


def test_gauges_equal_show_pools(watched, http):
    pool, scrape = watched.pool(DB), http.scrape()
    of = dict(database=DB, user=USER)
    clients = {s.labels["state"]: s.value for s in scrape.all("penstock_pool_clients", **of)}
    servers = {s.labels["state"]: s.value for s in scrape.all("penstock_pool_servers", **of)}
    assert clients == {"idle": 1, "waiting": 1, "active": 0, "sharing": 0, "holding": 1}
    assert pool["cl_active"] == sum(clients.values()) - clients["waiting"]
    assert pool["cl_waiting"] == clients["waiting"]
    assert pool["sv_active"] == servers["active"] + servers["shared"] == 1
    assert pool["sv_idle"] == servers["idle"] == 0
    assert scrape.get("penstock_pool_servers_limit", **of) == 1
    assert scrape.get("penstock_pool_pinned_servers", reason="transaction", **of) == 1
    assert scrape.get("penstock_pool_idle_in_transaction", **of) == 1
    assert scrape.get("penstock_pool_oldest_wait_seconds", **of) > 0
    assert scrape.get("penstock_pool_longest_transaction_seconds", **of) > 0
    assert scrape.get("penstock_clients") == 3
    assert scrape.get("penstock_database_clients", database=DB) == 3


def test_counters_equal_show_stats(watched, http):
    scrape = http.scrape()
    row = next(r for r in watched.show("STATS") if r["database"] == DB)
    names = {"server_assignment_count": "server_assignments", "xact_count": "transactions",
             "query_count": "queries", "received": "client_received_bytes",
             "sent": "server_received_bytes", "client_login_count": "client_logins"}
    for column, metric in names.items():
        assert int(row["total_" + column]) == scrape.sum(f"penstock_pool_{metric}_total", database=DB) > 0
    for column in ("xact", "query", "wait"):
        name = {"xact": "transaction"}.get(column, column)
        assert int(row[f"total_{column}_time"]) == round(
            scrape.sum(f"penstock_pool_{name}_time_seconds_total", database=DB) * 1e6)


def test_bytes_are_those_of_clients_and_of_servers(pg, proxy):
    p = proxy(pg, config={"workers": 2})
    before = totals(p)
    with p.connect(USER, SECRET, DB) as c:
        c.query("SELECT '" + "x" * 20000 + "' = ''")
        c.query("SELECT repeat('y', 50000)")
        during = totals(p)
    assert 20000 < during["received"] - before["received"] < 22000
    assert during["sent"] - before["sent"] > 50000
    procs.wait_for(lambda: p.pool(DB)["cl_active"] == 0)
    assert totals(p)["received"] >= during["received"]


def totals(p):
    rows = [r for r in p.show("STATS") if r["database"] == DB]
    return {k: int(rows[0]["total_" + k]) if rows else 0 for k in ("received", "sent", "query_count")}


def test_counters_survive_the_pool_that_counted(pg, proxy, http):
    p = proxy(pg, config=http.config(pool_idle_timeout=1, server_idle_timeout=1))
    with p.connect(USER, SECRET, DB) as c:
        for _ in range(5):
            c.query("SELECT 1")
    before = totals(p)
    assert before["query_count"] == 5
    procs.wait_for(lambda: p.pool(DB) is None, 20)
    after = totals(p)           # the catalog of the database may still have been on its way
    assert after.pop("sent") >= before.pop("sent") > 0 and after == before
    with p.connect(USER, SECRET, DB) as c:
        c.query("SELECT 1")
        assert http.scrape().get("penstock_pool_queries_total", database=DB, user=USER) == 6


def test_histograms_hold_every_wait_request_and_transaction(pg, proxy, http):
    p = proxy(pg, pool_size=1, config=http.config())
    with p.connect(USER, SECRET, DB) as c:
        for _ in range(20):
            c.query("SELECT 1")
        c.query("SELECT pg_sleep(0.1)")
        c.query("BEGIN")
        c.query("SELECT pg_sleep(0.05)")
        with p.connect(USER, SECRET, DB) as late:
            late.send(w.query("SELECT 1"))
            procs.wait_for(lambda: p.pool(DB)["cl_waiting"] == 1)
            c.query("COMMIT")
            late.read_until()
    scrape, of = http.scrape(), dict(database=DB, user=USER)
    for name, counter, n in (("query", "query_time", 25), ("transaction", "transaction_time", 23),
                             ("wait", "wait_time", 23)):
        assert scrape.get(f"penstock_pool_{name}_seconds_count", **of) == n, name
        total = scrape.get(f"penstock_pool_{counter}_seconds_total", **of)
        assert scrape.get(f"penstock_pool_{name}_seconds_sum", **of) == total
    quick = scrape.get("penstock_pool_query_seconds_bucket", le="0.032768", **of)
    slow = scrape.get("penstock_pool_query_seconds_bucket", le="16.777216", **of)
    assert quick <= 23 and slow == 25
    assert scrape.get("penstock_pool_server_assignments_total", **of) == 23


def test_errors_by_code_and_refusals_by_cause(pg, proxy, http):
    p = proxy(pg, config=http.config(query_timeout=0.2, idle_transaction_timeout=0.2))
    of = dict(database=DB, user=USER)
    with p.connect(USER, SECRET, DB) as c:
        for sql in ("SELECT 1/0", "SELECT 1/0", "SELECT nothing", "SELECT pg_sleep(5)"):
            with pytest.raises(ServerError):
                c.query(sql)
        c.query("BEGIN")
        procs.wait_for(lambda: http.scrape().get("penstock_pool_timeouts_total",
                                                 timeout="idle_transaction", **of) == 1)
    scrape = http.scrape()
    codes = {s.labels["code"]: s.value for s in scrape.all("penstock_pool_errors_total", **of)}
    assert codes == {"22012": 2, "42703": 1, "57014": 1}
    assert scrape.get("penstock_pool_timeouts_total", timeout="query", **of) == 1
    assert scrape.get("penstock_pool_refusals_total", cause="idle_tx_timeout", **of) == 1
    with pytest.raises(ServerError):
        p.connect(USER, "wrong", DB)
    assert http.scrape().get("penstock_worker_refusals_total", cause="auth") == 1


def test_waits_that_end_badly(pg, proxy, http):
    p = proxy(pg, pool_size=1, config=http.config(query_wait_timeout=2))
    of = dict(database=DB, user=USER)
    with p.connect(USER, SECRET, DB) as held, p.connect(USER, SECRET, DB) as c:
        held.query("BEGIN")
        with pytest.raises(ServerError):
            c.query("SELECT 1")
        scrape = http.scrape()
        assert scrape.get("penstock_pool_timeouts_total", timeout="query_wait", **of) == 1
        assert scrape.get("penstock_pool_refusals_total", cause="pool_timeout", **of) == 1
        held.send(w.query("SELECT pg_sleep(60)"))
        procs.wait_for(lambda: p.pool(DB)["in_flight"] == 1)
        held.cancel()
        held.read_until()
        assert http.scrape().get("penstock_pool_cancels_total", **of) == 1
        held.query("ROLLBACK")


def test_connections_to_the_database_that_fail(pg, proxy, http):
    hole = procs.Port()
    p = proxy(databases={DB: {"host": pg.host, "port": pg.port},
                         "second": {"host": "127.0.0.1", "port": hole.number, "user": USER,
                                    "password": SECRET}}, config=http.config())
    p.connect(USER, SECRET, DB).close()
    with pytest.raises(ServerError):
        with p.connect(USER, SECRET, "second") as c:
            c.query("SELECT 1")
    scrape = http.scrape()
    hole.release()
    assert scrape.get("penstock_pool_server_logins_total", database=DB, user=USER) == 1
    assert scrape.get("penstock_pool_failed_server_logins_total", database="second") >= 1
    assert scrape.get("penstock_pool_failing_workers", database="second") == 1


def test_depth_of_shared_servers(pg, proxy, http):
    p = proxy(pg, pool_size=1, config=http.config(multiplex_depth=16))
    clients = [p.connect(USER, SECRET, DB) for _ in range(8)]
    clients[0].query("CREATE TABLE IF NOT EXISTS http_depth (n int)")
    of = dict(database=DB, user=USER)

    def shared():
        for _ in range(20):
            for c in clients:
                c.send(w.query("SELECT n FROM http_depth"))
            for c in clients:
                c.read_until()
        return http.scrape().get("penstock_pool_shared_requests_total", **of) > 0

    procs.wait_for(shared, 30)
    scrape = http.scrape()
    n = scrape.get("penstock_pool_share_depth_count", **of)
    alone = scrape.get("penstock_pool_share_depth_bucket", le="1.0", **of)
    assert n - alone == scrape.get("penstock_pool_shared_requests_total", **of)
    assert n < scrape.get("penstock_pool_share_depth_sum", **of) <= 16 * n
    for c in clients:
        c.close()


def test_process_and_workers(watched, http):
    scrape = http.scrape()
    fds = len(os.listdir(f"/proc/{watched.pid}/fd"))
    assert abs(scrape.get("process_open_fds") - fds) <= 3
    assert 1e6 < scrape.get("process_resident_memory_bytes") < 1e9
    assert scrape.get("process_start_time_seconds") > 1.6e9
    workers = scrape.all("penstock_worker_turns_total")
    assert [s.labels["worker"] for s in workers] == [r["worker"] for r in watched.show("WORKERS")]
    assert scrape.sum("penstock_worker_clients") >= 3


def test_many_scrapes_at_once_are_all_answered_or_refused(watched, http):
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: http.ask("/metrics"), range(120)))
    kinds = {a[0] for a in answers}
    assert kinds <= {200, 503} and 200 in kinds
    assert all(a[2].endswith("# EOF\n") for a in answers if a[0] == 200)


# ---- /healthz, /readyz ------------------------------------------------------------------------------

def test_health_and_readiness_of_a_proxy_that_works(watched, http):
    assert http.text("/healthz") == "ok\n"
    assert http.text("/readyz") == "ready\n"


def test_not_ready_while_paused(pg, proxy, http):
    p = proxy(pg, config=http.config())
    with p.console() as con:
        con.run("PAUSE")
        assert http.ask("/readyz")[::2] == (503, "not ready\npaused\n")
        assert http.status("/healthz") == 200
        con.run("RESUME")
    assert http.status("/readyz") == 200


def test_a_database_that_is_held_is_named_and_the_last_one_counts(pg, proxy, http):
    entry = {"host": pg.host, "port": pg.port}
    p = proxy(databases={DB: entry, "second": entry}, config=http.config())
    with p.console() as con:
        con.run(f"DISABLE {DB}")
        assert http.ask("/readyz")[::2] == (200, f"ready\ndatabase {DB}: disabled\n")
        con.run("DISABLE second")
        status, _, body = http.ask("/readyz")
        assert status == 503 and "database second: disabled" in body


def test_not_ready_while_draining(pg, proxy, http):
    p = proxy(pg, config=http.config())
    with p.connect(USER, SECRET, DB) as c:
        c.query("BEGIN")
        with p.console() as con:
            con.run("SHUTDOWN WAIT_FOR_CLIENTS")
        assert http.ask("/readyz")[::2] == (503, "not ready\ndraining\n")
        assert http.status("/healthz") == 200
        assert http.scrape().get("penstock_draining") == 1
        c.query("COMMIT")
    assert p.child.wait(15) == 0
    p.child = None


def test_not_ready_before_the_database_is_there(pg, proxy, http):
    hole = procs.Port()         # bound, and nobody listens
    p = proxy(databases={DB: {"host": "127.0.0.1", "port": hole.number}}, config=http.config())
    status, _, body = http.ask("/readyz")
    hole.release()
    assert (status, body) == (503, f"not ready\ndatabase {DB}: cannot connect to "
                                   f"127.0.0.1:{hole.number}: Connection refused\n")
    p.databases[DB]["port"] = pg.port
    p.reload()
    procs.wait_for(lambda: http.status("/readyz") == 200)


def test_not_ready_when_full(pg, proxy, http):
    p = proxy(pg, config=http.config(max_client_conn=1))
    with p.connect(USER, SECRET, DB):
        assert http.ask("/readyz")[0] == 503
    procs.wait_for(lambda: http.status("/readyz") == 200)


# ---- who may look -----------------------------------------------------------------------------------

def test_login_of_console_users(pg, proxy, http):
    p = proxy(pg, config=http.config(http_auth=1))
    status, headers, _ = http.ask("/metrics")
    assert status == 401 and headers["www-authenticate"].startswith("Basic ")
    for login in ((STATS, "wrong"), (STATS, ""), ("nobody", STATS_SECRET), (USER, SECRET), ("", "")):
        assert http.ask("/metrics", login=login)[0] == 401, login
    for path in ("/", "/metrics", "/state.json"):
        assert http.ask(path)[0] == 401, path
        for login in ((STATS, STATS_SECRET), (ADMIN, ADMIN_SECRET)):
            assert http.ask(path, login=login)[0] == 200, path
    for header in ("Basic", "Basic !!!", "Bearer abc", "Basic " + "A" * 5000):
        assert http.ask("/metrics", headers={"Authorization": header})[0] == 401
    assert http.status("/healthz") == 200
    with p.console() as con:
        con.run("PAUSE")
        assert http.ask("/readyz")[::2] == (503, "not ready\n")
        assert http.ask("/readyz", login=(STATS, STATS_SECRET))[2] == "not ready\npaused\n"
        con.run("SET http_auth = 0")
        assert http.status("/metrics") == 200


def test_a_second_process_finds_the_port_taken(pg, proxy, http):
    first = proxy(pg, config=http.config())
    assert http.status("/healthz") == 200
    second = proxy(pg, start=False, config=http.config(), check_on_stop=False)
    with contextlib.suppress(RuntimeError):     # its port for clients may have been seen open before it ended
        second.start(timeout=10)
    procs.wait_for(lambda: not second.alive(), 10, "the second process to end")
    assert "http_listen: Address already in use; each process needs a port of its own" in second.log_text()
    assert first.alive() and http.status("/healthz") == 200


def test_a_password_that_was_right_is_not_derived_again(pg, proxy, http):
    p = proxy(pg, config=http.config(http_auth=1))
    good, bad = (STATS, STATS_SECRET), (STATS, STATS_SECRET + "x")

    def used():
        total = 0
        for path in glob.glob(f"/proc/{p.pid}/task/*/schedstat"):
            with open(path) as f:
                total += int(f.read().split()[0])
        return total / 1e9

    def cpu(login, path):
        began = used()
        for _ in range(60):
            http.ask(path, login=login)
        return used() - began

    assert http.ask("/metrics", login=good)[0] == 200
    dear, cheap, health = cpu(bad, "/"), cpu(good, "/"), cpu(bad, "/healthz")
    assert dear > 0.03 and cheap < dear / 2 and health < dear / 2, (dear, cheap, health)
    assert http.ask("/metrics", login=bad)[0] == 401
    with p.console() as con:
        con.run("SET stats_users = nobody")
        assert http.ask("/metrics", login=good)[0] == 401       # another configuration


def test_login_with_a_verifier(pg, proxy, http):
    verifier = pg.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")
    proxy(pg, config=http.config(http_auth=1, stats_users=USER), users={USER: verifier})
    assert http.ask("/metrics", login=(USER, SECRET))[0] == 200
    assert http.ask("/metrics", login=(USER, SECRET + "x"))[0] == 401


@pytest.mark.parametrize("host, status", [("127.0.0.1:1", 200), ("localhost", 200), ("[::1]:80", 200),
                                          ("evil.example", 421), ("evil.example:9127", 421),
                                          ("127.0.0.1.evil.example", 421)])
def test_a_foreign_name_for_this_machine_is_refused(watched, http, host, status):
    assert http.ask("/metrics", headers={"Host": host})[0] == status


def test_nothing_may_be_loaded_or_framed(watched, http):
    for path in ("/metrics", "/healthz", "/nothing"):
        headers = http.ask(path)[1]
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


# ---- what is not understood -------------------------------------------------------------------------

@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "NONSENSE"])
def test_only_get_and_head(watched, http, method):
    status, headers, _ = http.ask("/metrics", method=method)
    assert status == 405 and headers["allow"] == "GET, HEAD"
    assert http.ask("/healthz", method="HEAD")[::2] == (200, "")


def test_unknown_paths(watched, http):
    for path in ("/metrics/", "/../etc/passwd", "/%00", "/metrics%00x", "//metrics", "/METRICS"):
        assert http.status(path) == 404, path
    assert http.status("/healthz?why=not") == 200


BAD = {
    "nothing": b"",
    "blank lines": b"\r\n" * 500,
    "no version": b"GET /metrics\r\n\r\n",
    "binary": bytes(range(256)) * 8,
    "a start-up packet": b"\0\0\0\x08\x04\xd2\x16\x2f",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 400,
    "a long path": b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a long header": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
    "many headers": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
    "a body": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    "a huge body": b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "chunks": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
    "an open head": b"GET /metrics HTTP/1.1\r\nHost: loc",
    "no host": b"GET /metrics HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("what", BAD)
def test_nonsense_is_refused_and_the_port_lives(watched, http, what):
    with socket.create_connection(("127.0.0.1", http.port), 2) as s:
        try:
            s.sendall(BAD[what])
            s.shutdown(socket.SHUT_WR)
            answer = s.recv(100)
        except OSError:
            answer = b""
    assert not answer or b" 4" in answer[:14] or b" 5" in answer[:14], answer
    assert http.status("/healthz") == 200
    assert watched.alive()


def test_connections_are_bounded_and_given_back(watched, http):
    held = []
    try:
        for _ in range(80):
            held.append(socket.create_connection(("127.0.0.1", http.port), 10))
        assert len([s for s in held if s]) == 80            # the kernel's queue takes the rest
        with watched.connect(USER, SECRET, DB):
            pass                                            # clients do not notice
    finally:
        for s in held:
            s.close()
    procs.wait_for(lambda: http.status("/healthz") == 200)


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(watched, http):
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", http.port), 10) as s:
            s.sendall(request)
    procs.wait_for(lambda: http.status("/metrics") == 200)


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nX: "], ids=["silent", "slow"])
def test_one_address_cannot_keep_probes_away(watched, http, sent):
    """A liveness probe without an answer restarts the process, so nobody may be able to take all places."""
    assert http.status("/healthz") == 200
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            s = stack.enter_context(socket.create_connection(("127.0.0.1", http.port), 10))
            with contextlib.suppress(OSError):      # it may have been closed again
                s.sendall(sent)
        for source in ("127.0.0.2", "127.0.0.1"):
            began = time.monotonic()
            assert http.ask("/healthz", source=source)[0] == 200
            assert time.monotonic() - began < 1, source


def test_a_head_has_five_seconds(watched, http):
    """Whoever sends a byte now and then is never silent, and is sent away all the same."""
    assert http.status("/healthz") == 200
    with socket.create_connection(("127.0.0.1", http.port), 10) as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nX: ")

        def ended():
            try:
                s.sendall(b"a")
                return False
            except OSError:
                return True
        began = time.monotonic()
        procs.wait_for(ended, 12, "the connection to be closed")
        assert time.monotonic() - began > 4
    assert http.status("/healthz") == 200


# ---- configuration ----------------------------------------------------------------------------------

@pytest.mark.parametrize("value", ["0", "70000", "localhost", "::1", "::1:80", "name.example:80", "1.2.3:80",
                                   "127.0.0.1:", ":", "127.0.0.1:80x"])
def test_a_bad_address_is_refused(pg, proxy, value):
    p = proxy(pg, start=False, config={"http_listen": value}, check_on_stop=False)
    code, text = check(p)
    assert code == 1 and "http_listen" in text


def check(p):
    import subprocess
    done = subprocess.run([p.program, "--check", p.ini], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=20)
    return done.returncode, done.stdout


def test_it_is_off_unless_set_and_an_open_port_is_warned_of(pg, proxy, http):
    p = proxy(pg)
    with pytest.raises(OSError):
        http.ask("/healthz")
    p.stop()
    p = proxy(pg, config=http.config(http_listen=f"*:{http.port}"))
    assert http.status("/healthz") == 200
    assert "anybody who reaches it may look" in p.log_text()
    assert http.ask("/healthz", headers={"Host": "db1.example"})[0] == 200
