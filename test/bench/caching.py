"""What a hit of the result cache costs, and what it saves: rules, tables, the load and what is counted.

Called by bench.py.  The load is teller.c, which asks for balances of users and now and then changes one; responder.c is
the cheapest answer there can be.  All of it uses the role that everybody trusts.
"""
import contextlib
import json
import os
import subprocess

from support import procs
from support.redis import Redis

import meter
import rigs

USERS = 100_000                 # of the balance workload
FEW = 1_000                     # keys where only the way of a hit is measured
ROWS = 500                      # of the ledger that are added up
LEDGERS = 200
READ = "SELECT balance FROM balances WHERE user_id = $1"
WRITE = "UPDATE balances SET balance = balance + 1 WHERE user_id = $1"
SUM = "SELECT sum(amount) FROM ledger WHERE user_id = $1"
CACHED, RESPONDER = "penstock, cached", "responder"
REDIS = {"ttl": "penstock, Redis, ttl", "lease": "penstock, Redis, lease"}      # by mode
LOCAL = "penstock, memory before Redis"

RULES = f"""[cache]
{{store}}
[cache balance]
query = {READ}
key = balance:$1
ttl = 300
[cache total]
query = {SUM}
key = total:$1
ttl = 300
"""
MEMORY = RULES.format(store="memory = 256MB")


def compile_tools():
    for name, libs in (("teller", ["-lm"]), ("responder", ["-lev"])):
        source, program = f"{rigs.HERE}/{name}.c", f"{rigs.OUT}/{name}"
        if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
            subprocess.run([os.environ.get("CC", "gcc"), "-std=c11", "-D_GNU_SOURCE", "-O2", "-g",
                            "-I", procs.ROOT, source, "-o", program, *libs], check=True)


def make_tables(pg):
    for text in ("DROP TABLE IF EXISTS balances, ledger",
                 "CREATE TABLE balances (user_id int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50)",
                 f"INSERT INTO balances SELECT g, 4200 FROM generate_series(1, {USERS}) g",
                 "CREATE TABLE ledger (user_id int NOT NULL, amount bigint NOT NULL)",
                 f"INSERT INTO ledger SELECT g % {LEDGERS} + 1, g FROM generate_series(1, {LEDGERS * ROWS}) g",
                 "CREATE INDEX ON ledger (user_id)",
                 f"GRANT ALL ON balances, ledger TO {rigs.LOAD}", "VACUUM ANALYZE balances", "VACUUM ANALYZE ledger"):
        pg.sql(text, rigs.DB)


def responder():
    return rigs.Reference(RESPONDER, "responder", [])


def cached(pg, servers, workers=1, rules=MEMORY, name=CACHED, **kw):
    """Penstock as it comes, with the rules; returns when they are in force."""
    rig = rigs.shared(pg, servers, workers=workers, more=rules, **kw)
    rig.name = name
    ready = lambda: all(r["state"] == "ready" for r in numbers(rig))  # noqa: E731
    with contextlib.ExitStack() as held:    # one client of the database on each worker
        for _ in range(2 * workers):
            c = held.enter_context(contextlib.closing(rig.connect(rigs.LOAD, "", rigs.DB)))
            c.query("SELECT 1")
        procs.wait_for(ready, 30, lambda: str(numbers(rig)))
    return rig


@contextlib.contextmanager
def ended(rig):
    try:
        yield rig
    finally:
        rig.stop()


def with_redis(pg, servers, redis, mode, workers=2, local=0, **kw):
    """The same with Redis, which is emptied, as the store; local: seconds of local_ttl."""
    redis("FLUSHALL")
    store = f"store = redis://{redis.host}:{redis.port}/0\nmode = {mode}\nredis_timeout = 0.05\nlocal_ttl = {local}"
    rig = cached(pg, servers, workers, RULES.format(store=store), LOCAL if local else REDIS[mode], **kw)
    rig.redis = redis
    return rig


@contextlib.contextmanager
def in_redis(pg, servers, mode):
    with contextlib.closing(Redis()) as redis, ended(with_redis(pg, servers, redis, mode)) as rig:
        yield rig


def numbers(rig):
    """The rows of SHOW CACHE."""
    with rig.console(rigs.LOAD, "") as c:
        return c.query("SHOW CACHE")


def counts(rig):
    """Sums over the rules: hits, misses and bypasses."""
    rows = numbers(rig)
    out = {k: sum(int(r[k]) for r in rows) for k in ("hits", "misses")}
    out["bypasses"] = sum(int(x.split("=")[1]) for r in rows for x in r["bypasses"].split())
    return out


def commands(redis):
    """Calls of each command so far, and how often Redis has read from a socket."""
    stats = dict(line.split(":", 1) for line in redis("INFO", "everything").decode().split("\r\n") if ":" in line)
    out = {k[8:]: int(v.split("calls=")[1].split(",")[0]) for k, v in stats.items() if k.startswith("cmdstat_")}
    return {**out, "reads": int(stats.get("total_reads_processed", 0))}


def transactions(pg):
    """Of the bench's database, as the database counts them."""
    return int(pg.value(f"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{rigs.DB}'"))


# ---- the load ---------------------------------------------------------------------------------------

def _teller(rig, clients, keys, mode, read, warm=1, seconds=2, skew="0", writes=0):
    return [f"{rigs.OUT}/teller", str(rig.port), rigs.LOAD, rigs.DB, str(clients), str(warm), str(seconds), str(keys),
            str(skew), str(writes), mode, read, WRITE]


def ask(rig, clients, keys, mode, read=READ, look=lambda: {}, **kw):
    """One run.  tps and CPU per request, quantiles of reads, and what look() grew by in the window."""
    run = subprocess.Popen(_teller(rig, clients, keys, mode, read, **kw), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, preexec_fn=procs.die_with_parent)
    try:
        first = run.stdout.readline()
        before, used = look(), meter.cpu_ns(rig.pids())
        line = run.stdout.readline()
        used, after = meter.cpu_ns(rig.pids()) - used, look()
        err = run.communicate(timeout=20)[1]
    finally:
        if run.poll() is None:
            run.kill()
            run.communicate()
    if first != "begin\n" or not line:
        raise meter.Failed(f"{rig.name}: teller: {err[-300:]}")
    got = json.loads(line)
    done = got["reads"] + got["writes"]
    if got["errors"] or not done:
        raise meter.Failed(f"{rig.name}: teller: {got}")
    return {"tps": done / got["seconds"], "cpu": used / 1000 / done, "own": got["cpu"] * 1e6 / done, "done": done,
            "reads": got["reads"], "writes": got["writes"], **{k: got[k] for k in ("p50", "p95", "p99", "p999", "max")},
            "second": meter.quantiles([]), "shares": None, "grown": {k: after[k] - before.get(k, 0) for k in after}}


def sweep(rig, keys, mode="simple", times=1, timeout=300):
    """Asks for each key `times` times; after once, nothing is new."""
    argv = _teller(rig, 64, keys, mode, READ, skew=f"sweep:{times * keys}")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, preexec_fn=procs.die_with_parent)
    if done.returncode:
        raise meter.Failed(f"{rig.name}: teller: {done.stderr[-300:]}")
    return times * keys


# ---- the parts --------------------------------------------------------------------------------------

def first_level(bench):
    """The way of a hit, beside the responder, and PgBouncer forwarding the same query."""
    o, pg = bench.o, bench.pg
    makers = [lambda: cached(pg, o.servers), responder, lambda: rigs.pgbouncer(pg, o.servers)]
    warmed = set()

    def run(rig, cell):
        _, mode, clients = cell
        if rig.name == CACHED and rig not in warmed:
            warmed.add(rig)
            sweep(rig, FEW)
            sweep(rig, FEW, "prepared")
        return ask(rig, clients, FEW, mode, seconds=o.seconds)

    cells = [("hit", mode, clients) for mode in ("simple", "extended", "prepared") for clients in (16, 256)]
    bench.contest("caching", makers, cells, run,
                  lambda rig, cell: rig.name != "pgbouncer" or cell[1] != "prepared")


def instructions(bench):
    """Of a hit, in user space."""
    o, pg = bench.o, bench.pg

    def work(rig, times, mode):
        sweep(rig, FEW, mode)
        return sweep(rig, FEW, mode, times)

    for mode in ("simple", "prepared"):
        keep = f"{rigs.OUT}/callgrind.hit.{mode}" if o.keep_profiles else None
        got = bench.attempt(f"callgrind, a hit, {mode}", meter.callgrind, lambda **kw: cached(pg, o.servers, **kw),
                            lambda rig, n, mode=mode: work(rig, n, mode), 5, 25, keep)
        bench.put("caching", ("instructions of a hit", mode, 64), CACHED, got)
        if got:
            bench.say(f"callgrind, a hit, {mode}: {got:.0f} instructions")
    for mode, name, local in [(m, n, 0) for m, n in REDIS.items()] + [("ttl", LOCAL, 200)]:
        with contextlib.closing(Redis()) as redis:
            got = bench.attempt(f"callgrind, a hit, {name}", meter.callgrind,
                                lambda r=redis, m=mode, t=local, **kw: with_redis(pg, o.servers, r, m, 1, t, **kw),
                                lambda rig, n: work(rig, n, "simple"), 5, 25)
        bench.put("caching", ("instructions of a hit", "simple", 64), name, got)


def ledger(bench):
    """A sum over ROWS rows."""
    o, pg = bench.o, bench.pg
    makers = [lambda: cached(pg, o.servers), lambda: rigs.Direct(pg), lambda: rigs.shared(pg, o.servers)]
    bench.contest("caching", makers, [("sum of a ledger", "simple", 256)],
                  lambda rig, cell: ask(rig, 256, LEDGERS, "simple", SUM, seconds=o.seconds, warm=2))


def redis_level(bench):
    """Hits in Redis, and what they ask of it."""
    for mode in REDIS:
        with in_redis(bench.pg, bench.o.servers, mode) as rig:
            _redis_hits(bench, rig)


def _redis_hits(bench, rig):
    o = bench.o
    sweep(rig, FEW)
    for _ in range(o.rounds):
        for clients in (64, 256, 1000):
            got = bench.attempt(f"{rig.name}, {clients}", ask, rig, clients, FEW, "simple", seconds=o.seconds,
                                look=lambda: {**commands(rig.redis), **counts(rig)})
            bench.put("caching", ("hit in Redis", "simple", clients), rig.name, got)
            if got:
                bench.say(f"hits, {rig.name}, {clients} clients: {got['tps']:.0f}/s, {got['cpu']:.2f} us, {got['grown']}")


def balances(bench):
    """Zipf, 95 of 100 requests are reads, a thousand clients."""
    o, pg = bench.o, bench.pg
    how = {"clients": 1000, "keys": USERS, "mode": "simple", "skew": "1", "writes": 5, "warm": 3,
           "seconds": 3 * o.seconds}

    def run(rig, rules=True):
        look = lambda: {"xacts": transactions(pg), **(counts(rig) if rules else {})}  # noqa: E731
        if rules:
            sweep(rig, USERS)
        got = bench.attempt(f"balances, {rig.name}", ask, rig, look=look, **how)
        bench.put("caching", ("balances", "simple", 1000), rig.name, got)
        if got:
            bench.say(f"balances, {rig.name}: {got['tps']:.0f}/s, p95 {got['p95']:.1f} ms, {got['grown']}")

    with ended(rigs.shared(pg, o.servers, workers=2)) as rig:
        run(rig, False)
    with ended(cached(pg, o.servers, 2)) as rig:
        run(rig)
    for mode in REDIS:
        with in_redis(pg, o.servers, mode) as rig:
            run(rig)
