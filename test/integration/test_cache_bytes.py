"""Issue 5: what a hit sends is what the database would send, byte for byte, whatever the session's settings are.

Pairs of sessions, one through the proxy and one direct, are given the same settings in the same ways; then the same
request goes to both, twice through the proxy, and all bytes are compared.  CACHE_BYTES=N takes N requests.
"""
import os
import random

import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.procs import wait_for

pytestmark = [pytest.mark.penstock_only, pytest.mark.timeout(120)]

TIMES = int(os.environ.get("CACHE_BYTES", "600"))
SESSIONS, ROWS = 6, 4

SCHEMA = f"""
DROP TABLE IF EXISTS bytes_of;
CREATE TABLE bytes_of (id int PRIMARY KEY, at timestamptz, local timestamp, day date, span interval, x float8, y float4,
                       b bytea, name text, price money, n numeric, u uuid, j jsonb, a float8[], t timetz);
INSERT INTO bytes_of SELECT g, '2024-10-27 00:30:00+00'::timestamptz + g * interval '40 minutes',
    '2024-02-03 04:05:06.789', ('2024-02-0' || g)::date, g * interval '1 month 3 days -4 hours 5.5 seconds', pi() * g,
    (1.0 / 3 * g)::float4, decode('00ff4a5c' || '0' || g, 'hex'), U&'caf\\00e9 \\00df \\20ac ' || g, (g * 1234.5)::money,
    g / 7.0, ('00000000-0000-0000-0000-00000000000' || g)::uuid, '{{"a": [1, null]}}', ARRAY[0.1, NULL, g / 3.0],
    '04:05:06+02' FROM generate_series(1, {ROWS - 1}) g;
INSERT INTO bytes_of (id) VALUES ({ROWS});
GRANT SELECT ON bytes_of TO {USER};
"""
RULE = """
[cache]
[cache bytes]
query = SELECT * FROM bytes_of WHERE id = $1
key = bytes:$1
"""
COLUMNS = 15

SETTINGS = {
    "DateStyle": ["ISO, MDY", "German", "SQL, DMY", "Postgres, MDY"],
    "TimeZone": ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"],
    "IntervalStyle": ["postgres", "iso_8601", "sql_standard", "postgres_verbose"],
    "bytea_output": ["hex", "escape"],
    "extra_float_digits": ["1", "0", "-3", "3"],
    "client_encoding": ["UTF8", "LATIN9", "WIN1252"],
    "lc_monetary": ["C", "C.UTF-8"],
}
WAYS = ["SET {} = '{}'", "SET SESSION {} TO '{}'", "SELECT set_config('{}', '{}', false)"]
SQL = "SELECT * FROM bytes_of WHERE id = {}"


def request(rnd):
    """One read, in any protocol and format."""
    key = str(rnd.randint(1, ROWS + 1))         # one is not there
    if rnd.random() < 0.4:
        return w.query(SQL.format(key))
    results = rnd.choice([(), (0,), (1,), tuple(rnd.randint(0, 1) for _ in range(COLUMNS))])
    formats, value = rnd.choice([((), key), ((1,), int(key).to_bytes(4, "big"))])
    return (w.parse(SQL.format("$1"), types=(23,)) + w.bind([value], formats=formats, results=results) +
            rnd.choice([b"", w.describe("", "P")]) + w.execute() + rnd.choice([b"", w.close("", "P")]) + w.sync())


def change(rnd, pair, came_with):
    """Both sessions get another setting, or one back; returns how."""
    name = rnd.choice(list(SETTINGS))
    # A session that overrides what it came with by the server's own default loses that with a later RESET.
    values = SETTINGS[name][name in came_with:]
    text = rnd.choice([f"RESET {name}", *(way.format(name, rnd.choice(values)) for way in WAYS)])
    if rnd.random() < 0.1:
        text = "RESET ALL"
    for c in pair:
        c.query(text)
    return text


def raw(msgs):
    return [(m.type, m.raw) for m in msgs if m.type != "S"]


def test_hits_have_the_bytes_of_the_database(pg, proxy):
    seed = int(os.environ.get("CACHE_SEED", random.randrange(1 << 32)))
    rnd = random.Random(seed)
    pg.sql(SCHEMA, DB)
    p = proxy(pg, extra=RULE, config={"workers": 2})
    start = lambda: {k: rnd.choice(v) for k, v in SETTINGS.items()  # noqa: E731
                     if k in ("DateStyle", "TimeZone", "client_encoding") and rnd.random() < 0.5}
    pairs, told = [], []
    for _ in range(SESSIONS):
        params = start()
        told.append([params])
        pairs.append((p.connect(USER, SECRET, DB, **params), pg.connect(USER, SECRET, DB, **params)))
        pairs[-1][0].query("SELECT 1")
    wait_for(lambda: p.show("CACHE")[0]["state"] == "ready", 15)
    for n in range(TIMES):
        number = rnd.randrange(SESSIONS)
        pair = pairs[number]
        if rnd.random() < 0.1:
            told[number].append(change(rnd, pair, told[number][0]))
        ask = request(rnd)
        want = raw(pair[1].ask(ask))
        for _ in range(2):      # at the latest the second one is a hit
            got = raw(pair[0].ask(ask))
            assert got == want, f"seed {seed}, request {n}: {ask}\n{told[number]}\n{got}\n{want}"
    row = p.show("CACHE")[0]
    for c in (c for pair in pairs for c in pair):
        c.close()
    assert int(row["hits"]) > TIMES * 3 // 4, (seed, row)


@pytest.mark.parametrize("back", ["RESET ALL", "RESET DateStyle", "DISCARD ALL"])
def test_value_that_a_session_came_with_holds_after_a_reset(pg, proxy, back):
    """The server is given it anew with the next statement; nothing is served or kept for the one in between."""
    pg.sql(SCHEMA, DB)
    p = proxy(pg, extra=RULE)
    with p.connect(USER, SECRET, DB, DateStyle="SQL, DMY") as own, p.connect(USER, SECRET, DB) as plain:
        plain.query("SELECT 1")
        wait_for(lambda: p.show("CACHE")[0]["state"] == "ready", 15)
        day = lambda c, k: c.query(SQL.format(k))[0][3]  # noqa: E731
        assert [day(plain, 1), day(plain, 1)] == ["2024-02-01"] * 2
        own.query(back)
        assert day(own, 1) == "01/02/2024"
        own.query(back)
        assert [day(own, 2), day(plain, 2), day(own, 2), day(plain, 2)] == ["02/02/2024", "2024-02-02"] * 2
