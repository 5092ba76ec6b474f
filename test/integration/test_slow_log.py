"""Slow requests in the log, as text and as JSON: what is said of them, and what never is."""
import json
import re

import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only

PRIVATE = "a private value"


def slow_lines(p):
    return [line for line in p.log_text().splitlines() if "LOG slow request" in line]


def one_slow_line(p):
    wait_for(lambda: slow_lines(p))
    lines = slow_lines(p)
    assert len(lines) == 1
    return lines[0]


def fields(line):
    found = re.findall(r' (\w+)=("(?:[^"\\]|\\.)*"|\S+)', line.split("slow request", 1)[1])
    return {k: v.strip('"') for k, v in found}


def sleep_privately(c, seconds="0.2"):
    c.query(f"SELECT pg_sleep({seconds}), '{PRIVATE}'")


def test_slow_request_is_logged_without_its_constants(pg, proxy):
    p = proxy(pg, config={"log_min_duration": "0.1"})
    with p.connect(USER, SECRET, DB) as c:
        c.query("SELECT 1")
        sleep_privately(c)
        mine = [r for r in p.show("CLIENTS") if r["user"] == USER]
    f = fields(one_slow_line(p))
    assert f["query"] == "select pg_sleep($?), $?"
    assert (f["database"], f["user"], f["client"]) == (DB, USER, mine[0]["id"])
    assert f["host"] == f"{pg.host}:{pg.port}"
    assert 200 <= float(f["duration_ms"]) < 2000 and float(f["wait_ms"]) < 200
    assert (f["rows"], f["failed"]) == ("1", "0")
    assert f["digest"] in {r["digest"] for r in p.show("STATEMENTS") if "pg_sleep" in r["query"]}
    assert PRIVATE not in p.log_text() and "values" not in f


def test_waiting_makes_a_request_slow_too(pg, proxy):
    p = proxy(pg, pool_size=1, config={"log_min_duration": "0.15", "track_statements": 0})
    with p.connect(USER, SECRET, DB) as a, p.connect(USER, SECRET, DB) as b:
        a.query("BEGIN")  # the only server is its
        a.send(w.query("SELECT pg_sleep(0.2); COMMIT"))
        b.query("SELECT now() < 'infinity'")
        a.read_until()
    f = fields(wait_for(lambda: next((line for line in slow_lines(p) if "now()" in line), None)))
    assert float(f["wait_ms"]) > 100 > float(f["duration_ms"])


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_values_are_logged_when_asked_for(pg, proxy, way):
    p = proxy(pg, config={"log_min_duration": "0.1", "log_parameters": 1})
    with p.connect(USER, SECRET, DB) as c:
        if way == "simple":
            sleep_privately(c)
        else:
            c.extended("SELECT pg_sleep($1::float8), $2::text", ["0.2", PRIVATE])
        c.query("SELECT 1")
    f = fields(one_slow_line(p))
    said = f"SELECT pg_sleep(0.2), '{PRIVATE}'" if way == "simple" else f"0.2, {PRIVATE}"
    assert f["values"] == said
    assert PRIVATE not in f["query"]


def test_a_share_of_the_slow_ones_is_logged(pg, proxy):
    p = proxy(pg, config={"workers": 1, "log_min_duration": "0.000001", "log_min_duration_sample": 25})
    with p.connect(USER, SECRET, DB) as c:
        for _ in range(40):
            c.query("SELECT 1")
        wait_for(lambda: len(slow_lines(p)) >= 10)
        with p.console() as con:
            con.run("SET log_min_duration_sample = 0")
        for _ in range(10):
            c.query("SELECT 1")
    assert len(slow_lines(p)) == 10


def test_flood_of_slow_requests_is_limited_and_counted(pg, proxy):
    p = proxy(pg, config={"log_min_duration": "0.000001"})
    with p.connect(USER, SECRET, DB) as c:
        for _ in range(1000):
            c.query("SELECT 1")
    logged = len(slow_lines(p))
    assert logged < 1000

    def left_out():
        text = p.log_text()
        return sum(int(n) for n in re.findall(r"left_out=(\d+)|(\d+) lines left out like: slow request", text)
                   for n in n if n)

    wait_for(lambda: len(slow_lines(p)) + left_out() == 1000, what=lambda: (len(slow_lines(p)), left_out()))


def test_json_lines_are_objects(pg, proxy):
    p = proxy(pg, config={"log_format": "json", "log_min_duration": "0.1"})
    with p.connect(USER, SECRET, DB, application_name='x"\n\\') as c:
        sleep_privately(c)
        with p.console() as con:
            con.run("SET log_format = 'text'")
        c.query("SELECT pg_sleep(0.15)")
    wait_for(lambda: "LOG slow request" in p.log_text())
    lines = [line for line in p.log_text().splitlines() if line.startswith("{")]
    objects = [json.loads(line) for line in lines]
    assert all({"time", "pid", "level", "message"} <= set(o) for o in objects)
    slow, = [o for o in objects if o["message"] == "slow request"]
    assert slow["query"] == "select pg_sleep($?), $?" and slow["duration_ms"] >= 200
    assert slow["rows"] == 1 and slow["level"] == "LOG" and re.match(r"\d{4}-.*Z$", slow["time"])
    assert PRIVATE not in p.log_text()
