"""Behaviour 72 at scale: LISTEN in transaction mode through the listening server of a pool, with one
worker and with four.

Notifications are sent past the proxy (the superuser's own connection) unless a test is about NOTIFY
itself.  What must hold: a listening client keeps no server, hears everything once and in order, and only
between its answers.
"""
import threading

import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.pgwire import Closed, ServerError
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only


@pytest.fixture(params=[1, 4], ids=["1w", "4w"])
def proxy(request, proxy):
    def start(cluster, **kw):
        kw["config"] = {"workers": request.param, **kw.get("config", {})}
        return proxy(cluster, **kw)

    start.workers = request.param
    return start


@pytest.fixture
def admin(pg):
    with pg.admin(DB) as c:
        yield c


def login(p, **kw):
    return p.connect(USER, SECRET, kw.pop("db", DB), **kw)


class FatalHeard(Exception):
    """The connection ends instead."""


def heard(c, n=1):
    """The next n notifications as (channel, payload)."""
    out = []
    while len(out) < n:
        m = c.read()
        if m.type == "E" and m.fields["S"] == "FATAL":
            raise FatalHeard(m.fields["M"])
        assert m.type in "AZCTDSN", m
        if m.type == "A":
            out.append((m.fields["channel"], m.fields["payload"]))
    return out


def progress(p, n, timeout=10):
    """n transactions at the same time: proves that n servers are free for clients."""
    cs = [login(p, timeout=timeout) for _ in range(n)]
    for c in cs:
        c.query("BEGIN")
    for c in cs:
        assert c.value("SELECT 1") == "1"
        c.query("COMMIT")
        c.close()


def listeners(pg):
    """Backends whose last words were those of a shared listener."""
    return pg.sql("SELECT pid FROM pg_stat_activity WHERE state = 'idle' AND datname = '%s' AND (query LIKE"
                  " 'LISTEN %%' OR query LIKE 'UNLISTEN \"%%') ORDER BY 1" % DB)


def test_listening_clients_leave_the_servers_to_others(pg, proxy, admin):
    p = proxy(pg, pool_size=3, config={"query_wait_timeout": 10})
    clients = [login(p) for _ in range(20)]
    for i, c in enumerate(clients):
        c.query(f"LISTEN own{i}")
        c.query("LISTEN common")
    progress(p, 2)
    for i in range(20):
        admin.query(f"NOTIFY own{i}, 'for {i}'")
    admin.query("NOTIFY common, 'for all'")
    for i, c in enumerate(clients):
        assert heard(c, 2) == [(f"own{i}", f"for {i}"), ("common", "for all")]
        assert c.quiet(0.01)
        c.close()


def test_pid_of_a_notification_is_that_of_the_sending_backend(pg, proxy, admin):
    p = proxy(pg, pool_size=3)
    c, d = login(p), login(p)
    for x in (c, d):
        x.query("LISTEN who")
    admin.query("NOTIFY who")
    for x in (c, d):
        m = x.read_until("A")[-1]
        assert str(m.fields["pid"]) == admin.value("SELECT pg_backend_pid()")


def test_client_hears_its_own_notification(pg, proxy):
    p = proxy(pg, pool_size=3)
    c = login(p)
    c.query("LISTEN self")
    c.send(w.query("NOTIFY self, 'with ''quotes'' and \u00e9'"))
    assert heard(c) == [("self", "with 'quotes' and \u00e9")]
    c.send(w.query("SELECT pg_notify('self', repeat('x', 7000))"))
    assert heard(c) == [("self", "x" * 7000)]


def test_nothing_is_lost_doubled_or_reordered_while_clients_move(pg, proxy, admin):
    """A publisher counts without a pause while clients begin to listen: each must hear a gapless run."""
    p = proxy(pg, pool_size=6)
    clients = [login(p, timeout=20) for _ in range(30)]
    stop, last = threading.Event(), [0]

    def publish():
        with pg.admin(DB) as c:
            while not stop.is_set():
                last[0] += 1
                c.query(f"NOTIFY tick, '{last[0]}'")

    t = threading.Thread(target=publish)
    t.start()
    try:
        for i, c in enumerate(clients):
            c.query("LISTEN tick")
            if i % 3 == 0:
                c.query("LISTEN more")
            if i % 5 == 0:
                c.query("LISTEN tick")
        progress(p, 2)
        wait_for(lambda: last[0] > 50, 20, "the publisher")
    finally:
        stop.set()
        t.join()
    admin.query("NOTIFY tick, 'end'")
    for c in clients:
        run = []
        while not run or run[-1] != "end":
            run += [payload for _, payload in heard(c)]
        numbers = [int(x) for x in run[:-1]]
        assert numbers == list(range(numbers[0], last[0] + 1)) if numbers else True, numbers
        c.close()


def test_notifications_wait_for_the_end_of_a_transaction(pg, proxy, admin):
    p = proxy(pg, pool_size=3)
    c, d = login(p), login(p)
    for x in (d, c):
        x.query("LISTEN news")
    progress(p, 2)
    c.query("BEGIN")
    admin.query("NOTIFY news, 'one'")
    assert heard(d) == [("news", "one")]
    assert "A" not in w.types_of(c.ask(w.query("SELECT 1")))
    assert c.quiet(0.1)
    c.send(w.query("COMMIT"))
    assert heard(c) == [("news", "one")]


def test_notifications_never_come_inside_an_answer(pg, proxy, admin):
    p = proxy(pg, pool_size=4)
    first, c = login(p), login(p, timeout=30)
    for x in (first, c):
        x.query("LISTEN noise")
    progress(p, 3)
    sent, total = 0, 0
    for _ in range(5):
        c.send(w.query("SELECT repeat('y', 3000) FROM generate_series(1, 4000)"))
        m = c.read()
        inside = [m]
        for _ in range(40):
            admin.query(f"NOTIFY noise, '{sent}'")
            sent += 1
        while inside[-1].type != "Z":
            inside.append(c.read())
        shape = w.types_of(inside)
        body = shape[shape.index("T"):]
        assert body == "T" + "D" * 4000 + "CZ", set(shape)
        total += shape.count("A")
    assert [x[1] for x in heard(c, sent - total)][-1] == str(sent - 1)


def test_pipelined_requests_get_notifications_between_their_answers(pg, proxy, admin):
    p = proxy(pg, pool_size=3)
    first, c = login(p), login(p)
    for x in (first, c):
        x.query("LISTEN between")
    c.send(*[w.query(f"SELECT {i}, pg_sleep(0.01)") for i in range(30)])
    for i in range(20):
        admin.query(f"NOTIFY between, '{i}'")
    msgs = c.read_until(count=30)
    assert w.types_of([m for m in msgs if m.type != "A"]) == "TDCZ" * 30
    got = [m.fields["payload"] for m in msgs if m.type == "A"]
    got += [x[1] for x in heard(c, 20 - len(got))]
    assert got == [str(i) for i in range(20)]


@pytest.mark.parametrize("how", ["UNLISTEN a", "UNLISTEN *", "DISCARD ALL", "extended", "BEGIN",
                                 "BEGIN; UNLISTEN a; COMMIT"])
def test_unlisten_ends_it(pg, proxy, admin, how):
    p = proxy(pg, pool_size=3, config={"server_round_robin": 1})
    first, c = login(p), login(p)
    first.query("LISTEN a")
    c.query("LISTEN a")
    c.query("LISTEN b")
    progress(p, 2)
    if how == "extended":
        c.extended("UNLISTEN a")
    elif how == "BEGIN":
        for text in ("BEGIN", "UNLISTEN a", "SELECT 1", "COMMIT"):
            c.query(text)
    else:
        c.query(how)
    admin.query("NOTIFY a, 'gone'")
    admin.query("NOTIFY b, 'there'")
    assert heard(first) == [("a", "gone")]
    if how in ("UNLISTEN *", "DISCARD ALL"):
        assert c.quiet(0.2)
    else:
        assert heard(c) == [("b", "there")]
    c.query("LISTEN a")
    admin.query("NOTIFY a, 'back'")
    assert heard(c) == [("a", "back")]


def test_unlisten_that_is_rolled_back_did_not_happen(pg, proxy, admin):
    p = proxy(pg, pool_size=3)
    first, c = login(p), login(p)
    first.query("LISTEN a")
    c.query("LISTEN a")
    c.query("BEGIN")
    c.query("UNLISTEN *")
    c.query("ROLLBACK")
    c.query("BEGIN")
    c.query("UNLISTEN a")
    with pytest.raises(ServerError):
        c.query("SELECT 1/0")
    c.query("COMMIT")
    with pytest.raises(ServerError):
        c.query("UNLISTEN a; SELECT 1/0")
    admin.query("NOTIFY a, 'still'")
    assert heard(c) == [("a", "still")]


def test_listen_that_is_rolled_back_did_not_happen(pg, proxy, admin):
    p = proxy(pg, pool_size=3)
    first, c = login(p), login(p)
    first.query("LISTEN other")
    c.query("BEGIN")
    c.query("LISTEN a")
    c.query("ROLLBACK")
    c.query("BEGIN")
    c.query("SAVEPOINT s")
    c.query("LISTEN a")
    c.query("ROLLBACK TO s")
    c.query("LISTEN b")
    c.query("COMMIT")
    admin.query("NOTIFY a")
    admin.query("NOTIFY b, 'yes'")
    assert heard(c) == [("b", "yes")]
    assert c.quiet(0.1)


def test_last_listener_gives_the_server_back(pg, proxy, admin):
    p = proxy(pg, pool_size=2)
    for _ in range(3):
        c, d = login(p), login(p)
        c.query("LISTEN x")
        d.query("LISTEN x")
        d.query("LISTEN y")
        progress(p, 1)
        c.close()
        d.query("UNLISTEN *") if _ else d.close()
        progress(p, 2)
        admin.query("NOTIFY x")
        with login(p) as e:
            assert "A" not in w.types_of(e.ask(w.query("SELECT 1")))
            assert e.quiet(0.05)
            assert e.query("SELECT * FROM pg_listening_channels()") == []
        d.close()


def test_clients_are_told_when_their_listener_is_lost(pg, proxy, admin):
    p = proxy(pg, pool_size=3)
    clients = [login(p) for _ in range(5)]
    bystander = login(p)
    bystander.query("SELECT 1")
    for c in clients:
        c.query("LISTEN a")
    progress(p, 2)
    found = wait_for(lambda: listeners(pg), 5, "the listener's backend")
    for (pid,) in found:
        admin.query(f"SELECT pg_terminate_backend({pid})")
    for c in clients:
        m = c.read_until("E")[-1]
        assert m.fields["S"] == "FATAL" and "listened" in m.fields["M"], m
        with pytest.raises(Closed):
            c.read()
    assert bystander.value("SELECT 1") == "1"
    with login(p) as c:
        c.query("LISTEN a")
        admin.query("NOTIFY a, 'new'")
        assert heard(c) == [("a", "new")]


def test_listening_client_with_a_temp_table_moves_when_it_is_gone(pg, proxy, admin):
    p = proxy(pg, pool_size=3)
    first, c = login(p), login(p)
    first.query("LISTEN a")
    c.query("CREATE TEMP TABLE keeps (a int)")
    c.query("LISTEN a")
    admin.query("NOTIFY a, 'one'")
    assert heard(c) == [("a", "one")]
    assert c.value("SELECT count(*) FROM keeps") == "0"
    c.query("DROP TABLE keeps")
    progress(p, 2)
    admin.query("NOTIFY a, 'two'")
    assert heard(c) == [("a", "two")] and heard(first, 2)[1] == ("a", "two")


def test_client_of_another_encoding_hears_its_own(pg, proxy, admin):
    p = proxy(pg, pool_size=3)
    first, c = login(p), login(p, client_encoding="LATIN1")
    first.query("LISTEN a")
    c.query("LISTEN a")
    admin.query("NOTIFY a, 'caf\u00e9'")
    assert heard(first) == [("a", "caf\u00e9")]
    m = c.read_until("A")[-1]
    assert m.raw.endswith(b"caf\xe9\0")


@pytest.mark.parametrize("size", [1, 2, 20])
def test_behaviour_72_with_any_pool_size(pg, proxy, admin, size):
    p = proxy(pg, pool_size=size, config={"query_wait_timeout": 10})
    clients = [login(p) for _ in range(6)]
    for i, c in enumerate(clients):
        c.query("LISTEN all_of_us")
        c.query(f"LISTEN own{i}")
        admin.query(f"NOTIFY own{i}, 'at once'")            # LISTEN has returned: it is heard
        assert heard(c) == [(f"own{i}", "at once")]
    first = clients[0]
    first.query("CREATE TABLE IF NOT EXISTS listen_72 (a int PRIMARY KEY)")
    first.query("TRUNCATE listen_72; INSERT INTO listen_72 VALUES (1)")
    for end in ("ROLLBACK", "SELECT 1/0", "INSERT INTO listen_72 VALUES (1)"):
        first.query("BEGIN")
        first.query("NOTIFY all_of_us, 'never'")
        try:
            first.query(end)
        except ServerError:
            first.query("COMMIT")
    first.query("BEGIN")
    first.query("SELECT pg_notify('all_of_us', 'it''s \"quoted\"')")
    for c in clients[1:]:
        assert c.quiet(0.02)
    first.send(w.query("COMMIT"))
    msgs = [first.read()]
    while not {"A", "Z"} <= {m.type for m in msgs}:         # its own may come before or after the answer
        msgs.append(first.read())
    assert [m.fields["payload"] for m in msgs if m.type == "A"] == ["it's \"quoted\""]
    for c in clients[1:]:
        assert heard(c) == [("all_of_us", "it's \"quoted\"")]
    clients[1].query("UNLISTEN all_of_us")
    clients[2].query("UNLISTEN *")
    clients[3].close()
    admin.query("NOTIFY all_of_us, 'rest'")
    admin.query("NOTIFY own1, 'still'")
    for i in (0, 4, 5):
        assert heard(clients[i]) == [("all_of_us", "rest")]
    assert heard(clients[1]) == [("own1", "still")]
    assert clients[2].quiet(0.05)
    progress(p, size)
    for i in (0, 1, 4, 5):
        clients[i].query("SELECT 1")
        clients[i].close()
    wait_for(lambda: not listeners(pg), 10, "the listening server to end")


def test_one_server_listens_for_all_workers_and_beside_the_pool(pg, proxy, admin):
    """It does not count in pool_size: as many transactions as the pool has servers still run."""
    p = proxy(pg, pool_size=2)
    clients = [login(p) for _ in range(12)]
    for i, c in enumerate(clients):
        c.query(f"LISTEN a{i % 5}")
    progress(p, 2)
    wait_for(lambda: len(listeners(pg)) == 1, 5, "one listening server")
    pg.wait_backends(DB, 3, f"usename = '{USER}'")
    for c in clients:
        c.close()
    progress(p, 2)
    wait_for(lambda: len(pg.backends(DB, f"usename = '{USER}'")) <= 2, 5, "the pool to be as before")


@pytest.mark.parametrize("limit", ["max_db_connections", "max_user_connections"])
def test_limits_of_database_and_user_hold_and_leave_a_server_to_clients(pg, proxy, admin, limit):
    """With a limit of one there is no server beside the listening one: the client keeps its own."""
    p = proxy(pg, pool_size=5, config={limit: 1, "query_wait_timeout": 1})
    c, d = login(p), login(p)
    c.query("LISTEN a")
    admin.query("NOTIFY a, 'one'")
    assert heard(c) == [("a", "one")]
    assert "listen" in [r["pins"] for r in p.show("CLIENTS")]
    with pytest.raises(ServerError) as e:
        d.query("SELECT 1")
    assert e.value.code == "57014"
    p.config[limit] = 2
    p.reload()                                              # with room for two, it can leave
    wait_for(lambda: all(r["pins"] == "" for r in p.show("CLIENTS")), 5, "the client to leave its server")
    assert d.value("SELECT 1") == "1"
    admin.query("NOTIFY a, 'two'")
    assert heard(c) == [("a", "two")]
    assert len(pg.backends(DB, f"usename = '{USER}'")) <= 2
    p.config[limit] = 1
    p.reload()
    assert c.read_until("E")[-1].fields["S"] == "FATAL"
    assert d.value("SELECT 1") == "1"


class Churn:
    """Threads whose clients listen, are told by each other and leave, so that the listening server is made
    and given back all the time, by one worker or another.  Whoever has an answer to LISTEN hears what is
    sent after it, or (lossy) is closed."""

    def __init__(self, p, lossy=False, threads=8):
        self.p, self.lossy, self.failures, self.closed = p, lossy, [], [0] * threads
        self.threads = [threading.Thread(target=self._work, args=(i,)) for i in range(threads)]
        for t in self.threads:
            t.start()

    def _round(self, me, n):
        with login(self.p, timeout=20) as c, login(self.p, timeout=20) as d:
            c.query(f"LISTEN churn{me}")
            if n % 3 == 0:
                c.query("LISTEN everybody")
            d.query(f"NOTIFY churn{me}, '{n}'")
            got = heard(c)
            while got[-1][0] == "everybody":
                got += heard(c)
            assert got[-1] == (f"churn{me}", str(n)), got
            if n % 4 == 0:
                c.query("UNLISTEN *")
                assert c.value("SELECT 1") == "1"
            if n % 5 == 0:
                c.query("NOTIFY everybody")

    def _work(self, me):
        try:
            for n in range(25):
                try:
                    self._round(me, n)
                except (Closed, ServerError, FatalHeard):
                    if not self.lossy:
                        raise
                    self.closed[me] += 1
        except Exception as e:
            self.failures.append((me, repr(e)))

    def running(self):
        return any(t.is_alive() for t in self.threads)

    def end(self):
        for t in self.threads:
            t.join()
        assert not self.failures, self.failures


@pytest.mark.timeout(90)
def test_listening_server_comes_and_goes_under_load(pg, proxy, admin):
    p = proxy(pg, pool_size=2, config={"query_wait_timeout": 20})
    Churn(p).end()
    progress(p, 2)
    wait_for(lambda: not listeners(pg), 10, "the listening server to end")


@pytest.mark.timeout(90)
def test_listening_server_is_killed_again_and_again(pg, proxy, admin):
    """Nobody stays deaf: a client hears, or its connection ends."""
    p = proxy(pg, pool_size=3, config={"query_wait_timeout": 20})
    churn, killed = Churn(p, lossy=True), 0
    while churn.running():
        for (pid,) in listeners(pg):
            killed += admin.value(f"SELECT pg_terminate_backend({pid})") == "t"
    churn.end()
    assert killed > 5
    progress(p, 3)
    wait_for(lambda: not listeners(pg), 10, "the listening server to end")
    pg.wait_backends(DB, 3, f"usename = '{USER}'")


@pytest.mark.parametrize("command", ["PAUSE", "RECONNECT", "RELOAD"])
def test_console_is_not_held_up_by_a_listener(pg, proxy, admin, command):
    p = proxy(pg, pool_size=3)
    c, d = login(p), login(p)
    c.query("LISTEN a")
    d.query("LISTEN a")
    if command == "RELOAD":                     # servers of the old settings are retired
        p.databases["*"]["application_name"] = "other"
    with p.console() as con:
        p.reload() if command == "RELOAD" else con.run(command)
        for x in (c, d):
            assert x.read_until("E")[-1].fields["S"] == "FATAL"
        if command == "PAUSE":
            con.run("RESUME")
    with login(p) as e:
        e.query("LISTEN a")
        admin.query("NOTIFY a, 'again'")
        assert heard(e) == [("a", "again")]


def test_reset_query_does_not_matter_for_a_server_given_back(pg, proxy, admin):
    p = proxy(pg, pool_size=2, config={"server_reset_query": ""})
    c, d = login(p), login(p)
    c.query("LISTEN a")
    d.query("LISTEN a")
    c.close()
    d.close()
    cs = [login(p) for _ in range(2)]
    for x in cs:
        x.query("BEGIN")
    for x in cs:
        assert x.query("SELECT * FROM pg_listening_channels()") == []
        x.query("COMMIT")


def test_session_mode_is_as_ever(pg, proxy, admin):
    p = proxy(pg, mode="session", pool_size=3)
    with login(p) as c:
        c.query("LISTEN a")
        assert c.value("SELECT pg_listening_channels()") == "a"
        admin.query("NOTIFY a, 'one'")
        assert heard(c) == [("a", "one")]


@pytest.mark.timeout(120)
def test_a_thousand_listeners_over_five_servers(pg, proxy, admin):
    p = proxy(pg, pool_size=5)
    clients = [login(p, timeout=60) for _ in range(1000)]
    for i, c in enumerate(clients):
        c.send(w.query(f"LISTEN ch{i % 100}"))
    for c in clients:
        c.read_until()
    progress(p, 5, timeout=30)
    for i in range(100):
        admin.query(f"NOTIFY ch{i}, '{i}'")
    for i, c in enumerate(clients):
        assert heard(c) == [(f"ch{i % 100}", str(i % 100))]
    for c in clients:
        c.close()
    progress(p, 5, timeout=30)
