#!/usr/bin/env python3
"""The checker of the result cache: is every answer one that the database could have given?

Each row holds a version that a writer increments under the row's lock, so the order of versions is the
order of commits.  Before a read is sent two numbers of its row are noted: the newest version of which an
acknowledgement has arrived anywhere, and the newest one that any read has shown.  An answer below either
is stale or goes backwards.  An answer that nobody has written, or that was written by a request sent
after the answer came, is from the future.  All clients live in one process, so their clocks are one.

Writers use everything that changes a row (cache_writers.py); some roll back, some vanish in the middle.
Readers ask through the proxies in both protocols, in all formats and several at once, and a few ask the
database itself.  Meanwhile things go wrong (cache_trouble.py).

    cache_checker.py [--store memory|redis] [--mode lease|ttl] [--proxies N] [--policy hold|refuse|proceed]
                     [--seconds 60] [--reads N] [--writes N] [--keys 40] [--readers 24] [--writers 6]
                     [--workers 2] [--trouble NAME,...|none] [--seed N]
With --reads and --writes it ends when so many were checked, and has failed when it has not after --seconds.
Prints the numbers and exits with 1 when an answer was wrong, or when too little was checked to say so.
"""
import argparse
import asyncio
import concurrent.futures
import os
import random
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cache_trouble import Trouble  # noqa: E402
from cache_writers import BUMP, DB, KINDS, SCHEMA, SECRET, USER, ask  # noqa: E402
from support import aio, procs  # noqa: E402
from support import pgwire as w  # noqa: E402
from support.cluster import PgCluster  # noqa: E402
from support.penstock import Penstock  # noqa: E402
from support.redis import Redis  # noqa: E402

SHOWN = 5       # violations that are printed
BATCH = 8       # reads that a client sends at once, now and then

RULES = """
[cache]
{store}
mode = {mode}
[cache ck]
query = SELECT v FROM ck WHERE id = $1
key = ck:$1
[cache ck_view]
query = SELECT v FROM ck_view WHERE id = $1
key = ck_view:$1
"""


class Book:
    """What is known of each row."""

    def __init__(self, keys):
        self.acked, self.shown = [0] * keys, [0] * keys
        self.sent = [{} for _ in range(keys)]       # version -> when its request was sent
        self.doubtful = [0] * keys                  # writes whose outcome nobody knows
        self.early = []                             # reads of versions without an acknowledgement yet
        self.reads = self.writes = self.direct = self.back = 0
        self.may_go_back = False                    # within the writes that are not acknowledged yet
        self.wrong = []

    def write_acked(self, key, version, sent):
        self.writes += 1
        self.sent[key][version] = sent
        self.acked[key] = max(self.acked[key], version)

    def before_read(self, key):
        return self.acked[key], self.shown[key]

    def read(self, key, version, before, who):
        self.reads += 1
        if version < before[0]:
            self.wrong.append(f"stale: {who} got version {version} of {key}, {before[0]} was acknowledged")
        elif version < before[1]:
            self.back += 1
            if not self.may_go_back:
                self.wrong.append(f"backwards: {who} got version {version} of {key}, {before[1]} was shown")
        if version > self.acked[key]:
            self.early.append((key, version, time.monotonic(), who))
        self.shown[key] = max(self.shown[key], version)

    def finish(self):
        """Versions that were read before their writers knew."""
        for key, version, at, who in self.early:
            sent = self.sent[key].get(version)
            if sent is None and self.doubtful[key] == 0:
                self.wrong.append(f"invented: {who} got version {version} of {key}, nobody wrote it")
            elif sent is not None and sent > at:
                self.wrong.append(f"future: {who} got version {version} of {key} before it was written")


def question(k):
    """A read of row k: its bytes, and whether the answer is binary."""
    table = random.choice(["ck", "ck", "ck_view"])
    dice = random.random()
    if dice < 0.5:
        return w.query(f"SELECT v FROM {table} WHERE id = {k}"), False
    binary = dice < 0.75
    return (w.parse(f"SELECT v FROM {table} WHERE id = $1", types=(23,)) + w.bind([str(k)], results=(int(binary),)) +
            (w.describe("", "P") if dice < 0.6 or dice > 0.9 else b"") + w.execute() + w.sync()), binary


def answers(msgs):
    """The one value of each answer; raises when there is none."""
    out, value = [], None
    for kind, body in msgs:
        if kind == "D":
            value = body[6:]
        elif kind == "E":
            raise w.ServerError(w.error_fields(body))
        elif kind == "Z":
            assert value is not None, "an answer without a row"
            out.append(value)
            value = None
    return out


class Run:
    def __init__(self, args):
        self.args, self.book = args, Book(args.keys)
        self.until = 0
        self.errors = 0
        self.past = {}          # what proxies had counted that are no more
        self.bypasses = {}
        self.redis = None
        # What is started again ends with the thread that started it, so that one stays.
        self.hand = concurrent.futures.ThreadPoolExecutor(1)

    async def open(self, direct=False):
        p = self.pg if direct else random.choice(self.proxies)
        return await aio.AioConn.open(p.host, p.port, USER, SECRET, DB)

    async def write_all(self, c):
        sent = time.monotonic()
        rows = aio.rows(await ask(c, "UPDATE ck SET v = v + 1 RETURNING id, v"))
        for k, v in rows:
            self.book.write_acked(int(k), int(v), sent)

    async def vanish(self, c, k):
        """The client is gone before its answer: what became of the write nobody knows."""
        self.book.doubtful[k] += 1
        c.post(w.query(BUMP.format(k)))
        await asyncio.sleep(random.random() * 0.002)
        c.abort()

    async def one_write(self, c):
        k, dice = random.randrange(self.args.keys), random.random()
        if dice < 0.01:
            await self.write_all(c)
        elif dice < 0.02:
            await self.vanish(c, k)
            raise w.Closed("vanished")
        else:
            kind, sent = random.choice(KINDS), time.monotonic()
            self.book.doubtful[k] += 1      # until its acknowledgement is here
            v = await kind(c, k)
            self.book.doubtful[k] -= 1
            if v is not None:
                self.book.write_acked(k, v, sent)

    async def client(self, once, direct=False):
        """Does once(connection) until the end, on a new connection after each failure."""
        c = None
        while not self.over():
            try:
                if c is None:
                    c = await self.open(direct)
                await once(c)
            except (w.WireError, w.ServerError, OSError, IndexError, ValueError, asyncio.TimeoutError):
                self.errors += 1            # killed, or refused in a failed transaction
                if c is not None:
                    c.abort()
                c = None
                await asyncio.sleep(0.01)   # its proxy may be down

    async def writer(self, c):
        await self.one_write(c)
        await asyncio.sleep(random.random() * 2 * self.args.pause)

    async def read(self, c, n, who):
        keys = [int(min(random.expovariate(6), 0.999) * self.args.keys) for _ in range(n)]
        asked = [question(k) for k in keys]
        before = [self.book.before_read(k) for k in keys]
        values = answers(await c.request(b"".join(data for data, _ in asked), n))
        for k, (_, binary), b, value in zip(keys, asked, before, values, strict=True):
            self.book.read(k, struct.unpack("!q", value)[0] if binary else int(value), b, who)

    async def reader(self, c):
        await self.read(c, BATCH if random.random() < 0.5 else 1, "the proxy")

    async def direct_reader(self, c):
        await self.read(c, 1, "the database")
        self.book.direct += 1
        await asyncio.sleep(0.002)

    def over(self):
        a = self.args
        done = a.reads or a.writes
        return time.monotonic() >= self.until or (done and self.book.reads >= a.reads and
                                                  self.book.writes >= a.writes)

    def progress(self):
        """What part of the run is over."""
        a = self.args
        left = (self.until - time.monotonic()) / a.seconds
        done = [have / want for have, want in ((self.book.reads, a.reads), (self.book.writes, a.writes)) if want]
        return max(1 - left, min(done, default=0))

    async def troubles(self):
        loop = asyncio.get_running_loop()
        early = [name for name in self.names if name not in Trouble.LASTING]
        while not self.over() and time.monotonic() < self.until - 2:
            await asyncio.sleep(0.3 + random.random() * 0.7)
            names = self.names if self.progress() > 0.75 else early
            if names:
                await loop.run_in_executor(self.hand, self.trouble.one, names)

    async def all(self):
        a = self.args
        self.until = time.monotonic() + a.seconds
        await asyncio.gather(*(self.client(self.writer) for _ in range(a.writers)),
                             *(self.client(self.reader) for _ in range(a.readers)),
                             *(self.client(self.direct_reader, True) for _ in range(2)),
                             *([self.troubles()] if self.names else []))

    def rules(self):
        a, store = self.args, "memory = 4MB"
        if a.store == "redis":
            store = f"store = redis://127.0.0.1:{self.redis.port}/0\nredis_timeout = 0.05"
            if a.mode == "lease":
                store += f"\nwrite_without_redis = {a.policy}"
        return RULES.format(store=store, mode=a.mode)

    def start(self):
        a = self.args
        self.pg = PgCluster(options={"max_prepared_transactions": 50, "fsync": "off"})
        self.pg.role(USER, SECRET)
        self.pg.database(DB, USER)
        self.pg.sql(SCHEMA + f"INSERT INTO ck SELECT g, 0 FROM generate_series(0, {a.keys - 1}) g", DB)
        if a.store == "redis":
            self.redis = Redis()
        self.proxies = []
        for _ in range(a.proxies):
            self.proxies.append(Penstock(databases={DB: {"host": self.pg.host, "port": self.pg.port}},
                                         users={USER: SECRET}, extra=self.rules(), config={"workers": a.workers}))
        for p in self.proxies:
            with p.connect(USER, SECRET, DB) as c:
                c.query("SELECT 1")
                procs.wait_for(lambda p=p: all(r["state"] == "ready" for r in p.show("CACHE")), 20)
        self.trouble = Trouble(self.pg, self.proxies, self.redis, USER, a.keys, self.remember)
        self.names = Trouble.COMMON + (Trouble.REDIS if self.redis else ())
        if a.trouble:
            self.names = tuple(x for x in a.trouble.split(",") if x != "none")
        self.book.may_go_back = any(x in Trouble.LOSE_KEYS for x in self.names)

    def remember(self, proxy):
        for r in proxy.show("CACHE"):
            for k in ("hits", "misses", "fills", "refused", "invalidations"):
                self.past[k] = self.past.get(k, 0) + int(r[k])
            for why, n in (x.split("=") for x in r["bypasses"].split()):
                self.bypasses[why] = self.bypasses.get(why, 0) + int(n)

    def numbers(self):
        for p in self.proxies:
            self.remember(p)
        return self.past


def verdict(run):
    a, b, n = run.args, run.book, run.numbers()
    b.finish()
    served = n["hits"] / max(1, n["hits"] + n["misses"])
    print(f"cache checker, {a.store}, {a.mode}, {a.proxies} processes: {b.reads} reads ({b.direct} direct), "
          f"{b.writes} acknowledged writes, {n['hits']} hits ({served:.0%}), {n['fills']} fills, {n['refused']} refused, "
          f"{run.errors} broken off, {b.back} backwards before an acknowledgement, {len(b.wrong)} wrong")
    print("  bypasses: " + (", ".join(f"{k} {v}" for k, v in sorted(run.bypasses.items())) or "none"))
    if run.trouble.happened:
        print("  trouble: " + ", ".join(f"{k} {v}" for k, v in sorted(run.trouble.happened.items())))
    for line in b.wrong[:SHOWN]:
        print("  " + line)
    least = (a.reads, a.writes) if a.reads or a.writes else (10 * a.seconds, a.seconds)
    enough = n["hits"] > 5 * min(a.seconds, 600) and b.reads >= least[0] and b.writes >= least[1]
    if not enough:
        print("  too little was checked")
    return 1 if b.wrong or not enough else 0


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--store", choices=("memory", "redis"), default="memory")
    p.add_argument("--mode", choices=("lease", "ttl"), default="lease")
    p.add_argument("--policy", choices=("hold", "refuse", "proceed"), default="hold")
    p.add_argument("--proxies", type=int, default=0, help="1; 3 with redis")
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--reads", type=int, default=0)
    p.add_argument("--writes", type=int, default=0)
    p.add_argument("--keys", type=int, default=40)
    p.add_argument("--readers", type=int, default=24)
    p.add_argument("--writers", type=int, default=6)
    p.add_argument("--pause", type=float, default=0.02, help="seconds between a writer's writes, on average")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--trouble", default="", help="names of cache_trouble.py, or none")
    p.add_argument("--seed", type=int, default=None)
    args = p.parse_args()
    args.proxies = args.proxies or (3 if args.store == "redis" else 1)
    if args.store == "memory" and args.proxies > 1 and args.mode == "lease":
        p.error("memory is for one process alone")
    random.seed(args.seed)
    procs.install()
    run = Run(args)
    try:
        run.start()
        asyncio.run(run.all())
        return verdict(run)
    finally:
        procs.close_all()


if __name__ == "__main__":
    sys.exit(main())
