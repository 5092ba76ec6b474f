"""The admin console: the views with their columns in PgBouncer's order, rights, and counters that add up."""
import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.penstock import STATS, STATS_SECRET
from support.pgwire import RawClient, ServerError

SOCKET = ("type user database replication state addr port local_addr local_port connect_time request_time "
          "wait wait_us close_needed ptr link remote_pid tls application_name prepared_statements id")
STATS_NAMES = ("server_assignment_count xact_count query_count received sent xact_time query_time wait_time "
               "client_parse_count server_parse_count bind_count").split()
VIEWS = {
    "CLIENTS": SOCKET, "SERVERS": SOCKET,
    "SOCKETS": SOCKET + " recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail",
    "ACTIVE_SOCKETS": SOCKET + " recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail",
    "POOLS": "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active "
             "sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us "
             "pool_mode load_balance_hosts",
    "DATABASES": "name host port database force_user pool_size min_pool_size reserve_pool_size "
                 "server_lifetime pool_mode load_balance_hosts max_connections current_connections "
                 "max_client_connections current_client_connections paused disabled",
    "USERS": "name pool_size reserve_pool_size pool_mode max_user_connections current_connections "
             "max_user_client_connections current_client_connections",
    "LISTS": "list items", "CONFIG": "key value default changeable", "PEERS": "peer_id host port pool_size",
    "PEER_POOLS": "peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login",
    "MEM": "name size used free memtotal", "DNS_HOSTS": "hostname ttl addrs",
    "DNS_ZONES": "zonename serial count", "VERSION": "version", "STATE": "key value",
    "STATS": "database " + " ".join("total_" + n for n in STATS_NAMES), "TOTALS": "name value",
    "STATS_TOTALS": "database server_assignment_count xact_count query_count bytes_received bytes_sent "
                    "xact_time query_time wait_time client_parse_count server_parse_count bind_count",
    "STATS_AVERAGES": "database server_assignment_count xact_count query_count bytes_received bytes_sent "
                      "xact_time query_time wait_time avg_client_parse_count avg_server_parse_count "
                      "avg_bind_count",
}


@pytest.fixture(scope="module")
def busy(pg):
    """A proxy with a client in a transaction, an idle one and one waiting."""
    from support.penstock import Penstock
    p = Penstock(cluster=pg, pool_size=1, users={USER: SECRET})
    held, idle, waiting = (p.connect(USER, SECRET, DB) for _ in range(3))
    idle.query("SELECT 1")
    held.query("BEGIN")
    waiting.send(w.query("SELECT 1"))
    yield p
    held.query("COMMIT")
    waiting.read_until()
    for c in (held, idle, waiting):
        c.close()
    p.close()


@pytest.mark.penstock_only
@pytest.mark.parametrize("view", VIEWS)
def test_columns_are_pgbouncers_with_ours_appended(busy, view):
    with busy.console() as con:
        msgs = con.run(f"SHOW {view}")
        names = [c["name"] for m in msgs if m.type == "T" for c in m.fields["columns"]]
        want = VIEWS[view].split()
        assert names[:len(want)] == want
        tags = [m.fields["tag"] for m in msgs if m.type == "C"]
        assert tags == ["SHOW"]


def test_clients_add_up(busy):
    pool = busy.pool(DB)
    assert pool["cl_active"] + pool["cl_waiting"] == 3
    assert pool["cl_waiting"] == 1 and pool["sv_active"] == 1 and pool["sv_idle"] == 0
    mine = [r for r in busy.show("CLIENTS") if r["user"] == USER]
    assert len(mine) == 3
    assert len([r for r in busy.show("SERVERS") if r["database"] == DB]) == 1


def test_query_counters_count(pg, proxy):
    p = proxy(pg, pool_size=1)
    with p.connect(USER, SECRET, DB) as c:
        before = stats(p)
        for i in range(10):
            c.query(f"SELECT {i}")
        c.query("BEGIN")
        c.query("SELECT 1")
        c.query("COMMIT")
        after = stats(p)
    assert after["total_query_count"] - before["total_query_count"] == 13
    assert after["total_xact_count"] - before["total_xact_count"] == 11


def stats(p):
    for row in p.show("STATS"):
        if row["database"] == DB:
            return {k: int(v) for k, v in row.items() if k.startswith("total_")}
    return {k: 0 for k in ("total_query_count", "total_xact_count")}


def test_rights(pg, proxy):
    p = proxy(pg)
    with p.console(STATS, STATS_SECRET) as con:
        assert con.query("SHOW POOLS") is not None
        for command in ("RELOAD", "PAUSE", "SET query_wait_timeout = 5", "KILL app", "SHUTDOWN",
                        "RECONNECT", "DISABLE app", "SUSPEND", "KILL_CLIENT 1"):
            with pytest.raises(ServerError):
                con.run(command)
    with pytest.raises(ServerError) as e:
        p.console(USER, SECRET)
    assert e.value.fields["S"] == "FATAL"
    with p.connect(USER, SECRET, DB) as c:
        assert c.value("SELECT 1") == "1"


@pytest.mark.parametrize("command", ["", ";", "SHOW", "SHOW NOTHING", "NOTHING", "SELECT 1; SELECT 2",
                                     "SHOW POOLS;;", "SET a = b", "x" * 5000,
                                     "SHOW '" + "x" * 300, "KILL_CLIENT 99999999", "\x01\x02"])
def test_wrong_commands_are_errors_and_the_console_lives(pg, busy, command):
    with busy.console() as con:
        msgs = con.client.ask(w.query(command))
        assert w.types_of(msgs)[-1] == "Z"
        if command.strip("; "):
            assert w.errors_of(msgs)
        assert con.query("SHOW VERSION") is not None


def test_set_changes_a_value_now(pg, proxy):
    p = proxy(pg)
    with p.console() as con:
        con.run("SET query_wait_timeout = 23")
        assert [r["value"] for r in con.query("SHOW CONFIG") if r["key"] == "query_wait_timeout"] == ["23"]


@pytest.mark.penstock_only
def test_our_own_database_name_and_views(busy):
    with busy.console(db="penstock") as con:
        assert con.query("SHOW WORKERS")
        names = con.query("SHOW CLIENTS")[0]
        assert any("pin" in n for n in names) and any("worker" in n for n in names)


@pytest.mark.penstock_only
def test_console_by_extended_protocol(busy):
    with busy.console() as con:
        assert con.client.extended("SHOW POOLS")


def test_admin_by_unix_socket_of_the_same_uid(pg, proxy):
    import os
    from support import procs
    if procs.unprivileged_user():
        pytest.skip("the proxy runs under another uid than this test")
    p = proxy(pg)
    with RawClient.login(p.port, "pgbouncer", "", "pgbouncer", host=p.dir) as c:
        assert c.query("SHOW POOLS") is not None
    assert os.geteuid() != 0
