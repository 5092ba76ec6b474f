"""Issue 5: mode lease in Redis: two processes, one store, and no answer older than an acknowledged write.

Every writer of test_cache.py writes through one process and is looked for through the other.  Then Redis is lost, stopped,
filled, cleared and forged while writes are open, and processes are killed between a commit and what follows it.
"""
import signal
import time
from contextlib import contextmanager

import pytest
import test_cache as base
from test_upgrade import Heirs

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.penstock import ADMIN, ADMIN_SECRET
from support.procs import wait_for
from support.relay import Relay

pytestmark = pytest.mark.penstock_only

BALANCE = base.BALANCE
LEASE = "[cache]\nstore = redis://127.0.0.1:{port}/0\nmode = lease\n{more}"
QUICK = "redis_timeout = 0.05\n"


class Pair(base.Rig):
    """Reads through `p` (as the rig of test_cache.py does), writes through `q`."""

    def __init__(self, pg, proxy, redis, more=QUICK, rules=base.RULES, wait=True, through=None):
        pg.sql(base.SCHEMA, DB)
        self.redis = redis
        extra = rules.replace("[cache]\nmemory = 8MB\n", LEASE.format(port=redis.port, more=more))
        here = {DB: {"host": pg.host, "port": pg.port}}
        there = {DB: {"host": (through or pg).host, "port": (through or pg).port}}
        self.q = proxy(databases=there, extra=extra)
        super().__init__(proxy(databases=here, extra=extra), pg)
        self.d = self.q.connect(USER, SECRET, DB)
        self.d.query("SELECT 1")
        wait_for(lambda: all(r["state"] == "ready" for r in self.q.show("CACHE")), 15)
        if wait:
            self.wait_until_served()

    def wait_until_served(self):
        before = self.hits()
        wait_for(lambda: self.c.query(BALANCE.format(60)) and self.hits() > before, 15, lambda: str(self.rule()))

    def warm(self, sql, name="balance", client=None):
        before, got = self.hits(name), None

        def hit():
            nonlocal got
            got = w.rows_of((client or self.c).ask(w.query(sql)))
            return self.hits(name) > before
        wait_for(hit, 10, lambda: str(self.rule(name)))
        return got

    def missed(self):
        """How often nothing was served because a member was missing."""
        return self.rule()["bypasses"].get("members", 0)

    def write(self, balance, key=42):
        self.d.query(f"UPDATE app.accounts SET balance = {balance} WHERE user_id = {key}")

    def close(self):
        self.c.close()
        self.d.close()


@pytest.fixture
def make(pg, proxy, redis):
    made = []

    def pair(**kw):
        made.append(Pair(pg, proxy, redis, **kw))
        return made[-1]
    yield pair
    for x in made:
        x.close()


@pytest.fixture
def pair(make):
    return make()


def cut_off(redis, yes):
    """Redis goes on to answer, but records nothing."""
    redis("ACL", "SETUSER", "default", "-@scripting" if yes else "+@all")


# ---- writers ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", base.WRITERS)
def test_writer_is_seen_through_the_other_process(pair, name):
    view = "SELECT balance FROM app.rich WHERE user_id = 42"
    pair.warm(BALANCE.format(42))
    pair.warm(view, "view")
    for data in base.WRITERS[name]:
        pair.d.send(data)
        for _ in range(max(1, data.count(b"Q\x00"))):
            assert not w.errors_of(pair.d.read_until())
    got = pair.c.ask(w.query(BALANCE.format(42)))
    with pair.direct() as d:
        assert base.raw(got) == base.raw(d.ask(w.query(BALANCE.format(42))))
        if name != "change of type":
            assert w.rows_of(pair.c.ask(w.query(view))) == w.rows_of(d.ask(w.query(view)))


def test_writers_of_partitions_are_seen(pair):
    pair.warm("SELECT v FROM app.parts WHERE id = 7", "part")
    pair.warm("SELECT v FROM app.parts_1 WHERE id = 7", "child")
    pair.d.query("UPDATE app.parts_1 SET v = 700 WHERE id = 7")
    assert pair.check("SELECT v FROM app.parts WHERE id = 7") == [["700"]]
    pair.warm("SELECT v FROM app.parts_1 WHERE id = 7", "child")
    pair.d.query("UPDATE app.parts SET id = 77 WHERE id = 7")
    assert pair.check("SELECT v FROM app.parts_1 WHERE id = 7") == []


def test_slow_read_that_an_update_overtakes_is_not_kept(pair):
    reader, writer = pair.connect(), pair.q.connect(USER, SECRET, DB)
    pair.warm(base.TOTAL, "total")
    pair.d.query("UPDATE app.ledger SET amount = amount + 1 WHERE user_id = 4")
    with base.locked(pair, base.LEDGER) as lock:
        reader.send(w.query(base.TOTAL))
        wait_for(lambda: lock.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1", 5)
        writer.send(w.query("UPDATE app.ledger SET amount = amount + 1 WHERE user_id = 4"))
        wait_for(lambda: int(lock.value("SELECT count(*) FROM pg_locks WHERE NOT granted")) >= 2, 5)
        lock.query("COMMIT")
    reader.read_until()
    writer.read_until()
    for _ in range(3):
        pair.check(base.TOTAL)
    reader.close()
    writer.close()


def test_transaction_is_seen_with_its_commit_and_never_after_a_rollback(pair):
    pair.warm(BALANCE.format(42))
    for end, want in (("ROLLBACK", "4200"), ("COMMIT", "1")):
        pair.d.query("BEGIN")
        pair.write(1)
        before = pair.hits()
        assert pair.check(BALANCE.format(42)) == [["4200"]] and pair.hits() > before
        assert pair.d.query(BALANCE.format(42)) == [["1"]]
        pair.d.query(end)
        assert pair.check(BALANCE.format(42)) == [[want]]
        if end == "ROLLBACK":
            pair.warm(BALANCE.format(42))


def test_entries_are_shared_and_people_can_read_their_names(pair):
    pair.warm(BALANCE.format(42))
    before = int(pair.q.show("CACHE")[0]["hits"])
    assert pair.d.query(BALANCE.format(42)) == [["4200"]]
    assert int(pair.q.show("CACHE")[0]["hits"]) == before + 1
    assert pair.redis("TYPE", "balance:42") == "hash"
    pair.write(7)
    assert pair.redis("EXISTS", "balance:42") == 0
    assert pair.redis("DEL", "balance:41") == 0 and pair.check(BALANCE.format(41)) == [["4100"]]


PAYS = f"""
CREATE FUNCTION app.on_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN UPDATE app.accounts SET balance = NEW.amount WHERE user_id = NEW.user_id; RETURN NEW; END $$;
ALTER TABLE app.ledger OWNER TO {USER};
"""
TRIGGER = "CREATE TRIGGER t AFTER INSERT ON app.ledger FOR EACH ROW EXECUTE FUNCTION app.on_ledger()"


def test_trigger_made_through_the_other_process_is_soon_known(pair):
    """The reader's process writes to a table that was harmless until the other one made a trigger."""
    pair.pg.sql(PAYS, DB)
    pair.warm(BALANCE.format(42))
    pair.d.query(TRIGGER)
    numbers = iter(range(70, 1000))

    def right():
        n = str(next(numbers))
        pair.warm(BALANCE.format(42))
        pair.c.query(f"INSERT INTO app.ledger VALUES (42, {n})")
        return pair.c.query(BALANCE.format(42)) == pair.d.query(BALANCE.format(42)) == [[n]]
    # once may be luck while the other process does not know yet, for a part of a membership's time
    wait_for(lambda: right() and right() and right(), 5)
    assert right() and right()


def test_write_that_runs_a_trigger_made_after_it_was_sent_is_seen(pair):
    pair.pg.sql(PAYS, DB)
    pair.warm(BALANCE.format(42))
    with pair.q.connect(USER, SECRET, DB) as definer:
        definer.query("BEGIN")
        definer.query(TRIGGER)
        ready = lambda: all(r["state"] == "ready" for r in pair.q.show("CACHE"))  # noqa: E731
        wait_for(lambda: pair.d.query("SELECT 1") and ready(), 10)        # it is not there for others yet
        pair.d.query("BEGIN")
        pair.d.send(w.query("INSERT INTO app.ledger VALUES (42, 7)"))
        wait_for(lambda: pair.pg.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1", 10)
        definer.query("COMMIT")
        pair.d.read_until()
        pair.warm(BALANCE.format(42))
        pair.d.query("COMMIT")
        assert pair.check(BALANCE.format(42)) == [["7"]]


# ---- intents ------------------------------------------------------------------------------------------

def blocked(pair):
    wait_for(lambda: pair.pg.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") != "0", 5)


@pytest.mark.parametrize("fault", [("FLUSHALL",), ("DEL", "balance:42"), ("SCRIPT", "FLUSH")])
def test_intent_that_is_lost_while_its_write_is_open(pair, fault):
    """A reader may then keep the old row; the end of the write takes it away before the client hears of it."""
    pair.warm(BALANCE.format(42))
    writer = pair.q.connect(USER, SECRET, DB)
    with base.locked(pair, base.ROW) as lock:
        writer.send(w.query("UPDATE app.accounts SET balance = 5 WHERE user_id = 42"))
        blocked(pair)
        pair.redis(*fault)
        for _ in range(5):
            assert pair.check(BALANCE.format(42)) == [["4200"]]
        lock.query("COMMIT")
    writer.read_until()
    for _ in range(3):
        assert pair.check(BALANCE.format(42)) == [["5"]]
    writer.close()


def test_open_write_is_in_redis_and_keeps_others_from_the_entry(pair):
    pair.warm(BALANCE.format(42))
    writer = pair.q.connect(USER, SECRET, DB)
    with base.locked(pair, base.ROW) as lock:
        writer.send(w.query("UPDATE app.accounts SET balance = 5 WHERE user_id = 42"))
        blocked(pair)
        assert pair.redis("HKEYS", "balance:42") == [b"!w"]
        before = pair.rule()["bypasses"].get("write", 0)
        assert pair.check(BALANCE.format(42)) == [["4200"]]
        assert pair.rule()["bypasses"]["write"] == before + 1
        lock.query("COMMIT")
    writer.read_until()
    assert pair.redis("EXISTS", "balance:42") == 0
    writer.close()


def test_process_killed_between_commit_and_clear(pair):
    pair.warm(BALANCE.format(42))
    writer = pair.q.connect(USER, SECRET, DB)
    with base.locked(pair, base.ROW) as lock:
        writer.send(w.query("UPDATE app.accounts SET balance = 5 WHERE user_id = 42"))
        blocked(pair)
        pair.q.check_on_stop = False
        pair.q.child.kill()
        lock.query("COMMIT")
    wait_for(lambda: pair.pg.value("SELECT balance FROM app.accounts WHERE user_id = 42", db=DB) == "5", 10)
    for _ in range(5):
        assert pair.check(BALANCE.format(42)) == [["5"]]
    assert pair.redis("HKEYS", "balance:42") == [b"!w"]        # until its deadline
    writer.close()


def test_server_lost_in_a_write_is_taken_for_written(pair):
    pair.warm(BALANCE.format(42))
    writer = pair.q.connect(USER, SECRET, DB)
    with base.locked(pair, base.ROW) as lock:
        writer.send(w.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42"))
        pid = wait_for(lambda: pair.pg.value(base.BLOCKED), 5)
        pair.pg.sql(f"SELECT pg_terminate_backend({pid})")
        assert w.errors_of(writer.read_until("EZ"))
        lock.query("COMMIT")
    writer.abort()
    for _ in range(3):
        pair.check(BALANCE.format(42))


def test_connection_lost_in_a_write_is_taken_for_written(make, pg):
    """The database goes on with a write whose connection is gone, and commits it later."""
    with Relay(pg.host, pg.port) as relay:
        pair = make(through=relay)
        pair.warm(BALANCE.format(42))
        writer = pair.q.connect(USER, SECRET, DB)
        with base.locked(pair, base.ROW) as lock:
            writer.send(w.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42"))
            blocked(pair)
            relay.drop()
            assert w.errors_of(writer.read_until("EZ"))
            for _ in range(3):
                assert pair.check(BALANCE.format(42)) == [["4200"]]
            lock.query("COMMIT")
        wait_for(lambda: pg.value("SELECT balance FROM app.accounts WHERE user_id = 42", db=DB) == "1", 10)
        for _ in range(3):
            assert pair.check(BALANCE.format(42)) == [["1"]]
        writer.abort()


class Swallower(Relay):
    """Once `swallows` is set nothing arrives any more: it is kept in `kept`, for good."""

    swallows, kept = False, b""

    def _pump(self, source, sink):
        try:
            while data := source.recv(65536):
                if self.swallows:
                    self.kept += data
                else:
                    sink.sendall(data)
        except OSError:
            pass
        self._close(source)
        self._close(sink)


@contextmanager
def sent_before_its_rule(make, pg, redis, more=""):
    """A write that waits for a row and was sent before there was a rule for it; what Redis is asked about it since then
    does not arrive.  Gives (pair, its client, its way to the database, the way to Redis)."""
    with Relay(pg.host, pg.port) as relay, Swallower(redis.host, redis.port) as link:
        pair = make(through=relay, more="redis_timeout = 1\n" + more)
        whole = pair.q.extra.replace(f":{redis.port}/", f":{link.port}/")
        pair.q.extra = whole.replace("[cache balance]", "[cache other]").replace("key = balance", "key = other")
        pair.q.write()
        pair.q.reload()
        rules = lambda: {m.split(b"/")[1] for m in pair.redis("HGET", "penstock:world", "m").split(b",")}  # noqa: E731
        wait_for(lambda: len(rules()) == 2, 10)        # it is a member by those
        writer = pair.q.connect(USER, SECRET, DB)
        with base.locked(pair, base.ROW) as lock:
            writer.send(w.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42"))
            blocked(pair)
            link.swallows = True
            pair.q.extra = whole
            pair.q.write()
            pair.q.reload()
            wait_for(lambda: b"penstock:rule:" in link.kept, 5)
            yield pair, writer, relay, link
            wait_for(lambda: all(r["state"] == "up" for r in pair.q.show("REDIS")), 10)
            before, missed = pair.hits(), pair.missed()
            wait_for(lambda: pair.check(BALANCE.format(42)) and (pair.hits() > before or pair.missed() > missed + 50), 10)
            lock.query("COMMIT")
        wait_for(lambda: pg.value("SELECT balance FROM app.accounts WHERE user_id = 42", db=DB) == "1", 10)
        for _ in range(3):
            assert pair.check(BALANCE.format(42)) == [["1"]]
        writer.abort()


def test_mark_that_is_lost_with_the_server_of_its_write(make, pg, redis):
    """The server is lost before Redis has answered, then the mark proves not to have arrived.  The database goes on."""
    with sent_before_its_rule(make, pg, redis) as (_, writer, relay, link):
        relay.drop()
        assert w.errors_of(writer.read_until("EZ"))
        link.swallows = False
        link.drop()


def test_write_that_is_refused_beside_one_that_was_sent(make, pg, redis):
    """Neither mark has arrived: the second write is refused, which ends the server connection of both.  The database
    goes on with the first one, which nobody has recorded."""
    with sent_before_its_rule(make, pg, redis, "write_without_redis = refuse\n") as (_, writer, _, link):
        marks = link.kept.count(b"penstock:rule:")
        writer.send(w.query("UPDATE app.accounts SET balance = 2 WHERE user_id = 42"))
        wait_for(lambda: link.kept.count(b"penstock:rule:") > marks, 5)
        link.swallows = False
        link.drop()
        assert w.errors_of(writer.read_until("EZ"))


@pytest.mark.parametrize("policy", ["hold", "refuse"])
def test_write_that_was_never_sent_leaves_no_mark(make, pg, policy):
    """Its server is lost while Redis is asked: the mark, if it arrives, is taken away as soon as that is known."""
    with Relay(pg.host, pg.port) as relay:
        pair = make(through=relay, more=f"redis_timeout = 1\nwrite_without_redis = {policy}\n")
        pair.warm(BALANCE.format(42))
        writer = pair.q.connect(USER, SECRET, DB)
        writer.query("SELECT 1")
        pair.redis.freeze()
        writer.send(w.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42"))
        wait_for(lambda: any(r["state"] == "active" for r in pair.q.show("SERVERS")), 5)
        relay.drop()
        assert w.errors_of(writer.read_until("EZ"))
        pair.redis.thaw()
        assert pair.warm(BALANCE.format(42)) == [["4200"]]
        assert pair.redis("HGET", "balance:42", "!w") is None
        writer.abort()


def test_writer_that_vanishes_after_its_write_was_sent(pair):
    pair.warm(BALANCE.format(42))
    writer = pair.q.connect(USER, SECRET, DB)
    with base.locked(pair, base.ROW) as lock:
        writer.send(w.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42"))
        blocked(pair)
        writer.abort()
        lock.query("COMMIT")
    wait_for(lambda: pair.pg.value(base.BLOCKED) is None, 5)
    for _ in range(3):
        pair.check(BALANCE.format(42))


# ---- members ------------------------------------------------------------------------------------------

def test_nothing_is_served_while_a_member_is_missing(pair):
    pair.warm(BALANCE.format(42))
    before = pair.missed()      # there were some while both came up
    pair.q.check_on_stop = False
    pair.q.child.kill()
    wait_for(lambda: pair.check(BALANCE.format(42)) and pair.missed() > before + 3, 10)
    before = pair.hits()
    for _ in range(5):
        assert pair.check(BALANCE.format(42)) == [["4200"]]
    assert pair.hits() == before
    pair.q.start()
    pair.wait_until_served()


def name_of(p):
    """As in the list of members."""
    return next(r["name"] for r in p.show("CACHE_MEMBERS") if r["self"] == "1")


def test_member_that_is_gone_for_good_is_forgotten_on_the_console(pair):
    pair.warm(BALANCE.format(42))
    mine, lost = name_of(pair.p), name_of(pair.q)
    assert {r["name"]: (r["state"], r["self"]) for r in pair.p.show("CACHE_MEMBERS")} == {
        mine: ("present", "1"), lost: ("present", "0")}
    assert len({r["rules"] for r in pair.p.show("CACHE_MEMBERS")}) == 1
    with pair.p.console() as con:
        for name, why in ((lost, "present"), (mine, "this process"), ("nobody", "no such member")):
            with pytest.raises(w.ServerError, match=why):
                con.query(f"CACHE FORGET MEMBER {name}")
        pair.q.check_on_stop = False
        pair.q.child.kill()
        wait_for(lambda: ("missing", lost) in {(r["state"], r["name"]) for r in pair.p.show("CACHE_MEMBERS")}, 5)
        before, missed = pair.hits(), pair.missed()
        wait_for(lambda: pair.check(BALANCE.format(42)) and pair.missed() > missed + 3, 10)
        assert pair.hits() == before
        con.query(f"CACHE FORGET MEMBER {lost}")
        assert [r["name"] for r in pair.p.show("CACHE_MEMBERS")] == [mine]
        pair.wait_until_served()
        pair.q.start()        # it was not gone
        wait_for(lambda: len(pair.p.show("CACHE_MEMBERS")) == 2, 10)
        pair.wait_until_served()
        pair.redis.kill()
        wait_for(lambda: {r["state"] for r in pair.p.show("CACHE_MEMBERS")} == {"unknown"}, 5)
        with pytest.raises(w.ServerError, match="cannot be reached"):
            con.query("CACHE FORGET MEMBER nobody")


def test_member_that_ends_in_order_leaves(pair):
    pair.warm(BALANCE.format(42))
    pair.q.stop()
    pair.wait_until_served()
    assert pair.redis("HGET", "penstock:world", "m").count(b",") == 0


def test_member_with_other_rules_stops_what_it_does_not_know_of(make, proxy):
    pair = make()
    pair.warm(BALANCE.format(42))
    before = pair.missed()      # there were some while both came up
    pair.q.extra = pair.q.extra.replace("[cache balance]", "[cache other]")
    pair.q.write()
    pair.q.reload()
    wait_for(lambda: pair.check(BALANCE.format(42)) and pair.missed() > before + 3, 10)
    before = pair.hits()
    pair.write(8)
    assert pair.check(BALANCE.format(42)) == [["8"]] and pair.hits() == before
    pair.p.extra = pair.q.extra
    pair.p.write()
    pair.p.reload()
    wait_for(lambda: pair.check(BALANCE.format(42)) and pair.rule("other")["hits"] > 0, 15)


def test_rules_that_were_away_for_a_while_bring_nothing_back(make):
    pair = make()
    pair.warm(BALANCE.format(42))
    whole = pair.p.extra
    for p in (pair.p, pair.q):
        p.extra = ""
        p.write()
        p.reload()
    wait_for(lambda: pair.rows() == [] and pair.q.show("CACHE") == [], 10)
    pair.write(9)
    for p in (pair.p, pair.q):
        p.extra = whole
        p.write()
        p.reload()
    wait_for(lambda: pair.check(BALANCE.format(42)) and pair.hits() > 0, 15)
    assert pair.check(BALANCE.format(42)) == [["9"]]


def test_reload_without_the_rule_is_no_moment_in_which_a_write_is_missed(pair):
    for n in range(3):
        pair.warm(BALANCE.format(42))
        whole = pair.q.extra
        pair.q.extra = whole.replace("[cache balance]", "[cache other]").replace("key = balance", "key = other")
        pair.q.write()
        pair.q.reload()
        pair.write(100 + n)        # by rules that say nothing of the reader's entry
        assert pair.check(BALANCE.format(42)) == [[str(100 + n)]]
        pair.q.extra = whole
        pair.q.write()
        pair.q.reload()
        pair.wait_until_served()


def test_successor_with_other_rules_writes_beside_nobody(pair):
    pair.warm(BALANCE.format(42))
    before, old = Heirs.running(pair.q), pair.d        # keeps the predecessor alive
    pair.q.extra = pair.q.extra.replace("[cache balance]", "[cache other]").replace("key = balance", "key = other")
    pair.q.write()
    heirs = Heirs()
    try:
        heirs.upgrade(pair.q)
        assert set(before) <= set(Heirs.running(pair.q))
        with pair.q.connect(USER, SECRET, DB) as c:
            c.query("UPDATE app.accounts SET balance = 5 WHERE user_id = 42")
        assert pair.check(BALANCE.format(42)) == [["5"]]
        assert old.query(BALANCE.format(42)) == [["5"]]
    finally:
        heirs.close()


def test_reload_to_a_redis_that_is_away_keeps_nobody_waiting(pg, proxy):
    pg.sql(base.SCHEMA, DB)
    rig = base.Rig(proxy(databases={DB: {"host": pg.host, "port": pg.port}}, extra=base.RULES), pg)
    rig.c.send(w.query("SELECT pg_sleep(0.5)"))
    rig.p.extra = base.RULES.replace("memory = 8MB\n", "store = redis://127.0.0.1:1/0\nmode = lease\n")
    rig.p.write()
    at = time.monotonic()
    rig.p.reload()
    rig.c.read_until()
    assert time.monotonic() - at < 5
    rig.c.close()


# ---- when Redis is not well ---------------------------------------------------------------------------

def slowest(client, n=30):
    """Seconds that the slowest of n reads took; each is right."""
    worst = 0
    for i in range(n):
        k, at = 1 + i % 30, time.monotonic()
        assert client.query(BALANCE.format(k)) == [[str(k * 100)]]
        worst = max(worst, time.monotonic() - at)
    return worst


def test_redis_that_is_down(pair):
    pair.warm(BALANCE.format(42))
    pair.redis.kill()
    wait_for(lambda: "Redis" in pair.q.log_text() and "Redis" in pair.p.log_text(), 5)
    assert slowest(pair.c) < 1
    at = time.monotonic()
    pair.write(3)
    assert time.monotonic() - at < 2        # it waited out its membership
    assert pair.check(BALANCE.format(42)) == [["3"]]
    pair.redis.start()
    pair.wait_until_served()
    assert pair.warm(BALANCE.format(42)) == [["3"]]


def test_redis_that_stands_still_while_one_writes(pair):
    """What was asked of it before comes late, when it goes on: nothing of that may revive anything."""
    pair.warm(BALANCE.format(42))
    pair.redis.freeze()
    assert slowest(pair.c) < 1
    at = time.monotonic()
    pair.write(4)
    assert time.monotonic() - at < 2
    pair.redis.thaw()
    for _ in range(20):
        assert pair.check(BALANCE.format(42)) == [["4"]]
    pair.wait_until_served()
    assert pair.warm(BALANCE.format(42)) == [["4"]]


def test_redis_without_memory(pair):
    pair.warm(BALANCE.format(42))
    pair.redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
    pair.redis("CONFIG", "SET", "maxmemory", "1")
    pair.write(6)
    assert pair.check(BALANCE.format(42)) == [["6"]]
    assert slowest(pair.c) < 1
    pair.redis("CONFIG", "SET", "maxmemory", "0")
    pair.wait_until_served()
    assert pair.warm(BALANCE.format(42)) == [["6"]]


def test_key_of_another_type_is_left_alone(pair):
    pair.redis("SET", "balance:42", "mine")
    for _ in range(3):
        assert pair.check(BALANCE.format(42)) == [["4200"]]
    pair.write(2)
    assert pair.check(BALANCE.format(42)) == [["2"]]
    assert pair.redis("GET", "balance:42") == b"mine"


@pytest.mark.parametrize("how", ["garbage", "cut", "bit", "other", "old"])
def test_forged_value_is_not_served(pair, how):
    for k in (41, 42):
        pair.warm(BALANCE.format(k))
    field = pair.redis("HKEYS", "balance:42")[0]
    value = pair.redis("HGET", "balance:42", field)
    other = pair.redis("HGET", "balance:41", pair.redis("HKEYS", "balance:41")[0])
    forged = {"garbage": b"x" * 200, "cut": value[:-3], "other": other, "old": value,
              "bit": value[:-20] + bytes([value[-20] ^ 1]) + value[-19:]}[how]
    want = "4200"
    if how == "old":        # an entry from before a table's write
        pair.d.query("UPDATE app.accounts SET balance = balance + 1")
        want = "4201"
    pair.redis("HSET", "balance:42", field, forged)
    for _ in range(3):
        assert pair.check(BALANCE.format(42)) == [[want]]


# ---- ends of transactions that are easily missed --------------------------------------------------------

def test_commit_that_was_bound_before_is_told_before_it_is_sent(pair):
    pair.warm(BALANCE.format(42))
    pair.d.query("BEGIN")
    pair.d.ask(w.parse("COMMIT") + w.bind(portal="p") + w.sync())
    pair.write(5)
    cut_off(pair.redis, True)
    at = time.monotonic()
    pair.d.ask(w.execute("p") + w.sync())
    assert time.monotonic() - at > 0.05        # it could not be told, so the membership had to end
    for _ in range(3):
        assert pair.check(BALANCE.format(42)) == [["5"]]
    cut_off(pair.redis, False)
    pair.wait_until_served()


def test_chained_transactions_leave_nothing_behind(pair):
    pair.d.query("BEGIN")
    for n in range(50):
        pair.write(n)
        pair.d.query("COMMIT AND CHAIN")
        assert pair.check(BALANCE.format(42)) == [[str(n)]]
    marks = pair.redis("HGET", "balance:42", "!w") or b""
    assert len(marks) < 100
    pair.d.query("COMMIT")
    assert pair.redis("HGET", "balance:42", "!w") is None


# ---- write_without_redis ------------------------------------------------------------------------------

def test_refused_write_is_told_and_never_sent(make):
    pair = make(more=QUICK + "write_without_redis = refuse\n")
    pair.warm(BALANCE.format(42))
    pair.redis.kill()
    wait_for(lambda: "Redis" in pair.q.log_text(), 5)
    got = pair.d.ask(w.query("UPDATE app.accounts SET balance = 5 WHERE user_id = 42"))
    assert [e["C"] for e in w.errors_of(got)] == ["58000"]
    assert pair.check(BALANCE.format(42)) == [["4200"]]
    assert pair.d.query(BALANCE.format(42)) == [["4200"]]        # the connection goes on
    pair.redis.start()
    wait_for(lambda: not w.errors_of(pair.d.ask(w.query("UPDATE app.accounts SET balance = 6 WHERE user_id = 42"))), 10)
    assert pair.check(BALANCE.format(42)) == [["6"]]


def test_proceeding_write_does_not_wait(make):
    pair = make(more=QUICK + "write_without_redis = proceed\n")
    pair.warm(BALANCE.format(42))
    cut_off(pair.redis, True)
    at = time.monotonic()
    pair.write(5)
    assert time.monotonic() - at < 0.1
    cut_off(pair.redis, False)
    wait_for(lambda: pair.c.query(BALANCE.format(42)) == [["5"]], 5)        # its next renewal voids what was kept
    assert pair.warm(BALANCE.format(42)) == [["5"]]


def test_write_that_proceeds_without_a_connection_voids_what_was_kept(make):
    pair = make(more=QUICK + "write_without_redis = proceed\n")
    pair.warm(BALANCE.format(42))
    pair.redis.freeze()

    def at_once():
        at = time.monotonic()
        pair.write(1, key=43)
        return time.monotonic() - at < 0.03
    wait_for(at_once, 10)        # the connection was given up: nothing is sent from now on, nor ended later
    pair.write(5)
    pair.redis.thaw()
    pair.wait_until_served()
    assert pair.warm(BALANCE.format(42)) == [["5"]]


def test_process_may_end_while_its_members_are_asked_for(make):
    pair = make(more="redis_timeout = 1\n")
    console = pair.q.connect(ADMIN, ADMIN_SECRET, "pgbouncer")
    pair.redis.freeze()
    console.send(w.query("SHOW CACHE_MEMBERS"))
    pair.q.show("POOLS")        # the workers have answered this one, so the first has asked Redis
    pair.q.child.send_signal(signal.SIGQUIT)
    assert pair.q.child.wait(5) == 0
    pair.redis.thaw()
    console.abort()


def test_held_write_waits_until_others_have_noticed(pair):
    pair.warm(BALANCE.format(42))
    cut_off(pair.redis, True)
    at = time.monotonic()
    pair.d.send(w.query("UPDATE app.accounts SET balance = 11 WHERE user_id = 42"))
    while time.monotonic() - at < 0.05:        # a membership lasts twice as long
        assert pair.pg.value("SELECT balance FROM app.accounts WHERE user_id = 42", db=DB) == "4200" or \
            time.monotonic() - at > 0.08
    assert not w.errors_of(pair.d.read_until())
    assert 0.05 < time.monotonic() - at < 2
    for _ in range(5):
        assert pair.check(BALANCE.format(42)) == [["11"]]
    cut_off(pair.redis, False)
    pair.wait_until_served()
    assert pair.warm(BALANCE.format(42)) == [["11"]]


REFUSALS = {
    "no right": (("ACL", "SETUSER", "default", "-@scripting"), ("ACL", "SETUSER", "default", "+@all")),
    "no memory": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "no replicas": (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_only_the_first_write_waits_while_redis_answers_and_refuses(pair, how):
    """Renewals go on, and are refused: what they ask for is not what others believe."""
    def refused():
        rows = pair.q.show("REDIS")
        return sum(int(r["errors"]) for r in rows)

    refuse, take = REFUSALS[how]
    pair.redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
    pair.warm(BALANCE.format(42))
    pair.redis(*refuse)
    pair.write(1)
    waited = 0
    for n in range(2, 8):
        before = refused()
        wait_for(lambda: refused() > before, 10)        # noqa: B023  a renewal
        at = time.monotonic()
        pair.write(n)
        waited += time.monotonic() - at
        assert pair.check(BALANCE.format(42)) == [[str(n)]]
    assert waited < 0.3        # a tenth of a second each, when renewals count
    pair.redis(*take)
    pair.wait_until_served()
    assert pair.warm(BALANCE.format(42)) == [["7"]]


def test_connection_to_a_replica_is_given_up_and_made_anew(pair):
    """After a fail-over the name may lead elsewhere."""
    pair.warm(BALANCE.format(42))
    lost = lambda p: sum(int(r["failures"]) for r in p.show("REDIS"))  # noqa: E731
    before = lost(pair.q)
    pair.redis("REPLICAOF", "127.0.0.1", "1")
    for n in range(1, 6):
        pair.write(n)
    wait_for(lambda: lost(pair.q) > before, 10, pair.q.log_text)
    assert "takes no writes: READONLY" in pair.q.log_text()
    assert slowest(pair.q.connect(USER, SECRET, DB)) < 1
    pair.redis("REPLICAOF", "NO", "ONE")
    pair.wait_until_served()
    wait_for(lambda: pair.warm(BALANCE.format(42)) == [["5"]], 10)


def test_acknowledgement_waits_when_the_end_is_not_recorded(pair):
    pair.warm(BALANCE.format(42))
    writer = pair.q.connect(USER, SECRET, DB)
    with base.locked(pair, base.ROW) as lock:
        writer.send(w.query("UPDATE app.accounts SET balance = 5 WHERE user_id = 42"))
        blocked(pair)
        cut_off(pair.redis, True)
        at = time.monotonic()
        lock.query("COMMIT")
    writer.read_until()
    assert 0.05 < time.monotonic() - at < 2
    for _ in range(5):
        assert pair.check(BALANCE.format(42)) == [["5"]]
    cut_off(pair.redis, False)
    pair.wait_until_served()
    assert pair.warm(BALANCE.format(42)) == [["5"]]        # the mark is taken away, although no connection was lost
    writer.close()
