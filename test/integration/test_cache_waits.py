"""Issue 5: reads that wait for the end of a write to their key, or for another process that fetches the same answer."""
import contextlib
import time

import pytest
import test_cache as base
from test_cache_shared import Pair

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only

READ = base.BALANCE.format(42)
WRITE = "UPDATE app.accounts SET balance = 5 WHERE user_id = 42"
PATIENT = "wait = 1\n"


def rig_of(pg, proxy, more):
    pg.sql(base.SCHEMA, DB)
    rules = base.RULES.replace("[cache]\n", "[cache]\n" + more)
    return base.Rig(proxy(databases={DB: {"host": pg.host, "port": pg.port}}, extra=rules), pg)


@contextlib.contextmanager
def written(rig, p):
    """A write through p that waits for a lock of the row, until release() is called."""
    writer = p.connect(USER, SECRET, DB)
    with base.locked(rig, base.ROW) as lock:
        writer.send(w.query(WRITE))
        wait_for(lambda: rig.pg.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") != "0", 5)
        yield lambda: lock.query("COMMIT")
    assert not w.errors_of(writer.read_until())
    writer.close()


def readers(rig, p, n):
    out = [p.connect(USER, SECRET, DB) for _ in range(n)]
    before = rig.rule()["waits"]
    for c in out:
        c.send(w.query(READ))
    return out, before


def answers(clients):
    out = [w.rows_of(c.read_until()) for c in clients]
    for c in clients:
        c.close()
    return out


def test_readers_of_a_row_that_is_being_written_cost_one_query(pg, proxy):
    rig = rig_of(pg, proxy, PATIENT)
    rig.warm(READ)
    before = rig.rule()
    with written(rig, rig.p) as release:
        clients, waits = readers(rig, rig.p, 12)
        wait_for(lambda: rig.rule()["waits"] == waits + 12, 5, lambda: str(rig.rule()))
        release()
        assert answers(clients) == [[["5"]]] * 12
    row = rig.rule()
    misses = row["misses"] - before["misses"]
    assert 1 <= misses <= base.WORKERS and row["hits"] - before["hits"] == 12 - misses
    assert row["bypasses"] == before["bypasses"]
    rig.check(READ)
    rig.c.close()


def test_nobody_waits_longer_than_wait(pg, proxy):
    rig = rig_of(pg, proxy, "wait = 0.2\n")
    rig.warm(READ)
    with written(rig, rig.p):
        began = time.monotonic()
        for _ in range(20):                # only the first of each worker waits in vain, every two seconds
            assert rig.check(READ) == [["4200"]]
        took = time.monotonic() - began
    assert rig.rule()["bypasses"]["write"] == 20
    assert 1 <= rig.rule()["waits"] <= base.WORKERS * (1 + int(took / 2))
    rig.c.close()


def test_who_does_not_want_to_wait_asks_at_once(pg, proxy):
    rig = rig_of(pg, proxy, "wait = 0\n")
    rig.warm(READ)
    with written(rig, rig.p):
        assert rig.check(READ) == [["4200"]]
    assert rig.rule()["waits"] == 0 and rig.rule()["bypasses"]["write"] == 1
    rig.c.close()


def test_prepared_and_binary_readers_get_their_own_form(pg, proxy):
    """One key, several variants: each has a query of its own, and nobody is told another's."""
    rig = rig_of(pg, proxy, PATIENT)
    rig.warm(READ)
    text = "SELECT balance FROM app.accounts WHERE user_id = $1"
    forms = [w.query(READ),
             w.parse(text) + w.bind(["42"]) + w.describe(kind="P") + w.execute() + w.sync(),
             w.parse(text) + w.bind(["42"], results=[1]) + w.describe(kind="P") + w.execute() + w.sync()]
    with rig.direct() as d:
        d.query("UPDATE app.accounts SET balance = 5 WHERE user_id = 42")
        want = [base.raw(d.ask(f)) for f in forms]
        d.query("UPDATE app.accounts SET balance = 4200 WHERE user_id = 42")
    with written(rig, rig.p) as release:
        clients = [rig.connect() for _ in range(9)]
        waits = rig.rule()["waits"]
        for i, c in enumerate(clients):
            c.send(forms[i % 3])
        wait_for(lambda: rig.rule()["waits"] == waits + 9, 5, lambda: str(rig.rule()))
        release()
        for i, c in enumerate(clients):
            assert base.raw(c.read_until()) == want[i % 3]
            c.close()
    rig.c.close()


def test_who_needs_a_description_is_not_given_an_answer_without(pg, proxy):
    """The query that waits for a server has no Describe; a text that waits for it needs the rows' description."""
    pg.sql(base.SCHEMA, DB)
    p = proxy(databases={DB: {"host": pg.host, "port": pg.port, "pool_size": 1}}, extra=base.RULES,
              config={"workers": 1})
    rig = base.Rig(p, pg)
    with rig.connect() as busy, rig.connect() as bare, rig.connect() as text:
        busy.query("BEGIN")
        bare.send(w.parse("SELECT balance FROM app.accounts WHERE user_id = $1") + w.bind(["42"]) + w.execute() + w.sync())
        wait_for(lambda: any(r["state"] == "waiting" for r in p.show("CLIENTS")), 5)
        text.send(w.query(READ))
        wait_for(lambda: rig.rule()["waits"] == 1, 5)
        busy.query("COMMIT")
        assert w.rows_of(bare.read_until()) == [["4200"]]
        got = text.read_until()
        with rig.direct() as d:
            assert base.raw(got) == base.raw(d.ask(w.query(READ)))
    rig.c.close()


@pytest.fixture
def pair(pg, proxy, redis):
    made = Pair(pg, proxy, redis, more="redis_timeout = 0.05\n" + PATIENT)
    yield made
    made.close()


def test_readers_wait_for_a_write_through_another_process(pair):
    pair.warm(READ)
    before = pair.rule()
    with written(pair, pair.q) as release:
        clients, waits = readers(pair, pair.p, 8)
        wait_for(lambda: pair.rule()["waits"] == waits + 8, 5, lambda: str(pair.rule()))
        release()
        assert answers(clients) == [[["5"]]] * 8
    row = pair.rule()
    misses = row["misses"] - before["misses"]
    assert 1 <= misses <= base.WORKERS and row["hits"] - before["hits"] == 8 - misses
    assert row["bypasses"] == before["bypasses"]


def test_write_of_another_process_that_takes_long_is_waited_for_now_and_then(pg, proxy, redis):
    pair = Pair(pg, proxy, redis, more="redis_timeout = 0.05\nwait = 0.3\n")
    pair.warm(READ)
    with written(pair, pair.q):
        took = []
        for _ in range(20):                # only the first of each worker waits in vain, every three seconds
            began = time.monotonic()
            assert pair.check(READ) == [["4200"]]
            took.append(time.monotonic() - began)
    assert sum(t > 0.25 for t in took) <= base.WORKERS * (1 + int(sum(took) / 3))
    assert pair.rule()["bypasses"]["write"] >= 20
    pair.close()


def test_reader_waits_for_another_process_that_fetches_the_same(pair):
    with base.locked(pair, base.LEDGER) as lock:
        pair.d.send(w.query(base.TOTAL))
        wait_for(lambda: lock.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1", 5)
        pair.c.send(w.query(base.TOTAL))
        wait_for(lambda: pair.rule("total")["waits"] == 1, 5, lambda: str(pair.rule("total")))
        lock.query("COMMIT")
        assert w.rows_of(pair.c.read_until()) == w.rows_of(pair.d.read_until())
    assert pair.rule("total")["hits"] == 1 and pair.rule("total")["misses"] == 0
