"""Read your writes, for real: counters behind replicas that lag and pause at random.

Each counter has one writer, who knows what was acknowledged.  `session`: the writer's reads show at
least that.  `database`: everybody's do.  In both, no client sees a counter go back.  With `off` the same
load must show stale reads, or this test is too weak to show anything.
CONSISTENCY_SECONDS (8) is how long each takes; CONSISTENCY_READS, when set, the least number of reads
under `session` and `database` (run.py consistency: 500,000).
"""
import asyncio
import contextlib
import os
import random
import time

import pytest

from support import pgwire as w
from support.aio import AioConn, rows
from support.common import DB, SECRET, USER
from support.procs import wait_for
from support.trio import Trio, section, wait_nodes

SECONDS = float(os.environ.get("CONSISTENCY_SECONDS", "8"))
READS = int(os.environ.get("CONSISTENCY_READS", "0"))
WRITERS, READERS, BATCH = 12, 12, 8
pytestmark = [pytest.mark.penstock_only, pytest.mark.timeout(900 + READS // 200)]


class Ledger:
    """What was acknowledged, what was seen, and what was wrong."""

    def __init__(self, trio, least=READS):
        self.least = least
        self.acked = [0] * WRITERS
        self.replicas = {r.port for r in trio.replicas}
        self.reads = self.on_replicas = self.quiet = self.quiet_on_replicas = 0
        self.own_stale = self.others_stale = self.backwards = 0
        self.ends = time.monotonic() + SECONDS

    def running(self):
        return time.monotonic() < self.ends or self.reads < self.least


async def read_counter(led, c, seen, i, mine):
    """BATCH reads, one behind the other; each must show what was acknowledged before they were sent."""
    floor = led.acked[i]
    msgs = await c.request(w.query(f"SELECT v, node() FROM counters WHERE id = {i}") * BATCH, BATCH)
    for value, node in rows(msgs):
        led.reads += 1
        led.on_replicas += int(node) in led.replicas
        if int(value) < floor:
            led.own_stale += mine
            led.others_stale += not mine
        led.backwards += int(value) < seen[i]
        seen[i] = max(seen[i], int(value))


async def read_quiet(led, c):
    """Without node(): a user's function may read any table, and so counts every write."""
    await c.query("SELECT v FROM still WHERE id = 1")
    (last,) = await c.query("SHOW LAST")
    led.quiet += 1
    led.quiet_on_replicas += last[1] == "replica"


async def client(led, port, own, seed):
    """One that writes the counter `own` now and then, or with None only reads."""
    rnd, seen = random.Random(seed), [0] * WRITERS
    c = await AioConn.open("127.0.0.1", port, USER, SECRET, DB)
    while led.running():
        if own is not None and rnd.random() < 0.1:
            value = led.acked[own] + 1
            await c.query(f"UPDATE counters SET v = {value} WHERE id = {own}")
            led.acked[own] = value
        elif rnd.random() < 0.3:
            await read_quiet(led, c)
        else:
            i = own if own is not None and rnd.random() < 0.7 else rnd.randrange(WRITERS)
            await read_counter(led, c, seen, i, i == own)
    c.close()


async def trouble(led, trio, seed):
    """Replicas apply late, by 0 to 5 seconds, or not at all for a while."""
    rnd, loop = random.Random(seed), asyncio.get_running_loop()
    while led.running():
        r = rnd.choice(trio.replicas)
        if rnd.random() < 0.5:
            ms = rnd.choice((0, 0, 5, 50, 500, 5000))
            await loop.run_in_executor(None, r.sql, f"ALTER SYSTEM SET recovery_min_apply_delay = {ms}")
            await loop.run_in_executor(None, r.sql, "SELECT pg_reload_conf()")
        else:
            await loop.run_in_executor(None, r.sql, "SELECT pg_wal_replay_pause()")
            await asyncio.sleep(rnd.choice((0.01, 0.1, 1)))
            await loop.run_in_executor(None, r.sql, "SELECT pg_wal_replay_resume()")
        await asyncio.sleep(rnd.random() * 0.3)


async def play(trio, port, least=READS):
    led = Ledger(trio, least)
    players = [client(led, port, i, i) for i in range(WRITERS)]
    players += [client(led, port, None, 100 + i) for i in range(READERS)]
    await asyncio.gather(trouble(led, trio, 7), *players)
    return led


async def play_for_a_while(trio, port):
    return await play(trio, port, 0)


@pytest.fixture(scope="module")
def trio():
    t = Trio()
    t.primary.sql(f"CREATE TABLE counters (id int PRIMARY KEY, v bigint); GRANT ALL ON counters TO PUBLIC;"
                  f" INSERT INTO counters SELECT g, 0 FROM generate_series(0, {WRITERS - 1}) g", DB)
    yield t
    t.close()


@pytest.fixture
def run(proxy, trio):
    def go(consistency, load=play, delay=0):
        for r in trio.replicas:
            r.sql(f"ALTER SYSTEM SET recovery_min_apply_delay = {delay}")
            r.sql("SELECT pg_reload_conf()")
            with contextlib.suppress(Exception):
                r.resume_replay()
        trio.primary.sql("UPDATE counters SET v = 0", DB)
        for r in trio.replicas:
            r.catch_up()
        p = proxy(databases={DB: {"cluster": "main", "dbname": DB}},
                  extra=section(trio, consistency=consistency, max_replica_lag=0))
        wait_nodes(p, primary=1, replica=2)
        with p.connect(USER, SECRET, DB) as c:
            wait_for(lambda: int(c.value("SELECT node()")) != trio.primary.port, 10, "reads on a replica")
        led = asyncio.run(load(trio, p.port))
        print(f"{consistency}: {led.reads} reads of counters, {led.on_replicas} on replicas;"
              f" {led.quiet} of a quiet table, {led.quiet_on_replicas} on replicas; {sum(led.acked)} writes;"
              f" stale: {led.own_stale} own, {led.others_stale} others'; {led.backwards} went back")
        assert led.reads > 50 * SECONDS and sum(led.acked) > SECONDS
        return led
    return go


@pytest.mark.cluster
def test_session_reads_see_the_clients_own_writes_and_never_go_back(run):
    led = run("session")
    assert (led.own_stale, led.backwards) == (0, 0)
    assert led.on_replicas > 0.2 * led.reads


@pytest.mark.cluster
def test_database_reads_see_every_acknowledged_write(run):
    led = run("database")
    assert (led.own_stale, led.others_stale, led.backwards) == (0, 0, 0)


def test_without_consistency_the_same_load_shows_stale_reads(run):
    led = run("off", play_for_a_while)
    assert led.own_stale > 0 and led.others_stale > 0 and led.backwards > 0


# ---- the share of reads that replicas serve ----------------------------------------------------------

async def seldom_writer(led, port, own):
    """Writes once a second, and reads all the time."""
    c = await AioConn.open("127.0.0.1", port, USER, SECRET, DB)
    due, seen = time.monotonic(), [0] * WRITERS
    while led.running():
        if time.monotonic() >= due:
            due += 1
            value = led.acked[own] + 1
            await c.query(f"UPDATE counters SET v = {value} WHERE id = {own}")
            led.acked[own] = value
        await read_counter(led, c, seen, own, True)
        await asyncio.sleep(0.005)
    c.close()


async def reader(led, port, quiet):
    c = await AioConn.open("127.0.0.1", port, USER, SECRET, DB)
    seen, n = [0] * WRITERS, 0
    while led.running():
        n += 1
        await (read_quiet(led, c) if quiet else read_counter(led, c, seen, n % WRITERS, False))
        await asyncio.sleep(0.005)
    c.close()


async def mostly_reads(trio, port):
    """40 clients of which 2 write once a second; half of the others read a table that nobody writes."""
    led = Ledger(trio, 0)
    await asyncio.gather(*[seldom_writer(led, port, i) for i in range(2)],
                         *[reader(led, port, i % 2 == 0) for i in range(38)])
    return led


@pytest.mark.parametrize("consistency, all_reads, quiet", [("session", 0.9, 0.9), ("database", 0, 0.5)])
@pytest.mark.full
def test_replicas_that_lag_by_50_ms_serve_most_reads(run, consistency, all_reads, quiet):
    led = run(consistency, mostly_reads, delay=50)
    assert (led.own_stale, led.backwards) == (0, 0)
    assert led.on_replicas + led.quiet_on_replicas >= all_reads * (led.reads + led.quiet)
    assert led.quiet_on_replicas >= quiet * led.quiet
