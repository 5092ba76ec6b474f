"""Issue 5: memory in front of Redis (local_ttl, mode ttl): no question to Redis, and no answer older than without it.

What is written through the process is seen at once, as with `store = memory`; what others write, and a DEL of the
application, is seen after local_ttl at most; and no answer is older than ttl.
"""
import struct
import threading
import time

import pytest
import test_cache as base

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.procs import wait_for
from support.relay import Relay

pytestmark = pytest.mark.penstock_only

BALANCE = base.BALANCE
WRITE = "UPDATE app.accounts SET balance = {} WHERE user_id = {}"
STORE = "[cache]\nstore = redis://127.0.0.1:{port}/0\nmode = ttl\nredis_timeout = {timeout}\nlocal_ttl = {local}\n"
ONE = base.RULES.split("[cache view]")[0]
LONG, SLACK = 60, 1.5


def up(rig):
    """Waits until all workers have their connection to Redis."""
    wait_for(lambda: all(r["state"] == "up" for r in rig.p.show("REDIS")), 15, lambda: str(rig.p.show("REDIS")))


class Rig(base.Rig):
    def __init__(self, proxy, pg, port, local=LONG, ttl=300, timeout=0.1, rules=base.RULES, workers=None):
        extra = rules.replace("[cache]\nmemory = 8MB\n", STORE.format(port=port, timeout=timeout, local=local))
        extra = extra.replace("ttl = 300\n", f"ttl = {ttl}\n")
        self.more = []
        p = proxy(databases={DB: {"host": pg.host, "port": pg.port}}, extra=extra,
                  config={"workers": workers} if workers else None)
        super().__init__(p, pg)
        up(self)

    def connect(self, *args, **params):
        self.more.append(super().connect(*args, **params))
        return self.more[-1]

    def ask(self, key=42, client=None):
        return (client or self.c).value(BALANCE.format(key))

    def local_hits(self, name="balance"):
        return self.rule(name)["local_hits"]

    def until_local(self, key=42):
        """Asks until the answer comes from memory; returns it."""
        before, got = self.local_hits(), []
        wait_for(lambda: got.append(self.ask(key)) or self.local_hits() > before, 5, lambda: str(self.rule()))
        return got[-1]

    def two(self):
        """Clients on two workers."""
        clients = {}
        for _ in range(20):
            c = self.connect()
            c.query("SELECT 1")
            mine = [r for r in self.p.show("CLIENTS") if r["database"] == DB and int(r["port"]) == c.sock.getsockname()[1]]
            clients.setdefault(mine[0]["worker"], c)
            if len(clients) == 2:
                return clients.values()
        raise AssertionError("one worker has all clients")

    def close(self):
        for c in self.more:
            c.abort()


@pytest.fixture
def start(pg, proxy, redis):
    made = []
    pg.sql(base.SCHEMA, DB)

    def make(port=None, **kw):
        made.append(Rig(proxy, pg, port or redis.port, **kw))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


def commands(redis, only=None):
    """How many commands Redis has been asked, but for INFO; or how many of one kind."""
    lines = redis("INFO", "commandstats").decode().split()
    calls = {x.split(":")[0][8:]: int(x.split("calls=")[1].split(",")[0]) for x in lines if x.startswith("cmdstat_")}
    return sum(n for name, n in calls.items() if (name == only if only else name.split("|")[0] != "info"))


def test_hit_in_memory_asks_redis_nothing(start, redis):
    rig = start()
    assert rig.until_local() == "4200"
    before, row = commands(redis), rig.rule()
    for _ in range(20):
        assert rig.ask() == "4200"
    assert commands(redis) == before
    after = rig.rule()
    assert after["local_hits"] == row["local_hits"] + 20 and after["hits"] == row["hits"] + 20
    assert after["store"] == "memory, redis" and after["entries"] >= 1 and after["misses"] == row["misses"]


def test_without_the_option_every_hit_asks(start, redis):
    rig = start(local=0)
    rig.warm(BALANCE.format(42))
    before = commands(redis)
    for _ in range(10):
        rig.ask()
    assert commands(redis) == before + 20
    row = rig.rule()
    assert row["local_hits"] == 0 and row["store"] == "redis" and row["entries"] is None


def test_answer_of_redis_is_kept_in_memory(start, redis):
    a, b = start(), start()
    a.warm(BALANCE.format(42))
    assert b.ask() == "4200"
    row, before = b.rule(), commands(redis)
    assert row["hits"] == 1 and row["local_hits"] == 0 and row["fills"] == 0
    assert b.ask() == "4200" and commands(redis) == before and b.local_hits() == 1


def test_life_in_redis_is_shorter_by_that_in_memory(start, redis):
    rig = start(ttl=300, local=100)
    rig.ask()
    wait_for(lambda: redis("EXISTS", "balance:42"), 2)
    assert 150000 < redis("PTTL", "balance:42") <= 200000


def old_for(rig, new, ask):
    """Seconds that an answer other than `new` is still given."""
    at = time.monotonic()
    wait_for(lambda: ask() == new, 10, lambda: str(rig.rule()))
    return time.monotonic() - at


def test_no_answer_is_older_than_ttl(start, pg, redis):
    """Taken from Redis shortly before it ends there, it is in memory for the rest of its time."""
    a, b = start(ttl=3, local=1), start(ttl=3, local=1)
    began = time.monotonic()
    assert a.ask() == "4200"
    pg.sql(WRITE.format(7, 42), DB)      # past the proxy
    wait_for(lambda: redis("PTTL", "balance:42") < 200, 10)
    assert b.ask() == "4200"
    old_for(b, "7", b.ask)
    assert time.monotonic() - began < 3 + 0.3


@pytest.mark.parametrize("write", [WRITE.format(7, 42), "UPDATE app.accounts SET balance = 7"])
def test_own_write_is_seen_at_once(start, write):
    rig = start()
    writer = rig.connect()
    for _ in range(5):
        writer.query(WRITE.format(4200, 42))
        wait_for(lambda: rig.until_local() == "4200", 5)
        writer.query(write)
        assert rig.ask() == "7"
    rig.until_local()
    assert rig.ask() == "7"


def test_own_write_is_seen_at_once_on_all_workers(start):
    rig = start(workers=2)
    a, b = rig.two()
    for n in range(200):
        a.query(WRITE.format(n, 42))
        assert rig.ask(client=b) == str(n)
        assert rig.ask(client=b) == str(n) == rig.ask(client=a)


@pytest.mark.parametrize("name", base.WRITERS)
def test_writer_is_seen(start, name):
    """All ways to write of test_cache.py, with memory in front of Redis."""
    rig = start()
    base.test_writer_is_seen(rig, name)


def test_what_another_process_writes_is_seen_in_time(start):
    a, b = start(local=1), start(local=1)
    assert a.until_local() == b.until_local() == "4200"
    b.c.query(WRITE.format(7, 42))
    assert b.ask() == "7"
    assert old_for(a, "7", a.ask) < 1 + SLACK


def test_deleted_key_is_seen_in_time(start, pg, redis):
    rig = start(local=1)
    assert rig.until_local() == "4200"
    pg.sql(WRITE.format(7, 42), DB)      # past the proxy
    assert redis("DEL", "balance:42") == 1
    assert old_for(rig, "7", rig.ask) < 1 + SLACK


def test_flush_closes_memory_and_redis(start, pg, redis):
    rig = start(workers=2)
    for what in ("", " balance", " balance:42"):
        pg.sql(WRITE.format(4200, 42), DB)
        with rig.p.console() as con:
            con.query("CACHE FLUSH")
            wait_for(lambda: rig.until_local() == "4200", 5)
            pg.sql(WRITE.format(7, 42), DB)      # past the proxy
            assert rig.ask() == "4200"
            con.query("CACHE FLUSH" + what)
            assert rig.ask() == "7"
        assert rig.until_local() == "7"


def test_redis_that_is_down(start, pg, redis):
    """Memory goes on to answer, and alone keeps what the database says."""
    rig = start()
    assert rig.until_local() == "4200"
    redis.kill()
    wait_for(lambda: rig.p.show("REDIS")[0]["state"] != "up", 5)
    before = rig.local_hits()
    for _ in range(5):
        assert rig.ask() == "4200"
    assert rig.local_hits() == before + 5
    assert rig.ask(43) == "4300" and rig.ask(43) == "4300"
    assert rig.local_hits() == before + 6
    rig.c.query(WRITE.format(7, 43))
    assert rig.ask(43) == "7" and rig.ask(43) == "7"
    assert rig.local_hits() == before + 7
    redis.start()
    up(rig)
    assert rig.ask(44) == "4400"
    wait_for(lambda: redis("EXISTS", "balance:44"), 2)


def test_key_of_another_type_is_left_alone(start, redis):
    rig = start()
    redis("SET", "balance:42", "mine")
    assert [rig.ask() for _ in range(3)] == ["4200"] * 3
    assert redis("GET", "balance:42") == b"mine" and rig.local_hits() == 2


def test_formats_users_and_settings_have_entries_of_their_own(start):
    rig = start()
    read = "SELECT id, at, x, b FROM app.events WHERE id = {}"
    binary = w.parse(read.format("$1"), types=(23,)) + w.bind(["5"], results=(1,)) + w.execute() + w.sync()
    other = rig.connect("other", "other secret")
    german = rig.connect()
    german.query("SET DateStyle = 'German'")
    for _ in range(3):
        rig.check(read.format(5))
        rig.check(read.format(5), client=other, reader=lambda: rig.direct("other", "other secret"))
        with rig.direct() as d:
            d.query("SET DateStyle = 'German'")
            want = d.query(read.format(5))
        assert german.query(read.format(5)) == want
        got = [m.fields["values"] for m in rig.c.ask(binary) if m.type == "D"]
        assert got[0][0] == struct.pack("!i", 5)
    row = rig.rule("event")
    assert row["entries"] == 4 == row["fills"] and row["local_hits"] == 8 == row["hits"]


def test_description_that_is_missing_is_fetched(start):
    """An entry without one is no hit for who wants it, in either place."""
    rig = start()
    bare = w.parse(BALANCE.format("$1"), types=(23,)) + w.bind(["42"]) + w.execute() + w.sync()
    full = w.parse(BALANCE.format("$1"), types=(23,)) + w.bind(["42"]) + w.describe(kind="P") + w.execute() + w.sync()
    for _ in range(2):
        assert [m.type for m in rig.c.ask(bare)] == ["1", "2", "D", "C", "Z"]
    for _ in range(3):
        assert [m.type for m in rig.c.ask(full)] == ["1", "2", "T", "D", "C", "Z"]
    assert rig.local_hits() == 3


def test_processes_with_other_times_share_no_entries(start, redis):
    """Each promises an age by its own rule, and a hash ends with the first of its entries."""
    a, b = start(ttl=300, local=0), start(ttl=300, local=100)
    a.ask()
    wait_for(lambda: redis("PTTL", "balance:42") > 260000, 2)
    b.ask()
    wait_for(lambda: redis("HLEN", "balance:42") == 2, 2)
    assert redis("PTTL", "balance:42") <= 200000 and b.rule()["misses"] == 1


def test_reload_drops_what_is_in_memory(start, pg):
    rig = start()
    assert rig.until_local() == "4200"
    rig.p.extra = rig.p.extra.replace(f"local_ttl = {LONG}", "local_ttl = 1")
    rig.p.write()
    with rig.p.console() as con:
        con.query("RELOAD")
    pg.sql(WRITE.format(7, 42), DB)      # past the proxy
    wait_for(lambda: rig.rule()["state"] == "ready", 10)
    assert rig.ask() == "7"


def test_slow_read_that_an_update_overtakes_is_kept_nowhere(start, redis):
    rig = start()
    reader, writer = rig.connect(), rig.connect()
    with base.locked(rig, base.LEDGER) as lock:
        reader.send(w.query(base.TOTAL))
        wait_for(lambda: rig.rule("total")["misses"] == 1, 5)
        writer.send(w.query("UPDATE app.ledger SET amount = amount + 1 WHERE user_id = 4"))
        wait_for(lambda: int(lock.value("SELECT count(*) FROM pg_locks WHERE NOT granted")) >= 2, 5)
        lock.query("COMMIT")
    reader.read_until()
    writer.read_until()
    assert redis("EXISTS", "total:4") == 0 and rig.rule("total")["refused"] == 1
    rig.check(base.TOTAL)
    rig.check(base.TOTAL)


# ---- a write between the question to Redis and its answer ------------------------------------------------

class Gate(Relay):
    """Keeps back what asks Redis so, or what Redis says to it, until it is opened."""

    def __init__(self, redis, words, answers):
        self.words, self.answers, self.held = words, answers, set()
        self.open_now = threading.Event()
        self.waits = threading.Event()
        super().__init__(redis.host, redis.port)

    def _pump(self, source, sink):
        while data := self._hear(source):
            if source in self.held:
                self._wait()
            if all(x in data for x in self.words) and not self.open_now.is_set():
                if self.answers:
                    self.held.add(sink)
                else:
                    self._wait()
            try:
                sink.sendall(data)
            except OSError:
                return

    def _wait(self):
        self.waits.set()
        self.open_now.wait(10)

    @staticmethod
    def _hear(source):
        try:
            return source.recv(65536)
        except OSError:
            return b""


def test_answer_of_redis_from_before_a_write_is_served_to_nobody(start, redis):
    """The write begins and ends while the answer is on its way."""
    with Gate(redis, [], answers=True) as gate:
        gate.open_now.set()
        rig = start(port=gate.port, timeout=1, workers=2)
        a, b = rig.two()
        start().ask()
        wait_for(lambda: redis("EXISTS", "balance:42"), 2)
        gate.words = [b"HMGET", b"balance:42"]
        gate.open_now.clear()
        a.send(w.query(BALANCE.format(42)))
        assert gate.waits.wait(5)
        b.query(WRITE.format(7, 42))
        wait_for(lambda: redis("EXISTS", "balance:42") == 0, 2)
        gate.open_now.set()
        assert w.rows_of(a.read_until()) == [["7"]]
        assert rig.rule()["hits"] == 0
        assert rig.ask(client=b) == rig.ask(client=a) == "7"


def test_name_is_closed_until_redis_has_removed_it(start, redis):
    """Another worker must not fetch there what is just being removed."""
    with Gate(redis, [], answers=False) as gate:
        gate.open_now.set()
        rig = start(port=gate.port, timeout=1, workers=2)
        a, b = rig.two()
        assert rig.ask(client=a) == "4200"
        wait_for(lambda: redis("EXISTS", "balance:42"), 2)
        gate.words = [b"EVALSHA", b"balance:42"]
        gate.open_now.clear()
        b.query(WRITE.format(7, 42))
        assert gate.waits.wait(5) and redis("EXISTS", "balance:42")
        before = commands(redis, "hmget")
        assert rig.ask(client=a) == "7" and commands(redis, "hmget") == before
        gate.open_now.set()
        wait_for(lambda: redis("EXISTS", "balance:42") == 0, 2)
        assert rig.ask(client=a) == rig.ask(client=b) == "7"


def test_entry_that_a_write_overtakes_on_its_way_to_redis_is_removed(start, redis):
    with Gate(redis, [], answers=False) as gate:
        gate.open_now.set()
        rig = start(port=gate.port, timeout=1, workers=2, rules=ONE)
        a, b = rig.two()
        rig.ask(43, a)
        wait_for(lambda: redis("EXISTS", "balance:43"), 2)
        before = commands(redis, "evalsha")
        gate.words = [b"EVALSHA", b"balance:42", b"4200"]        # the entry
        gate.open_now.clear()
        assert rig.ask(client=a) == "4200"
        assert gate.waits.wait(5)
        b.query(WRITE.format(7, 42))
        wait_for(lambda: commands(redis, "evalsha") == before + 1, 5)        # the write's removal
        gate.open_now.set()
        wait_for(lambda: commands(redis, "evalsha") == before + 3, 5)        # the entry, and its removal
        assert redis("EXISTS", "balance:42") == 0 and rig.ask(client=a) == "7"


def test_time_in_memory_begins_when_redis_is_asked(start, redis):
    """What comes late is as old as if it had come at once."""
    with Gate(redis, [b"HMGET", b"balance:42"], answers=True) as gate:
        gate.open_now.set()
        a, b = start(local=0.2), start(port=gate.port, timeout=1, local=0.2)
        a.ask()
        wait_for(lambda: redis("EXISTS", "balance:42"), 2)
        gate.open_now.clear()
        at = time.monotonic()
        b.c.send(w.query(BALANCE.format(42)))
        assert gate.waits.wait(5)
        wait_for(lambda: time.monotonic() > at + 0.3, 2)
        gate.open_now.set()
        assert w.rows_of(b.c.read_until()) == [["4200"]]
        row = b.rule()
        assert row["hits"] == 1 and row["entries"] == 0


def test_entry_that_comes_after_a_later_write_is_removed(start, redis):
    """One worker's entry is held up on its way; the other's write removes what is not there yet."""
    with Gate(redis, [], answers=False) as gate:
        gate.open_now.set()
        rig = start(port=gate.port, timeout=0.05, workers=2, rules=ONE, local=1)
        a, b = rig.two()
        rig.ask(43, a)
        wait_for(lambda: redis("EXISTS", "balance:43"), 2)
        gate.words = [b"EVALSHA", b"balance:42", b"4200"]        # the entry
        gate.open_now.clear()
        assert rig.ask(client=a) == "4200"
        assert gate.waits.wait(5)
        wait_for(lambda: sum(int(r["late"]) for r in rig.p.show("REDIS")) > 0, 5)
        before = commands(redis, "evalsha")
        b.query(WRITE.format(7, 42))
        wait_for(lambda: commands(redis, "evalsha") > before, 2)
        gate.open_now.set()
        wait_for(lambda: commands(redis, "evalsha") >= before + 3, 2)        # the entry, and its removal
        wait_for(lambda: rig.ask(client=a) == rig.ask(client=b) == "7", 3)
        assert redis("HLEN", "balance:42") <= 1 and rig.ask(client=a) == "7"
