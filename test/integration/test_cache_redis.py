"""Issue 5: entries in Redis, mode ttl: keys that people can read, shared by processes, and never in the way.

Whatever Redis does, a client gets the database's answer, no error, and not much later.
"""
import struct
import time

import pytest

from support import pgwire as w
from support import procs
from support.certs import LOCAL, Certs
from support.common import DB, SECRET, USER
from support.procs import wait_for
from support.redis import Redis

pytestmark = pytest.mark.penstock_only

SCHEMA = f"""
DROP SCHEMA IF EXISTS app CASCADE;
CREATE SCHEMA app;
CREATE TABLE app.accounts (user_id int PRIMARY KEY, balance bigint NOT NULL);
INSERT INTO app.accounts SELECT g, g * 100 FROM generate_series(1, 60) g;
GRANT ALL ON SCHEMA app TO {USER};
GRANT ALL ON ALL TABLES IN SCHEMA app TO {USER};
"""
RULES = """
[cache]
store = redis://127.0.0.1:{port}/0
mode = {mode}
{more}
[cache balance]
query = SELECT balance FROM app.accounts WHERE user_id = $1
key = balance:$1
ttl = {ttl}
"""
BALANCE = "SELECT balance FROM app.accounts WHERE user_id = {}"


def row(p):
    r = p.show("CACHE")[0]
    return {**{k: int(v) for k, v in r.items() if v and v.isdigit()}, "state": r["state"], "store": r["store"],
            "bypasses": {k: int(v) for k, v in (x.split("=") for x in r["bypasses"].split())}}


@pytest.fixture
def start(pg, proxy, redis):
    pg.sql(SCHEMA, DB)

    def make(ttl=300, mode="ttl", more="redis_timeout = 0.05", server=None, wait=True):
        p = proxy(databases={DB: {"host": pg.host, "port": pg.port}},
                  extra=RULES.format(port=(server or redis).port, ttl=ttl, more=more, mode=mode))
        with p.connect(USER, SECRET, DB) as c:
            c.query("SELECT 1")
        wait_for(lambda: row(p)["state"] == "ready", 15)
        if wait:
            with p.connect(USER, SECRET, DB) as c:        # until the connection to Redis is open
                wait_for(lambda: c.query(BALANCE.format(60)) and row(p)["hits"] + row(p)["misses"] > 0, 5)
        return p

    return make


def test_entry_is_a_hash_under_a_name_that_people_can_read(start, redis):
    p = start()
    with p.connect(USER, SECRET, DB) as c:
        for _ in range(3):
            assert c.query(BALANCE.format(42)) == [["4200"]]
        assert redis("TYPE", "balance:42") == "hash"
        assert redis("HLEN", "balance:42") == 1
        assert 200000 < redis("PTTL", "balance:42") <= 300000
        binary = w.parse(BALANCE.format("$1"), types=(23,)) + w.bind(["42"], results=(1,)) + w.execute() + w.sync()
        for _ in range(3):
            got = [m for m in c.ask(binary) if m.type == "D"]
            assert got[0].fields["values"] == [struct.pack("!q", 4200)]
        assert redis("HLEN", "balance:42") == 2        # the variants of one answer
    got = row(p)
    assert got["hits"] >= 4 and got["store"] == "redis"


def test_application_deletes_a_key(start, pg, redis):
    p = start()
    with p.connect(USER, SECRET, DB) as c:
        c.query(BALANCE.format(42))
        pg.sql("UPDATE app.accounts SET balance = 7 WHERE user_id = 42", DB)        # past the proxy
        assert c.query(BALANCE.format(42)) == [["4200"]]
        assert redis("DEL", "balance:42") == 1
        assert c.query(BALANCE.format(42)) == [["7"]]


def test_write_of_one_row_through_the_proxy_removes_its_key(start, redis):
    p = start()
    with p.connect(USER, SECRET, DB) as c:
        for k in (41, 42):
            c.query(BALANCE.format(k))
        c.query("UPDATE app.accounts SET balance = 7 WHERE user_id = 42")
        wait_for(lambda: redis("EXISTS", "balance:42") == 0, 2)
        assert redis("EXISTS", "balance:41") == 1
        assert c.query(BALANCE.format(42)) == [["7"]]


def test_processes_share_their_entries(start, redis):
    a, b = start(), start()
    with a.connect(USER, SECRET, DB) as c:
        c.query(BALANCE.format(42))
    wait_for(lambda: redis("EXISTS", "balance:42") == 1, 2)
    with b.connect(USER, SECRET, DB) as c:
        assert c.query(BALANCE.format(42)) == [["4200"]]
    assert row(b)["hits"] >= 1


def test_entry_ends_with_its_time_though_others_are_stored_later(start, redis):
    p = start(ttl=1)
    with p.connect(USER, SECRET, DB) as c:
        c.query(BALANCE.format(42))
        first = redis("PTTL", "balance:42")
        time.sleep(0.3)
        c.ask(w.parse(BALANCE.format("$1"), types=(23,)) + w.bind(["42"], results=(1,)) + w.execute() + w.sync())
        assert redis("HLEN", "balance:42") == 2 and redis("PTTL", "balance:42") < first - 200
        wait_for(lambda: redis("EXISTS", "balance:42") == 0, 2)


def test_prefix_password_and_database(start):
    server = Redis("--requirepass", "red secret")
    try:
        p = start(server=server, more="prefix = shop:\nredis_password = red secret\nredis_timeout = 0.05")
        with p.connect(USER, SECRET, DB) as c:
            c.query(BALANCE.format(42))
        wait_for(lambda: server("EXISTS", "shop:balance:42") == 1, 2)
    finally:
        server.close()


@pytest.fixture(scope="module")
def certs():
    made = Certs()
    made.pair("redis", "redis", san=LOCAL)
    made.pair("client", "client")
    return made


@pytest.fixture
def secure(certs):
    port = procs.Port()
    server = Redis("--tls-port", str(port.number), "--tls-cert-file", certs.path("redis.crt"), "--tls-key-file",
                   certs.path("redis.key"), "--tls-ca-cert-file", certs.ca, "--tls-auth-clients", "optional")
    server.tls = port.number
    yield server
    server.close()
    port.release()


def over_tls(start, secure, more, wait=True):
    text = f"redis_timeout = 0.05\nstore = rediss://127.0.0.1:{secure.tls}/0\n{more}"
    return start(server=secure, more=text, wait=wait)


@pytest.mark.parametrize("more", ["redis_tls_ca_file = {ca}", "redis_tls_sslmode = require", "redis_tls_sslmode = verify-ca\n"
                                  "redis_tls_ca_file = {ca}\nredis_tls_cert_file = {client}.crt\n"
                                  "redis_tls_key_file = {client}.key"])
def test_tls(start, secure, certs, more):
    p = over_tls(start, secure, more.format(ca=certs.ca, client=certs.path("client")))
    with p.connect(USER, SECRET, DB) as c:
        c.query(BALANCE.format(42))
        wait_for(lambda: secure("EXISTS", "balance:42") == 1, 5)
        assert c.query(BALANCE.format(42)) == [["4200"]]
    assert row(p)["hits"] >= 1


def test_redis_that_cannot_be_verified_is_not_used(start, secure, certs):
    p = over_tls(start, secure, f"redis_tls_ca_file = {certs.evil}", wait=False)
    wait_for(lambda: "Redis" in p.log_text() and "certificate" in p.log_text(), 5, p.log_text)
    with p.connect(USER, SECRET, DB) as c:
        assert c.query(BALANCE.format(42)) == [["4200"]]
    assert secure("EXISTS", "balance:42") == 0 and row(p)["bypasses"]["store"] >= 1


def test_flush_of_a_key(start, redis):
    p = start()
    with p.connect(USER, SECRET, DB) as c, p.console() as con:
        for k in (41, 42):
            c.query(BALANCE.format(k))
        con.query("CACHE FLUSH balance:42")
        wait_for(lambda: redis("EXISTS", "balance:42") == 0, 2)
        assert redis("EXISTS", "balance:41") == 1


@pytest.mark.parametrize("mode", ["ttl", "lease"])
@pytest.mark.parametrize("what", ["", " balance"])
def test_flush_of_a_rule_counts_for_all_processes(start, pg, mode, what):
    a, b = start(mode=mode), start(mode=mode)
    with a.connect(USER, SECRET, DB) as c, b.connect(USER, SECRET, DB) as d, a.console() as con:
        def kept():
            """Both are answered from Redis."""
            before = [row(p)["hits"] for p in (a, b)]
            got = [c.query(BALANCE.format(42)), d.query(BALANCE.format(42))]
            return got if all(row(p)["hits"] > n for p, n in zip((a, b), before)) else None

        assert wait_for(kept, 10) == [[["4200"]]] * 2
        pg.sql("UPDATE app.accounts SET balance = 7 WHERE user_id = 42", DB)        # past the proxies
        assert wait_for(kept, 10) == [[["4200"]]] * 2
        con.query("CACHE FLUSH" + what)
        wait_for(lambda: c.query(BALANCE.format(42)) == d.query(BALANCE.format(42)) == [["7"]], 2)
        assert wait_for(kept, 10) == [[["7"]]] * 2


def test_flush_tells_that_redis_cannot_be_reached(start, redis):
    p = start()
    redis.kill()
    with p.console() as con:
        wait_for(lambda: "Redis" in p.log_text(), 5)
        with pytest.raises(w.ServerError, match="cannot be reached"):
            con.query("CACHE FLUSH")


# ---- when Redis is not well -----------------------------------------------------------------------------

def ask_many(p, n=40):
    """Seconds that the slowest of n answers took; each is right."""
    worst = 0
    with p.connect(USER, SECRET, DB) as c:
        for i in range(n):
            k, at = 1 + i % 30, time.monotonic()
            assert c.query(BALANCE.format(k)) == [[str(k * 100)]]
            worst = max(worst, time.monotonic() - at)
    return worst


def test_redis_that_is_down(start, redis):
    p = start()
    redis.kill()
    wait_for(lambda: "Redis" in p.log_text(), 5)
    assert ask_many(p) < 1
    assert row(p)["bypasses"]["store"] >= 30
    redis.start()
    with p.connect(USER, SECRET, DB) as c:
        wait_for(lambda: c.query(BALANCE.format(5)) and redis("EXISTS", "balance:5") == 1, 10)


def test_redis_that_was_never_there(start):
    server = Redis()
    server.kill()
    p = start(server=server, wait=False)
    assert ask_many(p) < 1
    server.close()


def test_redis_that_stops_answering_costs_its_timeout_and_soon_nothing(start, redis):
    p = start(more="redis_timeout = 0.02")
    redis.freeze()
    assert ask_many(p, 60) < 1
    at = time.monotonic()
    ask_many(p, 60)
    assert time.monotonic() - at < 60 * 0.02        # the connection was given up
    redis.thaw()
    with p.connect(USER, SECRET, DB) as c:
        before = row(p)["hits"]
        wait_for(lambda: c.query(BALANCE.format(5)) and row(p)["hits"] > before, 15)


def test_redis_without_memory(start, redis):
    p = start()
    redis("CONFIG", "SET", "maxmemory", "1")
    redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert ask_many(p) < 1
    redis("CONFIG", "SET", "maxmemory", "0")
    with p.connect(USER, SECRET, DB) as c:
        before = row(p)["hits"]
        wait_for(lambda: c.query(BALANCE.format(5)) and row(p)["hits"] > before, 10)


def test_redis_that_has_become_a_replica(start, redis):
    p = start()
    redis("REPLICAOF", "127.0.0.1", "1")
    assert ask_many(p) < 1
    wait_for(lambda: ask_many(p) and "takes no writes: READONLY" in p.log_text(), 5, p.log_text)
    redis("REPLICAOF", "NO", "ONE")
    with p.connect(USER, SECRET, DB) as c:
        wait_for(lambda: c.query(BALANCE.format(59)) and redis("EXISTS", "balance:59") == 1, 15)


def test_key_of_another_type_is_left_alone(start, redis):
    p = start()
    redis("SET", "balance:42", "mine")
    with p.connect(USER, SECRET, DB) as c:
        for _ in range(3):
            assert c.query(BALANCE.format(42)) == [["4200"]]
    assert redis("GET", "balance:42") == b"mine"
    assert row(p)["bypasses"]["store"] >= 3


@pytest.mark.parametrize("how", ["garbage", "cut", "bit", "other"])
def test_forged_value_is_not_served(start, redis, how):
    p = start()
    with p.connect(USER, SECRET, DB) as c:
        for k in (41, 42):
            c.query(BALANCE.format(k))
        field = redis("HKEYS", "balance:42")[0]
        value = redis("HGET", "balance:42", field)
        other = redis("HGET", "balance:41", redis("HKEYS", "balance:41")[0])
        forged = {"garbage": b"x" * 200, "cut": value[:-3], "other": other,
                  "bit": value[:-20] + bytes([value[-20] ^ 1]) + value[-19:]}[how]
        redis("HSET", "balance:42", field, forged)
        for _ in range(3):
            assert c.query(BALANCE.format(42)) == [["4200"]]
        assert redis("HGET", "balance:42", field) == forged        # it is somebody's
    assert row(p)["bypasses"]["store"] >= 3


def test_flushall_costs_hits_only(start, redis):
    p = start()
    with p.connect(USER, SECRET, DB) as c:
        for _ in range(5):
            assert c.query(BALANCE.format(42)) == [["4200"]]
            redis("FLUSHALL")


def test_rule_is_dropped_at_once(start, redis):
    p = start()
    with p.connect(USER, SECRET, DB) as c:
        for k in (41, 42):
            c.query(BALANCE.format(k))
        c.query("UPDATE app.accounts SET balance = balance + 1")
        wait_for(lambda: redis("HGET", "penstock:rule:app:balance", "g") is not None, 2)
        assert c.query(BALANCE.format(42)) == [["4201"]] and c.query(BALANCE.format(41)) == [["4101"]]
        before = row(p)["hits"]
        assert c.query(BALANCE.format(42)) == [["4201"]] and row(p)["hits"] == before + 1


def test_databases_of_one_name_on_two_hosts_are_two(start, pg, redis):
    """The same entry leads elsewhere in another process; what one keeps is not the other's."""
    a = start()
    pg_host, pg.host = pg.host, "localhost"
    try:
        b = start()
    finally:
        pg.host = pg_host
    for p in (a, b):
        with p.connect(USER, SECRET, DB) as c:
            c.query(BALANCE.format(42))
    wait_for(lambda: redis("HLEN", "balance:42") == 2, 2)


def test_two_processes_of_one_port_need_names(pg, proxy):
    p = proxy(pg, config={"so_reuseport": 1})
    p.extra = RULES.format(port=1, ttl=5, more="", mode="lease")
    p.write()
    with p.console() as con, pytest.raises(w.ServerError):
        con.query("RELOAD")
    assert "lease with so_reuseport needs a redis_name or a peer_id" in p.log_text()
