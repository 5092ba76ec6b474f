"""The page at / in a real browser: it renders, says what the console says, and loads nothing else."""
import json
import os
import threading

import pytest

from support import browser
from support import pgwire as w
from support import procs
from support.common import DB, SECRET, USER
from support.trio import section, wait_nodes

pytestmark = [pytest.mark.penstock_only, pytest.mark.timeout(120),
              pytest.mark.skipif(browser.program() is None, reason="there is no Chromium")]

PICTURES = os.environ.get("PAGE_PICTURES")      # a folder: pictures to look at are left there


@pytest.fixture(scope="module")
def chromium():
    with browser.Browser() as b:
        yield b


@pytest.fixture
def watched(pg, proxy, http):
    """Three waits behind one server, one client idle in its transaction."""
    p = proxy(pg, pool_size=1, config=http.config(track_statements=1))
    held, idle, *late = (p.connect(USER, SECRET, DB) for _ in range(5))
    idle.query("SELECT 1")
    held.query("BEGIN")
    for c in late:
        c.send(w.query("SELECT 2"))
    procs.wait_for(lambda: p.pool(DB)["cl_waiting"] == 3)
    yield p
    held.query("COMMIT")
    for c in late:
        c.read_until()
    for c in (held, idle, *late):
        c.close()


def field(b, table, row, name):
    """The text of a cell."""
    return b.eval(f"""[...document.querySelectorAll('#{table} tr')]
        .find(r => r.dataset.row === {json.dumps(row)})
        .querySelector('[data-field={json.dumps(name)}]').textContent""")


def show(b, http, path="/"):
    http.text("/healthz")
    b.open("about:blank")       # the page before asks no more
    b.wait("location.href === 'about:blank'")
    b.events.clear()
    b.open(f"http://127.0.0.1:{http.port}{path}")
    b.wait("document.querySelectorAll('#pools tr').length > 0")


def test_numbers_are_those_of_the_console(chromium, watched, http):
    b = chromium
    show(b, http)
    pool, row = watched.pool(DB), f"{DB}/{USER}"
    assert field(b, "pools", row, "waiting") == str(pool["cl_waiting"]) == "3"
    assert field(b, "pools", row, "clients") == str(pool["cl_waiting"] + pool["cl_active"]) == "5"
    assert field(b, "pools", row, "servers") == "1 / 1"
    assert field(b, "pools", row, "active") == str(pool["sv_active"])
    assert field(b, "pools", row, "idle") == str(pool["sv_idle"])
    assert field(b, "pools", row, "mode") == pool["pool_mode"]
    workers = watched.show("WORKERS")
    shown = sum(int(field(b, "workers", r["worker"], "clients")) for r in workers)
    assert shown == sum(int(r["clients"]) for r in workers) - 1         # the console's own
    assert b.eval("document.querySelector('[data-tile=clients] b').textContent") == "5"
    picture = b.eval("document.getElementById('path').textContent")
    assert f"{DB}/{USER}" in picture and "5 clients, 3 waiting" in picture and "1 of 1: 1 active" in picture
    assert b.complaints() == []


def test_trouble_is_said_in_words_and_goes_away(chromium, pg, proxy, http):
    b = chromium
    p = proxy(pg, pool_size=1, config=http.config())
    with p.connect(USER, SECRET, DB) as held, p.connect(USER, SECRET, DB) as late:
        held.query("BEGIN")
        late.send(w.query("SELECT 1"))
        show(b, http)
        text = b.wait("""[...document.querySelectorAll('#trouble li')].map(x => x.textContent)
            .find(x => x.startsWith('pool'))""")
        assert text.startswith(f"pool {DB}/{USER}: 1 client waiting, oldest ")
        assert "; 1 server in a transaction, longest idle in transaction " in text
        if PICTURES:
            b.picture(os.path.join(PICTURES, "page-trouble.png"))
        held.query("COMMIT")
        late.read_until()
        b.wait("document.getElementById('trouble').textContent === 'None.'")
        with p.console() as con:
            con.run("PAUSE")
            b.wait("document.getElementById('state').textContent === 'paused'")
            con.run("RESUME")


def test_nothing_else_is_loaded_and_the_policy_holds(chromium, watched, http):
    b = chromium
    show(b, http)
    b.wait("document.querySelectorAll('#rate path').length === 2")
    base = f"http://127.0.0.1:{http.port}"
    assert {u for u in b.requests() if not u.startswith("data:")} == {base + "/", base + "/state.json"}
    b.eval("""(() => { const s = document.createElement('script'); s.textContent = 'window.bad = 1';
        document.body.appendChild(s); document.body.setAttribute('onclick', 'window.bad = 2');
        document.body.click(); })()""")
    assert b.eval("window.bad") is None
    headers = http.ask("/")[1]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["content-type"] == "text/html; charset=utf-8"


def test_names_and_statements_are_text_and_never_markup(chromium, pg, proxy, http):
    b = chromium
    name = "<img src=x onerror=alert(1)>"
    pg.sql(f'DROP ROLE IF EXISTS "{name}"')
    pg.sql(f"""CREATE ROLE "{name}" LOGIN PASSWORD '{SECRET}'""")
    p = proxy(pg, users={name: SECRET}, config=http.config(track_statements=1))
    with p.connect(name, SECRET, DB) as c:
        c.query('SELECT 1 AS "</script><b>bold</b>"')
        show(b, http)
        assert field(b, "pools", f"{DB}/{name}", "user") == name
        b.wait("document.getElementById('statements').textContent.includes('<b>bold</b>')")
        assert b.eval("document.querySelectorAll('main img, main table b').length") == 0
        assert b.complaints() == []


def test_it_says_when_the_proxy_is_gone(chromium, pg, proxy, http):
    b = chromium
    p = proxy(pg, config=http.config())
    p.connect(USER, SECRET, DB).close()
    show(b, http)
    p.stop()
    b.wait("document.getElementById('state').textContent === 'no answer'")
    assert "no answer from the proxy" in b.eval("document.getElementById('trouble').textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_renders_under_load(chromium, pg, proxy, http, scheme):
    """Two pools at work; with PAGE_PICTURES a picture is left to be looked at."""
    b = chromium
    entry = {"host": pg.host, "port": pg.port}
    p = proxy(databases={DB: {**entry, "pool_size": 2}, "second": entry},
              config=http.config(track_statements=1, workers=2, multiplex_depth=16))
    stop, threads = threading.Event(), []

    def work(db, sql):
        with p.connect(USER, SECRET, db) as c:
            while not stop.is_set():
                c.query(sql)

    for db, sql, n in ((DB, "SELECT pg_sleep(0.01)", 6), ("second", "SELECT count(*) FROM pg_class", 2)):
        threads += [threading.Thread(target=work, args=(db, sql)) for _ in range(n)]
    for t in threads:
        t.start()
    try:
        b.prefer(scheme)
        show(b, http)
        b.wait("document.querySelectorAll('#query path').length === 3")
        b.wait("/[1-9]/.test(document.querySelector('[data-tile=\"transactions/s\"] b').textContent)")
        b.wait("document.querySelectorAll('#statements tr').length >= 2")
        seen = b.eval("getComputedStyle(document.body).backgroundColor")
        assert seen == {"light": "rgb(244, 245, 247)", "dark": "rgb(18, 22, 28)"}[scheme]
        assert b.eval("document.documentElement.scrollWidth <= innerWidth")
        if PICTURES:
            b.wait("document.querySelector('#rate path') && document.querySelector('#rate path')"
                   ".getAttribute('d').length > 200", 60)
            b.picture(os.path.join(PICTURES, f"page-{scheme}.png"))
        assert b.complaints() == []
    finally:
        stop.set()
        for t in threads:
            t.join()


CACHE = """
[cache]
memory = 8MB
[cache kept]
query = SELECT v FROM still WHERE id = $1
key = kept:$1
ttl = 300
"""


@pytest.fixture
def clustered(proxy, trio, http):
    """A primary with two replicas, and a cache; three clients at work until the test is over."""
    p = proxy(databases={DB: {"cluster": "main", "dbname": DB}},
              config=http.config(track_statements=1, workers=2, multiplex_depth=16),
              extra=section(trio, max_replica_lag=5) + CACHE)
    wait_nodes(p, primary=1, replica=2)
    with p.connect(USER, SECRET, DB) as c:
        c.query("SELECT 1")
    procs.wait_for(lambda: p.show("CACHE")[0]["state"] == "ready", 15)
    stop, threads = threading.Event(), []

    def work(sqls):
        with p.connect(USER, SECRET, DB) as c:
            while not stop.is_set():
                for sql in sqls:
                    c.query(sql)

    for sqls in (["SELECT node()"], ["SELECT v FROM still WHERE id = 1", "SELECT v FROM still WHERE id = 2"],
                 ["UPDATE t SET v = v + 1 WHERE id = 3", "SELECT pg_sleep(0.02)"]):
        threads.append(threading.Thread(target=work, args=(sqls,)))
        threads[-1].start()
    p.quiet = lambda: (stop.set(), [t.join() for t in threads])
    yield p
    p.quiet()


def test_nodes_and_cache_are_those_of_the_console(chromium, clustered, trio, http):
    b, p = chromium, clustered

    def all_busy():
        """A client may stay on the replica that it read first, for what it reads never goes back: new ones choose."""
        with p.connect(USER, SECRET, DB) as c:
            for _ in range(10):
                c.query("SELECT node()")
        return all(int(r["transactions"]) > 50 for r in p.show("NODES"))

    procs.wait_for(all_busy, 20, lambda: p.show("NODES"))
    procs.wait_for(lambda: int(p.show("CACHE")[0]["hits"]) > 50, 20, lambda: p.show("CACHE"))
    p.quiet()
    procs.wait_for(lambda: all(r["in_flight"] == "0" for r in p.show("NODES")))
    show(b, http)
    rows = {f"main/{r['node']}": r for r in p.show("NODES")}
    assert len(rows) == 3
    for key, r in rows.items():
        assert field(b, "nodes", key, "role") == r["role"] and field(b, "nodes", key, "state") == r["state"] == "up"
        assert field(b, "nodes", key, "transactions").replace(",", "") == r["transactions"]
        assert field(b, "nodes", key, "share") == r["share"] + " %"
        box = b.eval(f"document.querySelector('#path [data-node={json.dumps(key)}]').textContent")
        assert f"{r['node']}: {r['role']}" in box and f"share {r['share']} %" in box
        assert ("lag" in box) == (r["role"] == "replica")
    assert sum(float(r["share"]) for r in rows.values()) == pytest.approx(100, abs=0.2)
    row = p.show("CACHE")[0]
    for name, column in (("hits", "hits"), ("from memory", "local_hits"), ("misses", "misses"), ("kept", "fills"), ("drops", "invalidations"),
                         ("entries", "entries")):
        assert field(b, "cache", f"kept/{DB}", name).replace(",", "") == row[column], name
    ratio = float(field(b, "cache", f"kept/{DB}", "hit ratio").rstrip(" %"))
    assert ratio == pytest.approx(100 * float(row["hit_ratio"]), abs=0.06)
    assert b.complaints() == []


def test_a_node_that_is_down_is_trouble(chromium, clustered, trio, http):
    b, p = chromium, clustered
    lost = trio.replicas[1]
    show(b, http)
    b.wait("document.getElementById('trouble').textContent === 'None.'")
    lost.stop()
    try:
        text = b.wait(f"""[...document.querySelectorAll('#trouble li')].map(x => x.textContent)
            .find(x => x.includes('{lost.port} is down'))""", 30)
        assert text.startswith(f"cluster main: replica {lost.host}:{lost.port} is down for ")
        assert field(b, "nodes", f"main/{lost.host}:{lost.port}", "state") == "down"
        if PICTURES:
            b.picture(os.path.join(PICTURES, "page-node-down.png"))
    finally:
        lost.start()
    b.wait("document.getElementById('trouble').textContent === 'None.'", 30)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nodes_and_cache_render_under_load(chromium, clustered, http, scheme):
    b = chromium
    b.prefer(scheme)
    show(b, http)
    for chart, lines in (("replicas", 1), ("lag", 2), ("hits", 2)):
        b.wait(f"document.querySelectorAll('#{chart} path').length === {lines}")
    b.wait("document.querySelectorAll('#path [data-node]').length === 3")
    assert b.eval("document.documentElement.scrollWidth <= innerWidth")
    assert b.eval("[...document.querySelectorAll('[data-for]')].every(e => !e.hidden)")
    if PICTURES:
        b.wait("document.querySelector('#rate path').getAttribute('d').length > 200", 60)
        b.picture(os.path.join(PICTURES, f"page-cluster-{scheme}.png"))
    assert b.complaints() == []


def test_without_clusters_and_caches_nothing_is_said_of_them(chromium, watched, http):
    show(chromium, http)
    assert chromium.eval("[...document.querySelectorAll('[data-for]')].every(e => e.hidden)")
    assert chromium.eval("document.querySelectorAll('#path [data-node]').length") == 0


def test_state_is_json_and_totals_are_the_sum_of_pools(watched, http):
    s = http.json("/state.json")
    pools = {(x["database"], x["user"]): x for x in s["pools"]}
    mine = pools[DB, USER]
    assert mine["clients"] == s["totals"]["all"]["clients"]
    assert mine["counters"] == s["totals"]["all"]["counters"]
    assert mine["pins"] == {"transaction": 1}
    assert sum(n for _, n in s["times"]["query"]) == mine["counters"]["queries"]
    assert [x["text"] for x in s["statements"]]
