"""The queries of pgbouncer_exporter: views by name, columns by name, values as its driver scans them.

The tables are those of the exporter (0.7 to 0.11): which columns it takes as labels, which as numbers, and
with what factor.  Its driver (lib/pq, simple protocol) makes integers of int4 and int8, and bytes of
everything else, which the exporter parses as a number.
"""
import re

import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.penstock import STATS, STATS_SECRET

INT4, INT8, NUMERIC, TEXT = 23, 20, 1700, 25

LABEL, GAUGE, COUNTER = "label", "gauge", "counter"
VIEWS = {
    "DATABASES": {
        "name": LABEL, "host": LABEL, "port": LABEL, "database": LABEL, "force_user": LABEL, "pool_mode": LABEL,
        "pool_size": GAUGE, "min_pool_size": GAUGE, "reserve_pool_size": GAUGE, "max_connections": GAUGE,
        "current_connections": GAUGE, "paused": GAUGE, "disabled": GAUGE,
    },
    "POOLS": {
        "database": LABEL, "user": LABEL, "cl_active": GAUGE, "cl_active_cancel_req": GAUGE,
        "cl_waiting_cancel_req": GAUGE, "cl_waiting": GAUGE, "sv_active": GAUGE, "sv_active_cancel": GAUGE,
        "sv_being_canceled": GAUGE, "sv_idle": GAUGE, "sv_used": GAUGE, "sv_tested": GAUGE, "sv_login": GAUGE,
        "maxwait": GAUGE, "maxwait_us": GAUGE, "pool_mode": LABEL,
    },
    "STATS": {
        "database": LABEL, "total_query_count": COUNTER, "total_query_time": COUNTER, "total_received": COUNTER,
        "total_requests": COUNTER, "total_sent": COUNTER, "total_wait_time": COUNTER, "total_xact_count": COUNTER,
        "total_xact_time": COUNTER, "total_client_parse_count": COUNTER, "total_server_parse_count": COUNTER,
        "total_bind_count": COUNTER, "total_server_assignment_count": COUNTER,
    },
}
GONE = {"total_requests"}  # of versions before 1.8; the exporter takes what is there
LISTS = ["databases", "users", "pools", "free_clients", "used_clients", "login_clients", "free_servers",
         "used_servers", "dns_names", "dns_zones", "dns_queries", "dns_pending"]


@pytest.fixture(scope="module")
def scraped(pg):
    """Answers of all queries that the exporter sends, on one connection, while a client is at work."""
    from support.penstock import Penstock
    p = Penstock(cluster=pg, users={USER: SECRET})
    c = p.connect(USER, SECRET, DB)
    c.query("SELECT 1")
    with p.console(STATS, STATS_SECRET) as con:
        yield {v: con.run(f"SHOW {v};") for v in [*VIEWS, "LISTS", "CONFIG", "VERSION"]}
    c.close()
    p.close()


def scan(msgs):
    """Rows as the driver gives them: int for integers, str for everything else, None for null."""
    columns = [c for m in msgs if m.type == "T" for c in m.fields["columns"]]
    made = []
    for m in msgs:
        if m.type != "D":
            continue
        values = [v.decode() if isinstance(v, bytes) else v for v in m.fields["values"]]
        made.append({c["name"]: int(v) if v is not None and c["oid"] in (INT4, INT8) else v
                     for c, v in zip(columns, values)})
    return columns, made


@pytest.mark.parametrize("view", VIEWS)
def test_columns_are_there_and_are_numbers_where_they_must_be(scraped, view):
    columns, rows = scan(scraped[view])
    oids = {c["name"]: c["oid"] for c in columns}
    assert rows
    for name, use in VIEWS[view].items():
        if name in GONE:
            continue
        assert name in oids
        if use != LABEL:
            assert oids[name] in (INT4, INT8, NUMERIC)
            assert all(float(r[name]) >= 0 for r in rows)
        else:
            assert all(r[name] is None or isinstance(r[name], (str, int)) for r in rows)


def test_numbers_are_those_of_the_work(scraped):
    _, pools = scan(scraped["POOLS"])
    mine, = [r for r in pools if r["database"] == DB and r["user"] == USER]
    assert mine["cl_active"] == 1 and mine["sv_idle"] == 1
    _, stats = scan(scraped["STATS"])
    mine, = [r for r in stats if r["database"] == DB]
    assert float(mine["total_query_count"]) == 1 and float(mine["total_xact_count"]) == 1


def test_lists_have_two_columns_and_every_row(scraped):
    columns, rows = scan(scraped["LISTS"])
    assert [c["name"] for c in columns] == ["list", "items"] and columns[1]["oid"] in (INT4, INT8)
    assert set(LISTS) <= {r["list"] for r in rows}


def test_config_has_four_columns_and_the_limits(scraped):
    columns, rows = scan(scraped["CONFIG"])
    assert [c["name"] for c in columns] == ["key", "value", "default", "changeable"]
    values = {r["key"]: r["value"] for r in rows}
    assert float(values["max_client_conn"]) >= 1 and float(values["max_user_connections"]) >= 0


def test_version_is_read_from_the_row(scraped):
    _, rows = scan(scraped["VERSION"])
    assert re.match(r"PgBouncer (\d+)\.(\d+)\.(\d+)", rows[0]["version"])
