#!/usr/bin/env python3
"""The checker of the result cache: is every answer one that the database could have given?

Each row holds a version that a writer increments under the row's lock, so the order of versions is the
order of commits.  Before a read is sent two numbers of its row are noted: the newest version of which an
acknowledgement has arrived anywhere, and the newest one that any read has shown.  An answer below either
is stale or goes backwards.  An answer that nobody has written, or that was written by a request sent
after the answer came, is from the future.  All clients live in one process, so their clocks are one.

Writers use everything that changes a row: texts and bound statements, transactions, savepoints, two
phases, a function, a trigger, a view, a data-modifying WITH, a procedure that commits, COPY, and writes of
all rows at once; some roll back, some vanish in the middle.  Readers ask through the proxy in both
protocols and in all formats, and a few ask the database itself.  Meanwhile backends are terminated, entries
flushed and the configuration is read again.

    cache_checker.py [--seconds 60] [--keys 40] [--readers 24] [--writers 6] [--workers 2] [--seed N]
Prints the numbers and exits with 1 when an answer was wrong, or when too little was checked to say so.
"""
import argparse
import asyncio
import os
import random
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import aio, procs  # noqa: E402
from support import pgwire as w  # noqa: E402
from support.cluster import PgCluster  # noqa: E402
from support.penstock import Penstock  # noqa: E402

DB, USER, SECRET = "check", "checker", "checker secret"
SHOWN = 5       # violations that are printed

SCHEMA = f"""
CREATE TABLE ck (id int PRIMARY KEY, v bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE ck_request (id int, v bigint);
CREATE VIEW ck_view AS SELECT id, v FROM ck;
CREATE FUNCTION ck_bump(k int) RETURNS bigint LANGUAGE sql AS
    'UPDATE ck SET v = v + 1 WHERE id = k RETURNING v';
CREATE FUNCTION ck_on_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN UPDATE ck SET v = v + 1 WHERE id = NEW.id RETURNING v INTO NEW.v; RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT ON ck_request FOR EACH ROW EXECUTE FUNCTION ck_on_request();
CREATE PROCEDURE ck_call(k int, INOUT n bigint) LANGUAGE plpgsql AS $$
BEGIN UPDATE ck SET v = v + 1 WHERE id = k RETURNING v INTO n; COMMIT; END $$;
ALTER TABLE ck OWNER TO {USER};
ALTER VIEW ck_view OWNER TO {USER};
ALTER TABLE ck_request OWNER TO {USER};
"""

RULES = """
[cache]
memory = 4MB
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
        self.reads = self.writes = self.direct = 0
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
        if version < before[1]:
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


# ---- writers ------------------------------------------------------------------------------------------

def version_of(msgs):
    return int(aio.rows(msgs)[-1][0])


async def ask(c, *texts):
    out = None
    for t in texts:
        out = await c.request(w.query(t), 1)
    return out


BUMP = "UPDATE ck SET v = v + 1 WHERE id = {} RETURNING v"


async def write_text(c, k):
    return version_of(await ask(c, BUMP.format(k)))


async def write_bound(c, k):
    return version_of(await c.request(w.parse(BUMP.format("$1"), types=(23,)) +
                                      w.bind([struct.pack("!i", k)], formats=(1,)) + w.execute() + w.sync()))


async def write_tx(c, k):
    await ask(c, "BEGIN")
    v = version_of(await ask(c, BUMP.format(k)))
    if random.random() < 0.3:
        await asyncio.sleep(random.random() * 0.01)
    await ask(c, "COMMIT")
    return v


async def write_savepoint(c, k):
    await ask(c, "BEGIN", "SAVEPOINT a", BUMP.format(k), "ROLLBACK TO a")
    v = version_of(await ask(c, BUMP.format(k)))
    await ask(c, "RELEASE a", "SET LOCAL synchronous_commit = off", "COMMIT")
    return v


async def write_rollback(c, k):
    await ask(c, "BEGIN", BUMP.format(k), "ROLLBACK")


async def write_two_phases(c, k):
    name = f"ck{random.getrandbits(48)}"
    await ask(c, "BEGIN")
    v = version_of(await ask(c, BUMP.format(k)))
    await ask(c, f"PREPARE TRANSACTION '{name}'", f"COMMIT PREPARED '{name}'")
    return v


async def write_multi(c, k):
    return version_of(await ask(c, f"BEGIN; {BUMP.format(k)}; COMMIT"))


async def write_pipeline(c, k):
    msgs = await c.request(w.query("BEGIN") + w.query(BUMP.format(k)) + w.query("COMMIT"), 3)
    return version_of(msgs)


async def write_function(c, k):
    return version_of(await ask(c, f"SELECT ck_bump({k})"))


async def write_trigger(c, k):
    return version_of(await ask(c, f"INSERT INTO ck_request VALUES ({k}) RETURNING v"))


async def write_view(c, k):
    return version_of(await ask(c, f"UPDATE ck_view SET v = v + 1 WHERE id = {k} RETURNING v"))


async def write_with(c, k):
    return version_of(await ask(c, f"WITH x AS ({BUMP.format(k)}) SELECT v FROM x"))


async def write_call(c, k):
    return version_of(await ask(c, f"CALL ck_call({k}, NULL)"))


async def write_execute(c, k):
    await ask(c, "PREPARE p (int) AS " + BUMP.format("$1"))
    v = version_of(await ask(c, f"EXECUTE p({k})"))
    await ask(c, "DEALLOCATE p")
    return v


POINTS = [write_text, write_bound, write_tx, write_pipeline, write_savepoint, write_multi]
KINDS = POINTS * 4 + [write_rollback, write_two_phases, write_function, write_trigger, write_view,
                      write_with, write_call, write_execute]


class Run:
    def __init__(self, args):
        self.args, self.book = args, Book(args.keys)
        self.until = 0
        self.errors = 0

    async def open(self, direct=False):
        p = self.pg if direct else self.proxy
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

    async def writer(self):
        c = None
        while time.monotonic() < self.until:
            try:
                if c is None:
                    c = await self.open()
                await self.one_write(c)
                await asyncio.sleep(random.random() * 2 * self.args.pause)
            except (w.WireError, w.ServerError, OSError, IndexError, ValueError):
                self.errors += 1            # killed, or refused in a failed transaction
                if c is not None:
                    c.abort()
                c = None

    def question(self, k):
        table = random.choice(["ck", "ck", "ck_view"])
        dice = random.random()
        if dice < 0.5:
            return w.query(f"SELECT v FROM {table} WHERE id = {k}"), False
        binary = dice < 0.75
        return (w.parse(f"SELECT v FROM {table} WHERE id = $1", types=(23,)) + w.bind([str(k)], results=(int(binary),)) +
                (w.describe("", "P") if dice < 0.6 or dice > 0.9 else b"") + w.execute() + w.sync()), binary

    async def one_read(self, c, direct):
        k = int(min(random.expovariate(6), 0.999) * self.args.keys)
        data, binary = self.question(k)
        before = self.book.before_read(k)
        msgs = await c.request(data)
        value = [body for kind, body in msgs if kind == "D"]
        if not value:
            raise w.ServerError({"M": "no row", "C": ""}) if any(t == "E" for t, _ in msgs) else \
                AssertionError(f"no row for {k}")
        text = value[0][6:]
        v = struct.unpack("!q", text)[0] if binary else int(text)
        self.book.read(k, v, before, "the database" if direct else "the proxy")
        self.book.direct += direct

    async def reader(self, direct):
        c = None
        while time.monotonic() < self.until:
            try:
                if c is None:
                    c = await self.open(direct)
                await self.one_read(c, direct)
                if direct:
                    await asyncio.sleep(0.002)
            except (w.WireError, w.ServerError, OSError):
                self.errors += 1
                if c is not None:
                    c.abort()
                c = None

    async def trouble(self):
        loop = asyncio.get_running_loop()
        while time.monotonic() < self.until - 1:
            await asyncio.sleep(0.3 + random.random() * 0.7)
            what = random.choice(["terminate", "flush", "flush key", "reload"])
            await loop.run_in_executor(None, self.disturb, what)

    def disturb(self, what):
        if what == "terminate":
            self.pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = "
                        f"'{USER}' AND application_name = '' ORDER BY random() LIMIT 1")
            return
        with self.proxy.console() as con:
            con.query({"flush": "CACHE FLUSH", "flush key": f"CACHE FLUSH ck:{random.randrange(self.args.keys)}",
                       "reload": "RELOAD"}[what])

    async def all(self):
        a = self.args
        self.until = time.monotonic() + a.seconds
        await asyncio.gather(*(self.writer() for _ in range(a.writers)),
                             *(self.reader(False) for _ in range(a.readers)),
                             *(self.reader(True) for _ in range(2)), self.trouble())

    def start(self):
        self.pg = PgCluster(options={"max_prepared_transactions": 50, "fsync": "off"})
        self.pg.role(USER, SECRET)
        self.pg.database(DB, USER)
        self.pg.sql(SCHEMA + f"INSERT INTO ck SELECT g, 0 FROM generate_series(0, {self.args.keys - 1}) g", DB)
        self.proxy = Penstock(databases={DB: {"host": self.pg.host, "port": self.pg.port}},
                              users={USER: SECRET}, extra=RULES, config={"workers": self.args.workers})
        with self.proxy.connect(USER, SECRET, DB) as c:
            c.query("SELECT 1")
            procs.wait_for(lambda: all(r["state"] == "ready" for r in self.proxy.show("CACHE")), 20)

    def numbers(self):
        rows = self.proxy.show("CACHE")
        return {k: sum(int(r[k]) for r in rows) for k in ("hits", "misses", "fills", "refused", "invalidations")}

    def stop(self):
        self.proxy.close()
        self.pg.close()


def verdict(run):
    b, n = run.book, run.numbers()
    b.finish()
    served = n["hits"] / max(1, n["hits"] + n["misses"])
    print(f"cache checker: {b.reads} reads ({b.direct} direct), {b.writes} acknowledged writes, "
          f"{n['hits']} hits ({served:.0%}), {n['fills']} fills, {n['refused']} refused, {run.errors} broken off, "
          f"{len(b.wrong)} wrong")
    for line in b.wrong[:SHOWN]:
        print("  " + line)
    enough = n["hits"] > 5 * run.args.seconds and b.writes > run.args.seconds
    if not enough:
        print("  too little was checked")
    return 1 if b.wrong or not enough else 0


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--keys", type=int, default=40)
    p.add_argument("--readers", type=int, default=24)
    p.add_argument("--writers", type=int, default=6)
    p.add_argument("--pause", type=float, default=0.02, help="seconds between a writer's writes, on average")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--seed", type=int, default=None)
    args = p.parse_args()
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
