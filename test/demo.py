#!/usr/bin/env python3
"""make demo: a thousand clients over twenty connections to each of three PostgreSQL nodes.

Starts a throwaway PostgreSQL with two streaming replicas and Penstock on free ports as an unprivileged
user, loads 100,000 accounts, runs the load and shows what happens, with the share of the transactions
that each node ran, until Ctrl-C, or for DEMO_SECONDS and then exits 0.  Reads of a balance are also kept
by the result cache, in a throwaway Redis if there is one, else in memory: the line shows how many of
them it answered, and how many queries the database was saved so far.
Everything it started is gone afterwards, which it checks itself.  Exit code 1: the load met errors.

Other settings: DEMO_CLIENTS (1000), DEMO_SERVERS (20), DEMO_RATE (transactions a second, 1500),
DEMO_REPLICAS (2; 0: one PostgreSQL and no cluster), DEMO_CACHE (redis, memory, or off; the first that is
there), DEMO_BIN (another binary, such as a pgbouncer).
"""
import asyncio
import os
import resource
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

if os.environ.get("DEMO_BIN"):
    os.environ["PENSTOCK_BIN"] = os.environ["DEMO_BIN"]

from support import aio, load, procs  # noqa: E402
from support import pgwire as w  # noqa: E402
from support.cluster import NotAvailable, PgCluster  # noqa: E402
from support.penstock import ADMIN, ADMIN_SECRET, Penstock, binary, is_pgbouncer  # noqa: E402
from support.redis import Redis  # noqa: E402

CLIENTS = int(os.environ.get("DEMO_CLIENTS", "1000"))
SERVERS = int(os.environ.get("DEMO_SERVERS", "20"))
REPLICAS = 0 if os.environ.get("DEMO_BIN", "").endswith("pgbouncer") else int(
    os.environ.get("DEMO_REPLICAS", "2"))
RATE = float(os.environ.get("DEMO_RATE", "1500"))
SECONDS = float(os.environ.get("DEMO_SECONDS") or 0)
CACHE = "off" if os.environ.get("DEMO_BIN", "").endswith("pgbouncer") else os.environ.get(
    "DEMO_CACHE", "redis" if shutil.which("redis-server") else "memory")
RULES = f"""
[cache]
{{store}}
[cache balance]
query = {load.READ}
key = balance:$1
ttl = 300
"""
TTY = sys.stdout.isatty()
# Descriptors left over from the shell must not count as ours.
BEFORE = {p["pid"] for p in procs.descendants()}


def say(text):
    print(text, flush=True)


def start_cache():
    """The configuration of the result cache, and what to try with it."""
    if CACHE == "off":
        return "", ""
    if CACHE == "memory":
        return RULES.format(store="memory = 64MB"), "  {psql} -c 'SHOW CACHE' -c 'CACHE FLUSH balance:42'\n"
    say("starting a throwaway Redis ...")
    redis = Redis()
    return (RULES.format(store=f"store = redis://{redis.host}:{redis.port}/0\nredis_timeout = 0.02"),
            f"  redis-cli -p {redis.port} HGETALL balance:42\n  {{psql}} -c 'SHOW CACHE'\n")


def start():
    began = time.monotonic()
    if not os.path.exists(binary()):
        raise FileNotFoundError(f"{binary()} is not built; run make")
    say("starting a throwaway PostgreSQL ...")
    pg = PgCluster()
    pg.role("demo", "demo")
    pg.database("bank", "demo")
    say(f"loading {load.ACCOUNTS:,} accounts ...")
    pg.sql(load.SCHEMA, "bank")
    pg.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO demo", "bank")
    pg.sql("VACUUM ANALYZE accounts", "bank")
    target, extra = {"host": pg.host, "port": pg.port}, ""
    if REPLICAS:
        say(f"starting {REPLICAS} streaming replicas ...")
        pg.role("monitor", "monitor", "IN ROLE pg_monitor")
        nodes = [pg, *(pg.replica() for _ in range(REPLICAS))]
        target = {"cluster": "main", "dbname": "bank"}
        extra = ("[cluster main]\nprobe_user = monitor\nprobe_password = monitor\nhosts = " +
                 ", ".join(f"{n.host}:{n.port}" for n in nodes) + "\n")
    rules, hint = start_cache()
    say(f"starting {os.path.basename(binary())} ...")
    # The role's SCRAM verifier: no plain password is stored, the client's proof opens the servers too.
    secret = pg.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'demo'")
    proxy = Penstock(databases={"bank": target}, pool_size=SERVERS, extra=extra + rules,
                     users={"demo": secret, "admin": "admin", "monitor": "monitor"},
                     config={"admin_users": f"{ADMIN}, admin", "max_client_conn": CLIENTS + 100,
                             "min_pool_size": SERVERS,
                             "workers": os.environ.get("PENSTOCK_WORKERS", "2")})
    console = "pgbouncer" if is_pgbouncer() else "penstock"
    psql = f"psql postgres://admin:admin@127.0.0.1:{proxy.port}/{console}"
    say(f"ready after {time.monotonic() - began:.1f} s; try it from another terminal:\n"
        f"  psql postgres://demo:demo@127.0.0.1:{proxy.port}/bank\n"
        f"  {psql} -c 'SHOW POOLS'\n" + hint.format(psql=psql))
    return pg, proxy


async def pool_numbers(console):
    """(servers in use, servers, waiting clients) of the pool, by SHOW POOLS."""
    msgs = await console.request(w.query("SHOW POOLS"))
    names = []
    for kind, body in msgs:
        if kind == "T":
            names = [c["name"] for c in w.decode(w.BACKEND, "T", body).fields["columns"]]
    used = servers = waiting = 0
    for row in aio.rows(msgs):
        pool = dict(zip(names, row))
        if pool["database"] == "bank":
            used += int(pool["sv_active"])
            servers += sum(int(pool[k]) for k in ("sv_active", "sv_idle", "sv_used", "sv_tested"))
            waiting += int(pool["cl_waiting"])
    return used, servers, waiting


async def rows_of(console, what):
    msgs = await console.request(w.query(f"SHOW {what}"))
    names = []
    for kind, body in msgs:
        if kind == "T":
            names = [c["name"] for c in w.decode(w.BACKEND, "T", body).fields["columns"]]
    return [dict(zip(names, row)) for row in aio.rows(msgs)]


class Shares:
    """What part of the transactions of the last interval each node has run."""

    def __init__(self):
        self.before = {}

    async def take(self, console):
        if not REPLICAS:
            return ""
        text, now, ran = "", {}, {}
        nodes = await rows_of(console, "NODES")
        for n in nodes:
            now[n["node"]] = int(n["transactions"])
            ran[n["node"]] = now[n["node"]] - self.before.get(n["node"], 0)
        for n in nodes:
            share = 100 * ran[n["node"]] / max(sum(ran.values()), 1)
            text += f"  {n['role']} {share:3.0f}%"
        self.before = now
        return text


class Saved:
    """What the result cache has answered, of the reads that it knows."""

    def __init__(self):
        self.hits = self.reads = 0

    async def take(self, console):
        """Its part of the last interval, and all so far."""
        if CACHE == "off":
            return ""
        rows = await rows_of(console, "CACHE")
        hits = sum(int(r["hits"]) for r in rows)
        reads = hits + sum(int(r["misses"]) for r in rows) + sum(
            int(n) for r in rows for _, n in (x.split("=") for x in r["bypasses"].split()))
        part = 100 * (hits - self.hits) / max(reads - self.reads, 1)
        self.hits, self.reads = hits, reads
        return f" {part:5.0f}% {hits:>9,}"


async def show(proxy, work, console, stop, saved):
    """A line each second until stop is set; on a terminal it is the same line."""
    head = (f"{'time':>6} {'clients':>8} {'servers':>8} {'in use':>7} {'waiting':>8} {'tps':>7} "
            f"{'p50 ms':>8} {'p99 ms':>8} {'errors':>7}" + (f" {'cached':>6} {'saved':>9}" if CACHE != "off" else "") +
            ("  share of each node" if REPLICAS else ""))
    say(head)
    began, peak, shares = time.monotonic(), 0, Shares()
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), 1 if TTY else 2)
        except asyncio.TimeoutError:
            pass
        if not proxy.alive():
            raise RuntimeError("the proxy ended:\n" + proxy.log_text()[-3000:])
        used, servers, waiting = await asyncio.wait_for(pool_numbers(console), 10)
        peak = max(peak, servers)
        tps, p50, p99 = work.stats.take()
        share = await asyncio.wait_for(saved.take(console), 10) + await asyncio.wait_for(shares.take(console), 10)
        line = (f"{time.monotonic() - began:5.0f}s {work.connected:>8} {servers:>8} {used:>7} "
                f"{waiting:>8} {tps:>7.0f} {p50:>8.1f} {p99:>8.1f} {work.stats.errors:>7}{share}")
        print(f"\r\033[K{line}" if TTY else line, end="" if TTY else "\n", flush=True)
        if SECONDS and time.monotonic() - began >= SECONDS:
            break
    if TTY:
        print()
    return peak


async def run(proxy):
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signo, stop.set)
    work = load.Load(proxy.host, proxy.port, "demo", "demo", "bank", CLIENTS, RATE,
                     prepared=not is_pgbouncer(), skewed=CACHE != "off")
    console = await aio.AioConn.open(proxy.host, proxy.port, ADMIN, ADMIN_SECRET, "pgbouncer")
    saved = Saved()
    work.start()
    try:
        peak = await show(proxy, work, console, stop, saved)
        most = work.connected
    finally:
        await work.stop()
        console.close()
    s = work.stats
    say(f"\n{most} clients were served over {peak} PostgreSQL connections: {s.total:,} transactions, "
        f"{s.errors} errors; the proxy used {procs.rss_kb(proxy.pid) / 1024:.1f} MiB")
    if CACHE != "off":
        say(f"the result cache answered {saved.hits:,} of {saved.reads:,} reads of a balance "
            f"({100 * saved.hits / max(saved.reads, 1):.0f}%): so many queries the database was saved")
    for text, count in s.texts.items():
        say(f"  {count} x {text}")
    return s.total > 0 and s.errors == 0


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    procs.install((signal.SIGTERM, signal.SIGHUP, signal.SIGINT))
    ok = False
    try:
        _, proxy = start()
        ok = asyncio.run(run(proxy))
        proxy.stop()
    except (NotAvailable, FileNotFoundError, RuntimeError, AssertionError, OSError, w.WireError,
            w.ServerError) as e:
        ok = False
        say(f"demo: {e}")
    finally:
        procs.close_all()
        procs.reap()
    left = [p for p in procs.descendants() if p["pid"] not in BEFORE]
    if left:
        say("still running: " + ", ".join(f"{p['name']} ({p['pid']})" for p in left))
        return 1
    say("everything the demo started is gone")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
