"""Issue 5: answers from the cache are those of the database.

Each test of a writer reads until the answer comes from the cache, writes through the proxy in one of the
many ways in which a table can change, and compares the next answer with that of a direct connection.
Tables are made before the proxy starts, so that it knows them from its first catalog question on.
"""
import contextlib
import os
import struct

import pytest

from support import pgwire as w
from support.cluster import PgCluster
from support.common import DB, SECRET, USER
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only

SCHEMA = f"""
DROP SCHEMA IF EXISTS app CASCADE;
DROP SCHEMA IF EXISTS elsewhere CASCADE;
CREATE SCHEMA app;
CREATE SCHEMA elsewhere;
CREATE TABLE app.owners (id int PRIMARY KEY);
INSERT INTO app.owners SELECT g FROM generate_series(1, 60) g;
CREATE TABLE app.accounts (user_id int PRIMARY KEY, balance bigint NOT NULL,
                           owner int NOT NULL REFERENCES app.owners ON DELETE CASCADE, state text);
INSERT INTO app.accounts SELECT g, g * 100, g, CASE WHEN g % 2 = 0 THEN 'open' ELSE 'closed' END
    FROM generate_series(1, 60) g;
CREATE TABLE app.requests (user_id int, n int);
CREATE FUNCTION app.on_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN UPDATE app.accounts SET balance = NEW.n WHERE user_id = NEW.user_id; RETURN NEW; END $$;
CREATE TRIGGER t AFTER INSERT ON app.requests FOR EACH ROW EXECUTE FUNCTION app.on_request();
CREATE FUNCTION app.pay(who int, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN UPDATE app.accounts SET balance = n WHERE user_id = who; END $$;
CREATE PROCEDURE app.pay_all(n int) LANGUAGE plpgsql AS $$
BEGIN UPDATE app.accounts SET balance = n; COMMIT; UPDATE app.accounts SET balance = n + 1; END $$;
CREATE VIEW app.rich AS SELECT user_id, balance FROM app.accounts WHERE balance > 0;
CREATE TABLE app.parts (id int, v int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM (0) TO (30);
CREATE TABLE app.parts_2 PARTITION OF app.parts FOR VALUES FROM (30) TO (100);
INSERT INTO app.parts SELECT g, g FROM generate_series(1, 60) g;
CREATE TABLE app.events (id int PRIMARY KEY, at timestamptz, x float8, b bytea);
INSERT INTO app.events SELECT g, '2024-02-03 04:05:06+00', 1.0 / 3, 'a' FROM generate_series(1, 60) g;
CREATE TABLE app.ledger (user_id int, amount bigint);
INSERT INTO app.ledger SELECT g % 10, g FROM generate_series(1, 2000) g;
CREATE INDEX ON app.ledger (user_id);
CREATE TABLE app.loose (id int PRIMARY KEY, v text);
INSERT INTO app.loose SELECT g, 'app ' || g FROM generate_series(1, 60) g;
CREATE TABLE elsewhere.loose (id int PRIMARY KEY, v text);
INSERT INTO elsewhere.loose SELECT g, 'elsewhere ' || g FROM generate_series(1, 60) g;
GRANT ALL ON SCHEMA app, elsewhere TO {USER}, other;
GRANT ALL ON ALL TABLES IN SCHEMA app TO {USER}, other;
GRANT ALL ON ALL TABLES IN SCHEMA elsewhere TO {USER}, other;
ALTER TABLE app.accounts OWNER TO {USER};
ALTER VIEW app.rich OWNER TO {USER};
"""

RULES = """
[cache]
memory = 8MB
[cache balance]
query =
  SELECT balance FROM app.accounts
  WHERE user_id = $1
key = balance:$1
ttl = 300
[cache view]
query = SELECT balance FROM app.rich WHERE user_id = $1
key = rich:$1
[cache part]
query = SELECT v FROM app.parts WHERE id = $1
key = part:$1
[cache child]
query = SELECT v FROM app.parts_1 WHERE id = $1
key = child:$1
[cache event]
query = SELECT id, at, x, b FROM app.events WHERE id = $1
key = event:$1
[cache total]
query = SELECT sum(amount), count(*) FROM app.ledger WHERE user_id = $1
key = total:$1
[cache loose]
query = SELECT v FROM loose WHERE id = $1
key = loose:$1
[cache open]
query = SELECT balance FROM app.accounts WHERE user_id = $1 AND state = 'open'
key = open:$1
"""

WORKERS = int(os.environ.get("PENSTOCK_WORKERS", "1"))
BALANCE = "SELECT balance FROM app.accounts WHERE user_id = {}"


def raw(msgs):
    return [(m.type, m.raw) for m in msgs]


class Rig:
    def __init__(self, p, pg):
        self.p, self.pg = p, pg
        self.c = self.connect()
        self.c.query("SELECT 1")
        wait_for(lambda: all(r["state"] == "ready" for r in self.rows()), 15, lambda: str(self.rows()))

    def connect(self, user=USER, secret=SECRET, **params):
        return self.p.connect(user, secret, DB, **params)

    def direct(self, user=USER, secret=SECRET, **params):
        return self.pg.connect(user, secret, DB, **params)

    def rows(self):
        return self.p.show("CACHE")

    def rule(self, name="balance"):
        for row in self.rows():
            if row["rule"] == name:
                bypasses = dict(x.split("=") for x in row["bypasses"].split())
                return {**row, **{k: int(v) for k, v in row.items() if v and v.isdigit()},
                        "bypasses": {k: int(v) for k, v in bypasses.items()}}
        raise KeyError(name)

    def hits(self, name="balance"):
        return self.rule(name)["hits"]

    def warm(self, sql, name="balance", client=None):
        """Asks until the answer came from the cache; returns it."""
        before = self.hits(name)
        for _ in range(3):
            got = w.rows_of((client or self.c).ask(w.query(sql)))
        assert self.hits(name) > before, str(self.rule(name))
        return got

    def check(self, sql, client=None, reader=None):
        """What the proxy says is what the database says; returns it."""
        got = w.rows_of((client or self.c).ask(w.query(sql)))
        with (reader or self.direct)() as d:
            want = w.rows_of(d.ask(w.query(sql)))
        assert got == want
        return got


@pytest.fixture
def rig(pg, proxy):
    pg.sql(SCHEMA, DB)
    p = proxy(databases={DB: {"host": pg.host, "port": pg.port}}, extra=RULES)
    made = Rig(p, pg)
    yield made
    made.c.close()


# ---- hits ---------------------------------------------------------------------------------------------

def test_second_read_is_answered_without_the_database(rig):
    assert rig.warm(BALANCE.format(42)) == [["4200"]]
    row = rig.rule()
    assert row["entries"] == 1 and row["fills"] == 1 and row["mode"] == "lease"
    assert "exclusive" in row["store"]


def test_answer_that_there_are_no_rows_is_kept_too(rig):
    assert rig.warm(BALANCE.format(4711)) == []
    rig.c.query("INSERT INTO app.accounts VALUES (4711, 5, 1)")
    assert rig.check(BALANCE.format(4711)) == [["5"]]


def test_all_ways_to_say_it_share_one_entry(rig):
    rig.warm(BALANCE.format(42))
    before = rig.rule()
    for text in ("select BALANCE\nfrom app.accounts where user_id=42", BALANCE.format("/* x */ 42"),
                 BALANCE.format("'42'")):
        assert rig.c.query(text) == [["4200"]]
    ask = w.parse(BALANCE.format("$1"), types=(23,))
    for data in (w.bind(["42"]), w.bind([struct.pack("!i", 42)], formats=(1,))):
        got = rig.c.ask(ask + data + w.describe("", "P") + w.execute() + w.sync())
        assert w.rows_of(got) == [["4200"]] and "".join(w.types_of(got)) == "12TDCZ"
    after = rig.rule()
    assert after["hits"] == before["hits"] + 5 and after["entries"] == 1


def test_every_format_and_protocol_gives_the_bytes_of_the_database(rig):
    sql = "SELECT id, at, x, b FROM app.events WHERE id = {}"
    asks = [w.query(sql.format(7))]
    for results in ((), (0,), (1,), (0, 1, 1, 0), (1, 0, 0, 1)):
        for describe in (b"", w.describe("", "P")):
            for close in (b"", w.close("", "P")):
                asks.append(w.parse(sql.format("$1"), types=(23,)) + w.bind(["7"], results=results) +
                            describe + w.execute() + close + w.sync())
    with rig.direct() as d:
        for ask in asks:
            want = raw(d.ask(ask))
            for _ in range(3):
                assert raw(rig.c.ask(ask)) == want
    assert rig.hits("event") >= len(asks)


def test_constant_of_the_rule_must_be_the_same(rig):
    sql = "SELECT balance FROM app.accounts WHERE user_id = {} AND state = '{}'"
    assert rig.warm(sql.format(2, "open"), "open") == [["200"]]
    assert rig.check(sql.format(2, "closed")) == []
    assert rig.check(sql.format(1, "closed")) == [["100"]]
    assert rig.rule("open")["bypasses"]["constant"] == 2


def test_prepared_statement_that_was_only_served_can_be_run_later(rig):
    rig.warm(BALANCE.format(42))
    first = rig.c.ask(w.parse(BALANCE.format("$1"), "mine", types=(23,)) + w.bind(["42"], "mine") +
                      w.execute() + w.sync())
    again = rig.c.ask(w.bind(["42"], "mine") + w.execute() + w.sync())
    assert rig.hits() >= 3
    rig.c.query("BEGIN")        # in a transaction the database runs it
    real = rig.c.ask(w.bind(["42"], "mine") + w.execute() + w.sync())
    rig.c.query("COMMIT")
    assert w.rows_of(first) == w.rows_of(again) == w.rows_of(real) == [["4200"]]
    assert "26000" not in str(real)
    named = rig.c.ask(w.parse(BALANCE.format("$1"), "mine", types=(23,)) + w.bind(["42"], "mine") +
                      w.execute() + w.sync())
    assert w.errors_of(named)[0]["C"] == "42P05"
    gone = rig.c.ask(w.parse("SELECT 1", "mine2") + w.close("mine") + w.sync())
    assert not w.errors_of(gone)
    assert w.errors_of(rig.c.ask(w.bind(["42"], "mine") + w.execute() + w.sync()))[0]["C"] == "26000"


def test_text_that_is_served_ends_the_unnamed_statement(rig):
    rig.warm(BALANCE.format(42))
    with rig.direct() as d:
        for c in (d, rig.c):
            c.ask(w.parse("SELECT 5") + w.sync())
            c.query(BALANCE.format(42))
            assert w.errors_of(c.ask(w.bind() + w.execute() + w.sync()))[0]["C"] == "26000"


def test_pipelined_reads_are_answered_in_order(rig):
    rig.warm(BALANCE.format(1))
    texts = [BALANCE.format(1), "SELECT 'x'", BALANCE.format(1), BALANCE.format(2), BALANCE.format(1)]
    got = rig.c.ask(b"".join(w.query(t) for t in texts), count=len(texts))
    assert w.rows_of(got) == [["100"], ["x"], ["100"], ["200"], ["100"]]


def test_client_that_does_not_read_is_not_answered_without_end(rig):
    rig.warm(BALANCE.format(1))
    c = rig.connect()
    data = w.query(BALANCE.format(1)) * 200
    c.sock.settimeout(1.0)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += c.sock.send(data)
    except (TimeoutError, OSError):
        pass
    assert sent < 64 << 20
    rig.check(BALANCE.format(1))
    c.abort()


def test_result_larger_than_allowed_is_not_kept(pg, proxy):
    pg.sql(SCHEMA, DB)
    rules = RULES.replace("[cache balance]", "[cache big]\nquery = SELECT amount FROM app.ledger WHERE user_id "
                          "= $1\nkey = big:$1\nmax_result = 1kB\n[cache balance]")
    rig = Rig(proxy(databases={DB: {"host": pg.host, "port": pg.port}}, extra=rules), pg)
    for _ in range(3):
        assert len(rig.check("SELECT amount FROM app.ledger WHERE user_id = 3")) == 200
    row = rig.rule("big")
    assert row["hits"] == row["entries"] == 0 and row["refused"] == 3


@contextlib.contextmanager
def locked(rig, what):
    """A connection to the database that keeps others off a table or a row, until it is left."""
    with rig.pg.admin(DB) as lock:
        lock.query("BEGIN")
        lock.query(what)
        yield lock


LEDGER = "LOCK app.ledger IN ACCESS EXCLUSIVE MODE"
TOTAL = "SELECT sum(amount), count(*) FROM app.ledger WHERE user_id = 4"


def test_many_at_once_cause_one_query_of_each_worker(rig):
    with locked(rig, LEDGER) as lock:
        clients = [rig.connect() for _ in range(12)]
        for c in clients:
            c.send(w.query(TOTAL))
        wait_for(lambda: rig.rule("total")["waits"] >= 12 - WORKERS, 5, lambda: str(rig.rule("total")))
        lock.query("COMMIT")
        answers = [w.rows_of(c.read_until()) for c in clients]
    assert all(a == answers[0] and a for a in answers)
    row = rig.rule("total")
    assert row["hits"] == row["waits"] and row["fills"] >= 1 and "pinned" not in row["bypasses"]
    assert row["misses"] == 12 - row["hits"]
    for c in clients:
        c.close()


def test_fill_of_a_client_that_waited_for_its_server_is_kept(pg, proxy):
    pg.sql(SCHEMA, DB)
    p = proxy(databases={DB: {"host": pg.host, "port": pg.port, "pool_size": 1}}, extra=RULES)
    rig = Rig(p, pg)
    with rig.connect() as busy, rig.connect() as c:
        busy.query("BEGIN")
        c.send(w.query(TOTAL))
        wait_for(lambda: any(r["state"] == "waiting" for r in p.show("CLIENTS")), 5)
        busy.query("COMMIT")
        c.read_until()
        rig.check(TOTAL, client=c)
    row = rig.rule("total")
    assert row["fills"] == 1 and row["hits"] == 1 and row["bypasses"] == {}


def test_waiting_client_can_cancel(rig):
    with locked(rig, LEDGER) as lock:
        one, two = rig.connect(), rig.connect()
        one.send(w.query(TOTAL))
        wait_for(lambda: rig.rule("total")["misses"] == 1, 5)
        two.send(w.query(TOTAL))
        wait_for(lambda: rig.rule("total")["misses"] + rig.rule("total")["waits"] >= 2, 5)
        two.cancel()
        assert w.errors_of(two.read_until())[0]["C"] == "57014"
        one.abort()
        lock.query("COMMIT")
    assert len(rig.check(TOTAL, client=two)) == 1
    two.close()


# ---- the writers that other caches miss ---------------------------------------------------------------

def extended(sql, params=(), types=()):
    return w.parse(sql, types=types) + w.bind(params) + w.execute() + w.sync()


WRITERS = {
    "update": [w.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42")],
    "update bound": [extended("UPDATE app.accounts SET balance = $2 WHERE user_id = $1", ["42", "1"])],
    "update of the key": [w.query("UPDATE app.accounts SET user_id = 4200 WHERE user_id = 42")],
    "update of all": [w.query("UPDATE app.accounts SET balance = balance + 1")],
    "delete": [w.query("DELETE FROM app.accounts WHERE user_id = 42")],
    "truncate": [w.query("TRUNCATE app.accounts")],
    "copy": [w.query("DELETE FROM app.accounts WHERE user_id = 42"),
             w.query("COPY app.accounts (user_id, balance, owner) FROM STDIN") +
             w.copy_data("42\t77\t1\n") + w.copy_done()],
    "multi-statement": [w.query("SELECT 1; UPDATE app.accounts SET balance = 2; SELECT 2")],
    "trigger": [w.query("INSERT INTO app.requests VALUES (42, 3)")],
    "cascade": [w.query("DELETE FROM app.owners WHERE id = 42")],
    "function": [w.query("SELECT app.pay(42, 4)")],
    "function bound": [extended("SELECT app.pay($1, 5)", ["42"], (23,))],
    "procedure": [w.query("CALL app.pay_all(6)")],
    "do": [w.query("DO $$ BEGIN UPDATE app.accounts SET balance = 7; END $$")],
    "execute": [w.query("PREPARE p (int) AS UPDATE app.accounts SET balance = 8 WHERE user_id = $1"),
                w.query("EXECUTE p(42)"), w.query("DEALLOCATE p")],
    "view": [w.query("UPDATE app.rich SET balance = 9 WHERE user_id = 42")],
    "with": [w.query("WITH x AS (UPDATE app.accounts SET balance = 10 WHERE user_id = 42 RETURNING 1) "
                     "SELECT count(*) FROM x")],
    "upsert": [w.query("INSERT INTO app.accounts VALUES (42, 11, 1) ON CONFLICT (user_id) DO UPDATE "
                       "SET balance = 11")],
    "merge": [w.query("MERGE INTO app.accounts a USING (VALUES (42)) v(id) ON a.user_id = v.id "
                      "WHEN MATCHED THEN UPDATE SET balance = 12")],
    "explain analyze": [w.query("EXPLAIN ANALYZE UPDATE app.accounts SET balance = 13")],
    "transaction": [w.query("BEGIN"), w.query("UPDATE app.accounts SET balance = 14 WHERE user_id = 42"),
                    w.query("COMMIT")],
    "transaction in one text": [w.query("BEGIN; UPDATE app.accounts SET balance = 15; COMMIT")],
    "two phases": [w.query("BEGIN"), w.query("UPDATE app.accounts SET balance = 16"),
                   w.query("PREPARE TRANSACTION 'cache'"), w.query("COMMIT PREPARED 'cache'")],
    "savepoints": [w.query("BEGIN"), w.query("SAVEPOINT a"), w.query("UPDATE app.accounts SET balance = 17"),
                   w.query("RELEASE a"), w.query("COMMIT")],
    "pipeline": [w.query("BEGIN") + w.query("UPDATE app.accounts SET balance = 18 WHERE user_id = 42") +
                 w.query("COMMIT")],
    "drop column": [w.query("ALTER TABLE app.accounts DROP COLUMN state CASCADE")],
    "change of type": [w.query("DROP VIEW app.rich"),
                       w.query("ALTER TABLE app.accounts ALTER balance TYPE numeric(20, 2)")],
    "commit and chain": [w.query("BEGIN"), w.query("UPDATE app.accounts SET balance = 19"),
                         w.query("COMMIT AND CHAIN"), w.query("COMMIT")],
}


@pytest.mark.parametrize("name", WRITERS)
def test_writer_is_seen(rig, name):
    for sql, rule in ((BALANCE.format(42), "balance"), ("SELECT balance FROM app.rich WHERE user_id = 42",
                                                        "view")):
        rig.warm(sql, rule)
    with rig.connect() as c:
        for data in WRITERS[name]:
            # a pipeline of several texts has as many idle markers
            c.send(data)
            for _ in range(max(1, data.count(b"Q\x00"))):
                assert not w.errors_of(c.read_until())
    got, want = rig.c.ask(w.query(BALANCE.format(42))), None
    with rig.direct() as d:
        want = d.ask(w.query(BALANCE.format(42)))
        assert raw(got) == raw(want)
        if name != "change of type":
            assert w.rows_of(rig.c.ask(w.query("SELECT balance FROM app.rich WHERE user_id = 42"))) == \
                w.rows_of(d.ask(w.query("SELECT balance FROM app.rich WHERE user_id = 42")))


def test_writer_of_a_partition_is_seen_by_readers_of_the_parent(rig):
    rig.warm("SELECT v FROM app.parts WHERE id = 7", "part")
    rig.c.query("UPDATE app.parts_1 SET v = 700 WHERE id = 7")
    assert rig.check("SELECT v FROM app.parts WHERE id = 7") == [["700"]]


def test_writer_of_the_parent_is_seen_by_readers_of_a_partition(rig):
    rig.warm("SELECT v FROM app.parts_1 WHERE id = 7", "child")
    rig.c.query("UPDATE app.parts SET v = 700 WHERE id = 7")
    assert rig.check("SELECT v FROM app.parts_1 WHERE id = 7") == [["700"]]
    rig.warm("SELECT v FROM app.parts_1 WHERE id = 7", "child")
    rig.c.query("UPDATE app.parts SET id = 77 WHERE id = 7")        # moves to another partition
    assert rig.check("SELECT v FROM app.parts_1 WHERE id = 7") == []


def test_slow_read_that_an_update_overtakes_is_not_kept(rig):
    """The read is held up, the row changes meanwhile, then both end."""
    reader, writer = rig.connect(), rig.connect()
    with locked(rig, LEDGER) as lock:
        reader.send(w.query(TOTAL))
        wait_for(lambda: rig.rule("total")["misses"] == 1, 5)
        writer.send(w.query("UPDATE app.ledger SET amount = amount + 1 WHERE user_id = 4"))
        wait_for(lambda: int(lock.value("SELECT count(*) FROM pg_locks WHERE NOT granted")) >= 2, 5)
        lock.query("COMMIT")
    reader.read_until()
    writer.read_until()
    rig.check(TOTAL)
    rig.check(TOTAL)
    reader.close()
    writer.close()


def test_search_path_is_a_part_of_the_question(rig):
    a, b = rig.connect(), rig.connect()
    a.query("SET search_path = app")
    b.query("SET search_path = elsewhere")
    sql = "SELECT v FROM loose WHERE id = 3"
    for _ in range(3):
        assert a.query(sql) == [["app 3"]]
        assert b.query(sql) == [["elsewhere 3"]]
    assert rig.hits("loose") == 4
    b.query("UPDATE elsewhere.loose SET v = 'new' WHERE id = 3")
    assert b.query(sql) == [["new"]] and a.query(sql) == [["app 3"]]
    a.close()
    b.close()


SETTINGS = ["DateStyle = 'German'", "TimeZone = 'Asia/Tokyo'", "extra_float_digits = -5",
            "bytea_output = 'escape'", "client_encoding = 'LATIN1'"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_are_a_part_of_the_question(rig, setting):
    sql = "SELECT id, at, x, b FROM app.events WHERE id = 5"
    rig.warm(sql, "event")
    other = rig.connect()
    other.query(f"SET {setting}")

    def direct():
        d = rig.direct()
        d.query(f"SET {setting}")
        return d
    for _ in range(3):
        rig.check(sql, client=other, reader=direct)
    rig.check(sql)
    other.query("RESET ALL")
    rig.check(sql, client=other)
    other.close()


def test_settings_of_the_login_are_a_part_of_the_question(rig):
    sql = "SELECT id, at, x, b FROM app.events WHERE id = 5"
    rig.warm(sql, "event")
    options = {"options": "-c bytea_output=escape -c timezone=Asia/Tokyo"}
    with rig.connect(**options) as c:
        for _ in range(3):
            rig.check(sql, client=c, reader=lambda: rig.direct(**options))


# ---- transactions -------------------------------------------------------------------------------------

def test_repeatable_read_sees_its_own_snapshot(rig):
    rig.warm(BALANCE.format(42))
    reader = rig.connect()
    reader.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert reader.query(BALANCE.format(42)) == [["4200"]]
    rig.c.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42")
    assert rig.check(BALANCE.format(42)) == [["1"]]
    assert reader.query(BALANCE.format(42)) == [["4200"]]
    reader.query("COMMIT")
    assert reader.query(BALANCE.format(42)) == [["1"]]
    assert rig.rule()["bypasses"]["transaction"] == 2
    reader.close()


def test_transaction_sees_what_it_wrote_and_nobody_else_does(rig):
    rig.warm(BALANCE.format(42))
    c = rig.connect()
    c.query("BEGIN")
    c.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42")
    assert c.query(BALANCE.format(42)) == [["1"]]
    for _ in range(3):
        assert rig.check(BALANCE.format(42)) == [["4200"]]
    c.query("ROLLBACK")
    before = rig.hits()
    assert rig.check(BALANCE.format(42), client=c) == [["4200"]]
    assert rig.check(BALANCE.format(42)) == [["4200"]]
    assert rig.hits() > before
    c.close()


ROW = "SELECT * FROM app.accounts WHERE user_id = 42 FOR UPDATE"
BLOCKED = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'UPDATE app.acc%' AND state = 'active'"


def test_writer_that_vanishes_after_its_write_was_sent_leaves_nothing_stale(rig):
    rig.warm(BALANCE.format(42))
    c = rig.connect()
    with locked(rig, ROW) as lock:
        c.send(w.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42"))
        wait_for(lambda: rig.pg.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") !=
                 "0", 5)
        assert rig.check(BALANCE.format(42)) == [["4200"]]
        assert rig.rule()["bypasses"]["write"] == 1
        c.abort()
        lock.query("COMMIT")
    wait_for(lambda: rig.pg.value(BLOCKED) is None, 5)
    for _ in range(3):
        rig.check(BALANCE.format(42))


def test_server_lost_in_a_write_is_taken_for_written(rig):
    rig.warm(BALANCE.format(42))
    c = rig.connect()
    with locked(rig, ROW) as lock:
        c.send(w.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42"))
        pid = wait_for(lambda: rig.pg.value(BLOCKED), 5)
        rig.pg.sql(f"SELECT pg_terminate_backend({pid})")
        assert w.errors_of(c.read_until("EZ"))
        lock.query("COMMIT")
    c.abort()
    for _ in range(3):
        rig.check(BALANCE.format(42))


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
def test_default_isolation(rig, isolation):
    with rig.connect() as c:
        c.query(f"SET default_transaction_isolation = '{isolation}'")
        for _ in range(3):
            rig.check(BALANCE.format(42), client=c)
    row = rig.rule()
    assert (row["hits"] == 0) == (isolation == "serializable")
    if isolation == "serializable":
        assert row["bypasses"]["isolation"] == 3


# ---- who ----------------------------------------------------------------------------------------------

def test_users_have_entries_of_their_own(rig):
    rig.warm(BALANCE.format(42))
    rig.pg.sql("REVOKE ALL ON app.accounts FROM other", DB)
    with rig.connect("other", "other secret") as c:
        with pytest.raises(w.ServerError) as e:
            c.query(BALANCE.format(42))
        assert e.value.code == "42501"


def test_users_that_the_rule_lists_share_and_others_get_nothing(pg, proxy):
    pg.sql(SCHEMA, DB)
    rules = RULES.replace("key = balance:$1", f"key = balance:$1\nusers = {USER}, somebody")
    rig = Rig(proxy(databases={DB: {"host": pg.host, "port": pg.port}}, extra=rules), pg)
    rig.warm(BALANCE.format(42))
    with rig.connect("other", "other secret") as c:
        for _ in range(2):
            assert c.query(BALANCE.format(42)) == [["4200"]]
    assert rig.rule()["bypasses"] == {"user": 2}


def test_another_role_is_not_served(rig):
    rig.pg.sql(f"GRANT other TO {USER}", DB)
    rig.warm(BALANCE.format(42))
    rig.pg.sql("REVOKE ALL ON app.accounts FROM other", DB)
    with rig.connect() as c:
        c.query("SET ROLE other")
        with pytest.raises(w.ServerError):
            c.query(BALANCE.format(42))
        c.query("RESET ROLE")
        assert c.query(BALANCE.format(42)) == [["4200"]]
    rig.pg.sql(f"REVOKE other FROM {USER}", DB)


def test_temporary_table_of_that_name_is_read(rig):
    with rig.connect() as c:
        c.query("SET search_path = app")
        sql = "SELECT v FROM loose WHERE id = 3"
        assert c.query(sql) == c.query(sql) == [["app 3"]]
        c.query("CREATE TEMP TABLE loose (id int, v text)")
        c.query("INSERT INTO loose VALUES (3, 'mine')")
        assert c.query(sql) == [["mine"]]


def test_table_with_row_security_is_refused(rig):
    rig.pg.sql("CREATE TABLE app.secret (id int, v text); ALTER TABLE app.secret ENABLE ROW LEVEL SECURITY; "
               f"GRANT ALL ON app.secret TO {USER}", DB)
    p = rig.p
    p.extra += "[cache secret]\nquery = SELECT v FROM app.secret WHERE id = $1\nkey = secret:$1\n"
    p.write()
    with p.console() as con:
        con.query("RELOAD")
    wait_for(lambda: "security" in rig.rule("secret")["why"], 15, lambda: str(rig.rule("secret")))
    assert rig.rule("secret")["state"] == "refused"
    rig.check("SELECT v FROM app.secret WHERE id = 3")
    assert rig.rule("secret")["bypasses"]["refused"] == 1


# ---- not served ---------------------------------------------------------------------------------------

def test_what_is_not_served_is_counted_with_its_reason(rig):
    rig.warm(BALANCE.format(42))
    text = BALANCE.format("$1")
    rig.c.query("/* penstock: cache=off */ " + BALANCE.format(42))
    rig.c.ask(w.parse(text, types=(23,)) + w.bind(["42"]) + w.execute("", 1) + w.sync())
    rig.c.ask(w.parse(text, types=(23,)) + w.bind(["42"]) + w.execute() + w.bind(["42"]) + w.execute() +
              w.sync())
    rig.c.ask(w.parse(text, types=(23,)) + w.bind([None]) + w.execute() + w.sync())
    rig.c.query("BEGIN")
    rig.c.query(BALANCE.format(42))
    rig.c.query("COMMIT")
    got = rig.rule()["bypasses"]
    assert got == {"hint": 1, "row_limit": 1, "pipeline": 1, "value": 1, "transaction": 1}


def test_session_mode_is_not_served(pg, proxy):
    pg.sql(SCHEMA, DB)
    p = proxy(databases={DB: {"host": pg.host, "port": pg.port}}, mode="session", extra=RULES)
    with p.connect(USER, SECRET, DB) as c:
        for _ in range(3):
            assert c.query(BALANCE.format(42)) == [["4200"]]
    assert all(int(r["hits"]) == 0 for r in p.show("CACHE"))


def test_error_is_not_kept(rig):
    rig.pg.sql("ALTER TABLE app.accounts RENAME TO moved", DB)
    for _ in range(3):
        with pytest.raises(w.ServerError):
            rig.c.query(BALANCE.format(42))
    rig.pg.sql("ALTER TABLE app.moved RENAME TO accounts", DB)
    assert rig.check(BALANCE.format(42)) == [["4200"]]


def test_session_can_ask_what_became_of_its_last_statement(rig):
    def last():
        return [m for m in rig.c.ask(w.query("SHOW LAST")) if m.type == "D"][0].fields["values"]
    assert last() == [None, None]
    rig.warm(BALANCE.format(42))
    assert last() == [b"balance", b"hit"]
    rig.c.query(BALANCE.format(43))
    assert last() == [b"balance", b"miss"]
    rig.c.query("/* penstock: cache=off */ " + BALANCE.format(42))
    assert last() == [b"balance", b"hint"]
    got = rig.c.ask(w.parse("SHOW LAST") + w.bind() + w.describe("", "P") + w.execute() + w.sync())
    assert "".join(w.types_of(got)) == "12TDCZ"


# ---- time, memory, console ----------------------------------------------------------------------------

def test_entry_ends_with_its_time(pg, proxy):
    pg.sql(SCHEMA, DB)
    rig = Rig(proxy(databases={DB: {"host": pg.host, "port": pg.port}},
                    extra=RULES.replace("ttl = 300", "ttl = 0.5\nmode = ttl")), pg)
    rig.warm(BALANCE.format(42))
    pg.sql("UPDATE app.accounts SET balance = 5 WHERE user_id = 42", DB)        # not through the proxy
    assert rig.c.query(BALANCE.format(42)) == [["4200"]]
    wait_for(lambda: rig.c.query(BALANCE.format(42)) == [["5"]], 3)


def test_flush_by_rule_and_by_key(rig):
    for k in (1, 2):
        rig.warm(BALANCE.format(k))
    rig.pg.sql("UPDATE app.accounts SET balance = 7", DB)        # not through the proxy: still served
    assert rig.c.query(BALANCE.format(1)) == [["100"]]
    with rig.p.console() as con:
        assert con.query("SHOW CACHE_MEMBERS") == []
        with pytest.raises(w.ServerError, match="no rule of mode lease"):
            con.query("CACHE FORGET MEMBER one")
        con.query("CACHE FLUSH balance:1")
        assert rig.check(BALANCE.format(1)) == [["7"]]
        assert rig.c.query(BALANCE.format(2)) == [["200"]]
        con.query("CACHE FLUSH balance;")
        assert rig.check(BALANCE.format(2)) == [["7"]]
        con.query("CACHE FLUSH")


def test_reload_of_other_rules_forgets_what_was_kept(rig):
    rig.warm(BALANCE.format(42))
    p = rig.p
    with p.console() as con:
        con.query("RELOAD")
        assert rig.c.query(BALANCE.format(42)) and rig.rule()["entries"] == 1        # nothing has changed
        whole, p.extra = p.extra, ""
        p.write()
        con.query("RELOAD")
        wait_for(lambda: rig.rows() == [], 5)
        rig.c.query("UPDATE app.accounts SET balance = 1 WHERE user_id = 42")
        p.extra = whole
        p.write()
        con.query("RELOAD")
    wait_for(lambda: rig.rule()["state"] == "ready", 15)
    assert rig.check(BALANCE.format(42)) == [["1"]]


def test_definition_that_is_new_counts_at_once(rig):
    rig.warm(BALANCE.format(42))
    with rig.connect() as c:
        c.query("CREATE FUNCTION public.cache_new() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "UPDATE app.accounts SET balance = 99; RETURN NEW; END $$")
        c.query("CREATE TRIGGER cache_new AFTER INSERT ON app.owners FOR EACH ROW EXECUTE FUNCTION "
                "public.cache_new()")
        c.query("INSERT INTO app.owners VALUES (99)")
        assert rig.check(BALANCE.format(42)) == [["99"]]
        c.query("DROP FUNCTION public.cache_new() CASCADE")


# ---- configuration ------------------------------------------------------------------------------------

def refused(p, extra):
    p.extra = extra
    p.write()
    with p.console() as con, pytest.raises(w.ServerError):
        con.query("RELOAD")
    return [line for line in p.log_text().splitlines() if "reload failed" in line][-1]


BAD = {
    "no query": ("[cache x]\nkey = a:$1\n", "query: [cache x]: must be given"),
    "no key": ("[cache x]\nquery = SELECT 1 FROM t WHERE a = $1\n", "key: [cache x]: must be given"),
    "not a read": ("[cache x]\nquery = DELETE FROM t WHERE a = $1\nkey = a:$1\n", ":query: [cache x]:"),
    "broken": ("[cache x]\nquery = SELEC 1\nkey = a:$1\n", "query: [cache x]:"),
    "bounded": ("[cache x]\nmode = bounded\n", "mode: bounded is not in this release"),
    "strict": ("[cache]\nmode = strict\n", "mode: strict is not in this release"),
    "store": ("[cache]\nstore = nowhere\n", "store:"),
    "unknown": ("[cache x]\nfoo = 1\n", "foo: unknown key"),
    "twice": ("[cache x]\n[cache x]\n", "is there twice"),
    "name": ("[cache a b]\n", "the name has"),
    "peers": ("[peers]\n2 = host=127.0.0.1\n[cache x]\nquery = SELECT v FROM t WHERE a = $1\nkey = a:$1\n",
              "lease with store = memory is for one process alone, but there is [peers]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rule_is_refused_with_its_place(pg, proxy, name):
    p = proxy(pg)
    text, reason = BAD[name]
    said = refused(p, text)
    assert reason.lstrip(":") in said and "penstock.ini:" in said


def test_value_goes_on_in_indented_lines_of_cache_sections_only(pg, proxy):
    p = proxy(pg)
    p.extra = "[cache x]\nquery = SELECT v\n\tFROM t\n   WHERE a = $1\nkey = a:$1\n"
    p.write()
    with p.console() as con:
        con.query("RELOAD")
        assert [r["rule"] for r in con.query("SHOW CACHE")] == ["x"]
    said = refused(p, "[users]\nx =\n  pool_size=3\n y = z\n")
    assert ":24: pool_size:" in said        # a line of its own


# ---- from a reading of the code -----------------------------------------------------------------------

NAMES = """
[cache]
[cache named]
query = SELECT v FROM app.named WHERE name = $1
key = named:$1
[cache balance]
query = SELECT balance FROM app.accounts WHERE user_id = $1
key = balance:$1
[cache open]
query = SELECT balance FROM app.accounts WHERE user_id = $1 AND state = 'open'
key = open:$1
[cache closed]
query = SELECT balance FROM app.accounts WHERE user_id = $1 AND state = 'closed'
key = closed:$1
"""


def other_rig(pg, proxy, databases=None, rules=NAMES, **kw):
    pg.sql(SCHEMA + f"CREATE TABLE app.named (name text PRIMARY KEY, v int); GRANT ALL ON app.named TO {USER}; "
           "INSERT INTO app.named VALUES (U&'\\00e9', 1), ('e', 1); "
           f"CREATE TABLE app.late (user_id int, n int); ALTER TABLE app.late OWNER TO {USER}", DB)
    here = {"host": pg.host, "port": pg.port}
    return Rig(proxy(databases=databases or {DB: here}, extra=rules, **kw), pg)


def test_name_is_the_same_in_every_encoding(pg, proxy):
    rig = other_rig(pg, proxy)
    read = "SELECT v FROM app.named WHERE name = '\u00e9'"
    rig.warm(read, "named")
    with rig.connect(client_encoding="LATIN1") as c:
        c.query("UPDATE app.named SET v = 2 WHERE name = '\u00e9'".encode("latin1"))
    assert rig.c.query(read) == [["2"]]


def test_rules_that_differ_in_a_constant_are_both_used(pg, proxy):
    rig = other_rig(pg, proxy)
    rig.warm("SELECT balance FROM app.accounts WHERE user_id = 42 AND state = 'open'", "open")
    rig.warm("SELECT balance FROM app.accounts WHERE user_id = 43 AND state = 'closed'", "closed")


def test_definition_made_through_another_entry_counts_too(pg, proxy):
    here = {"host": pg.host, "port": pg.port, "dbname": DB}
    rig = other_rig(pg, proxy, {DB: here, "twin": here})
    rig.warm(BALANCE.format(42))
    with rig.p.connect(USER, SECRET, "twin") as twin:
        twin.query("SELECT 1")
        twin.query("CREATE TRIGGER t AFTER INSERT ON app.late FOR EACH ROW EXECUTE FUNCTION app.on_request()")
    for n in range(5):
        rig.c.query(BALANCE.format(42))
        rig.c.query(f"INSERT INTO app.late VALUES (42, {n})")
        assert rig.c.query(BALANCE.format(42)) == [[str(n)]]


def test_write_that_runs_a_trigger_made_after_it_was_sent_is_seen(pg, proxy):
    rig = other_rig(pg, proxy)
    with rig.connect() as writer, rig.connect() as definer:
        definer.query("BEGIN")
        definer.query("CREATE TRIGGER t AFTER INSERT ON app.late FOR EACH ROW EXECUTE FUNCTION app.on_request()")
        writer.query("BEGIN")
        writer.send(w.query("INSERT INTO app.late VALUES (42, 7)"))
        wait_for(lambda: pg.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1", 10, "the lock")
        definer.query("COMMIT")
        writer.read_until()
        ready = lambda: rig.c.query(BALANCE.format(42)) and rig.rule()["state"] == "ready"  # noqa: E731
        wait_for(ready, 10, lambda: str(rig.rows()))
        rig.warm(BALANCE.format(42))
        writer.query("COMMIT")
        assert rig.c.query(BALANCE.format(42)) == [["7"]]


def test_entry_that_leads_elsewhere_after_a_reload_has_no_answers_from_before(pg, proxy):
    away = PgCluster()
    try:
        away.role(USER, SECRET)
        away.role("other", "other secret")
        away.database(DB, USER)
        away.sql(SCHEMA.replace("g * 100", "g * 1000"), DB)
        rig = other_rig(pg, proxy, rules=NAMES.replace("[cache named]", "[cache unnamed]"))
        rig.warm(BALANCE.format(42))
        rig.p.databases[DB]["port"] = away.port
        rig.p.write()
        rig.p.reload()
        wait_for(lambda: rig.p.show("DATABASES")[0]["port"] == str(away.port), 10, "the reload")
        for _ in range(20):
            assert rig.c.query(BALANCE.format(42)) == [["42000"]]
    finally:
        away.close()
