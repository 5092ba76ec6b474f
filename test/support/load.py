"""A paced load of many clients for the demo: reads, updates, transactions, prepared statements.

The tables are pgbench-like (SCHEMA).  Work begins when all clients are logged in.  Every client sleeps so
that all together reach `rate` transactions a second, which leaves the machine to the database and the
proxy; every row read is checked to be the one asked for.  Which accounts: all alike, or `skewed`.  Runs
inside an event loop.
"""
import asyncio
import random
import time

from . import aio
from . import pgwire as w

ACCOUNTS = 100_000

SCHEMA = f"""
CREATE TABLE branches (bid int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE accounts (aid int PRIMARY KEY, bid int NOT NULL, balance bigint NOT NULL, filler char(84))
    WITH (fillfactor = 80);
CREATE TABLE history (aid int, delta int, at timestamptz DEFAULT now());
INSERT INTO branches SELECT g, 0 FROM generate_series(1, 100) g;
INSERT INTO accounts SELECT g, g % 100 + 1, 1000, '' FROM generate_series(1, {ACCOUNTS}) g;
"""

READ = "SELECT aid, balance FROM accounts WHERE aid = $1"
OTHER = "SELECT aid, bid FROM accounts WHERE aid = {}"


class Stats:
    """Counts since the last take(); totals for ever."""

    def __init__(self):
        self.total, self.errors, self.texts = 0, 0, {}
        self.latencies, self.since = [], time.monotonic()

    def done(self, seconds):
        self.total += 1
        self.latencies.append(seconds)

    def error(self, text):
        self.errors += 1
        if text in self.texts or len(self.texts) < 20:
            self.texts[text] = self.texts.get(text, 0) + 1

    def take(self):
        """(transactions per second, p50 ms, p99 ms) of the time since the last call."""
        now, got = time.monotonic(), sorted(self.latencies)
        span, self.latencies, self.since = now - self.since, [], now
        at = lambda p: 1000 * got[min(len(got) - 1, int(len(got) * p))] if got else 0.0  # noqa: E731
        return len(got) / max(span, 1e-9), at(0.5), at(0.99)


class WrongRow(Exception):
    pass


class Load:
    def __init__(self, host, port, user, secret, db, clients=1000, rate=1500, prepared=True, seed=1,
                 skewed=False):
        self.where = (host, port, user, secret, db)
        self.clients, self.rate, self.prepared, self.seed = clients, rate, prepared, seed
        self.skewed = skewed
        self.stats, self.connected, self.tasks = Stats(), 0, []
        self.gate = asyncio.Semaphore(64)       # logins at once
        self.all_here = asyncio.Event()         # set for good when all clients were there once

    def start(self):
        self.tasks = [asyncio.ensure_future(self._client(i)) for i in range(self.clients)]

    async def stop(self):
        for t in self.tasks:
            t.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _client(self, number):
        rng = random.Random(self.seed * 1_000_003 + number)
        pause = self.clients / self.rate
        while True:
            conn = None
            try:
                async with self.gate:
                    conn = await aio.AioConn.open(*self.where, application_name=f"demo {number}")
                self.connected += 1
                if self.connected == self.clients:
                    self.stats.take()           # the rush of logins is not part of the picture
                    self.all_here.set()
                try:
                    await self.all_here.wait()
                    await self._work(conn, rng, pause)
                finally:
                    self.connected -= 1
            except (w.WireError, w.ServerError, WrongRow, OSError, asyncio.TimeoutError) as e:
                self.stats.error(str(e) or type(e).__name__)
                await asyncio.sleep(0.5 + rng.random())
            finally:
                if conn:
                    conn.close()

    def _account(self, rng):
        """Any of them; or some far more often than others, the n-th about 1 / n as often as the first."""
        return int((ACCOUNTS + 1) ** rng.random()) if self.skewed else rng.randint(1, ACCOUNTS)

    async def _work(self, conn, rng, pause):
        if self.prepared:
            aio.rows(await conn.request(w.parse(READ, "read_account") + w.sync()))
        while True:
            await asyncio.sleep(min(rng.expovariate(1 / pause), 4 * pause))
            aid, dice, start = self._account(rng), rng.random(), time.monotonic()
            if dice < 0.2:
                self._check(aid, await conn.query(OTHER.format(aid)))
            elif dice < 0.5:
                await self._read(conn, aid)
            elif dice < 0.8:
                await self._read_prepared(conn, aid)
            elif dice < 0.9:
                await conn.query(f"UPDATE accounts SET balance = balance + 1 WHERE aid = {aid}")
            else:
                await self._transaction(conn, aid, rng.randint(-50, 50))
            self.stats.done(time.monotonic() - start)

    async def _read(self, conn, aid):
        self._check(aid, await conn.query(f"SELECT aid, balance FROM accounts WHERE aid = {aid}"))

    async def _read_prepared(self, conn, aid):
        if self.prepared:
            head, name = b"", "read_account"
        else:
            head, name = w.parse(READ), ""
        self._check(aid, aio.rows(await conn.request(
            head + w.bind([str(aid)], name) + w.execute() + w.sync())))

    @staticmethod
    def _check(aid, rows):
        if len(rows) != 1 or rows[0][0] != str(aid):
            raise WrongRow(f"wrong row: asked for {aid}, got {rows}")

    async def _transaction(self, conn, aid, delta):
        await conn.query("BEGIN")
        await conn.query(f"UPDATE accounts SET balance = balance + {delta} WHERE aid = {aid}")
        await self._read(conn, aid)
        await conn.query(f"INSERT INTO history (aid, delta) VALUES ({aid}, {delta})")
        await conn.query("COMMIT")
