#!/usr/bin/env python3
"""make bench: what Penstock costs, beside Debian's PgBouncer, a direct connection and two references.

usage: bench.py [--quick] [--only PART,...] [--modes M,...] [--clients N,...] [--rounds N] [--seconds N]
                [--jobs N] [--servers N] [--keep-profiles]

PART is load, unix, mix, neighbours, routing, caching, logins, memory, instructions, watching or syscalls;
"sharing" is the first four without the forwarder, two workers and 16 clients.  BENCH_ARGS in the
environment does the same for `make bench`.  PENSTOCK_BIN names another binary.  The whole takes about 28 minutes, --quick about
6, --quick --only sharing one and a half.
The report goes to the terminal and to build/bench/report.md; docs/benchmarks.md says how to read it.
Exit code 1: something could not be measured.  An aim that is missed is reported, not an error.
"""
import argparse
import contextlib
import os
import shlex
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import caching  # noqa: E402
import meter  # noqa: E402
import report  # noqa: E402
import rigs  # noqa: E402
import sharing  # noqa: E402
import watching  # noqa: E402
from sharing import MAIN, WARM  # noqa: E402
from support import procs  # noqa: E402
from support.cluster import NotAvailable  # noqa: E402
from support.penstock import binary  # noqa: E402

SHARING = ("load", "unix", "mix", "neighbours")
PARTS = SHARING + ("routing", "caching", "logins", "memory", "instructions", "watching", "syscalls")
MODES = ("simple", "extended", "prepared")
QUICK_LOAD = (("simple", 64), ("extended", 64), ("prepared", 64), ("simple", 256), ("simple", 1000))
SHARED_AT = (64, MAIN, 1000)
DIRECT = (8, 16, 32, 64, 128)   # connections, beside one for each client: where is the best?
FORWARDER_LIMIT = 64            # clients; beyond, one server per client is another experiment
TWO_WORKERS_AT = (64, 1000)


def options(argv):
    usage, text = __doc__.split("usage: ")[1].split("\n\n", 1)
    p = argparse.ArgumentParser(usage=usage, description=text,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", default=",".join(PARTS))
    p.add_argument("--modes", default=",".join(MODES))
    p.add_argument("--clients", default="")
    p.add_argument("--rounds", type=int, default=0)
    p.add_argument("--seconds", type=int, default=0)
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--servers", type=int, default=20)
    p.add_argument("--keep-profiles", action="store_true")
    o = p.parse_args(argv)
    o.only, o.modes = set(o.only.split(",")), o.modes.split(",")
    o.sharing = "sharing" in o.only
    if o.sharing:
        o.only = o.only - {"sharing"} | set(SHARING)
    if o.only - set(PARTS) or set(o.modes) - set(MODES):
        p.error("no such part or mode")
    o.all_rounds = bool(o.rounds)
    o.rounds = o.rounds or (1 if o.quick else 3)
    o.seconds = o.seconds or (1 if o.quick and o.sharing else 2)
    clients = [int(x) for x in o.clients.split(",") if x]
    if clients:
        o.load = [(m, c) for m in o.modes for c in clients]
    elif o.quick:
        o.load = [(m, c) for m, c in QUICK_LOAD if m in o.modes and (not o.sharing or c == MAIN)]
    else:
        o.load = [("simple", 16)] if "simple" in o.modes and not o.sharing else []
        o.load += [(m, c) for m in o.modes for c in SHARED_AT]
    o.unix = [(m, MAIN) for m in (o.modes[:1] if o.quick else o.modes)]
    o.mix = [("simple", c) for c in clients or ((MAIN,) if o.quick else (64, MAIN))]
    return o


class Bench:
    def __init__(self, o):
        self.o, self.results, self.failures = o, {}, []
        self.began = time.monotonic()
        self.load_average = os.getloadavg()
        self.pg = None

    def say(self, text):
        print(f"[{time.monotonic() - self.began:5.0f}s] {text}", flush=True)

    def attempt(self, what, fn, *args, **kw):
        """fn's value, or None and a line in the report."""
        try:
            return fn(*args, **kw)
        except (meter.Failed, AssertionError, RuntimeError, OSError) as e:
            text = f"{what}: {str(e)[:700]}"
            self.say("FAILED " + text)
            self.failures.append(text)
        except meter.subprocess.TimeoutExpired as e:
            text = f"{what}: no end after {e.timeout:g} s"
            self.say("FAILED " + text)
            self.failures.append(text)
        return None

    def put(self, part, key, name, value):
        """Failed rounds are kept as None, so that pairs stay pairs."""
        self.results.setdefault(part, {}).setdefault(key, {}).setdefault(name, []).append(value)

    # ---- load ----------------------------------------------------------------------------------------
    def contest(self, part, makers, cells, run, takes_part=lambda rig, cell: True,
                brief=lambda cell: False):
        """Rigs of all makers; in each round run(rig, cell) for all of them in turn, cell by cell.

        A brief cell is left out of the last of several rounds, for want of time.
        """
        o, rounds = self.o, self.o.rounds
        up = [self.attempt(part, make) for make in makers]
        up = [r for r in up if r]
        for turn in range(rounds):
            for cell in cells if up else ():
                if turn and turn == rounds - 1 and brief(cell) and not o.all_rounds:
                    continue
                for rig in up[turn % len(up):] + up[:turn % len(up)]:
                    if not takes_part(rig, cell):
                        continue
                    what = f"{part}, {', '.join(map(str, cell))}, {rig.name}"
                    got = self.attempt(what, run, rig, cell)
                    self.put(part, cell, rig.name, got)
                    if got:
                        self.say(what + report.line(got))
        for rig in up:
            self.attempt(f"stopping {rig.name}", rig.stop)

    def shared_in(self, cell):
        """Whether servers are shared in this cell of the load: then all warm up for longer."""
        mode, clients = cell
        return clients == MAIN if self.o.quick and not self.o.clients else clients in SHARED_AT

    def takes_part(self, rig, cell):
        mode, clients = cell
        if rig.name == "pgbouncer":
            return mode != "prepared"           # 1.18 has no statements in transaction mode
        if rig.name == "forwarder":
            return clients <= FORWARDER_LIMIT
        if rig.name == "penstock, 2 workers":
            return clients in TWO_WORKERS_AT and mode == "simple"
        if rig.name == rigs.SHARED:
            return self.shared_in(cell)
        if getattr(rig, "connections", None):
            return clients == MAIN
        return True

    def load(self):
        o, pg = self.o, self.pg
        makers = [
            lambda: rigs.penstock(pg, o.servers), lambda: rigs.shared(pg, o.servers),
            lambda: rigs.pgbouncer(pg, o.servers), lambda: rigs.Direct(pg)]
        if not o.sharing or not o.quick:
            makers += [lambda: rigs.bare_pooler(pg, o.servers)]
        if not o.sharing:
            makers += [lambda: rigs.forwarder(pg), lambda: rigs.penstock(pg, o.servers, workers=2)]
        if not o.quick:
            makers += [lambda n=n: rigs.Direct(pg, n) for n in DIRECT]

        def run(rig, cell):
            mode, clients = cell
            sweep = getattr(rig, "connections", None)
            warm = WARM if self.shared_in(cell) and not sweep else 1
            return meter.load(rig, mode, sweep or clients, o.jobs, o.seconds, warm)

        self.contest("load", makers, o.load, run, self.takes_part, lambda cell: cell[1] != MAIN)

    def unix(self):
        """The proxy beside the database; its clients still come over TCP."""
        o, pg = self.o, self.pg
        makers = [lambda make=make: make(pg, o.servers, unix=True)
                  for make in (rigs.shared, rigs.pgbouncer)]
        if not o.quick:
            makers += [lambda: rigs.penstock(pg, o.servers, unix=True), lambda: rigs.Direct(pg),
                       lambda: rigs.Direct(pg, unix=True)]
        self.contest("unix", makers, o.unix,
                     lambda rig, cell: meter.load(rig, *cell, o.jobs, o.seconds, WARM),
                     self.takes_part, lambda cell: True)

    def mix(self):
        """Nine reads to a write that reaches the disk."""
        o, pg = self.o, self.pg
        makers = [lambda make=make: make(pg, o.servers)
                  for make in (rigs.shared, rigs.penstock, rigs.pgbouncer)]
        makers += [lambda: rigs.Direct(pg)]
        scripts = sharing.mix()
        with sharing.durable(pg):
            self.contest("mix", makers, o.mix,
                         lambda rig, cell: meter.load(rig, *cell, o.jobs, o.seconds, WARM, scripts),
                         brief=lambda cell: cell[1] != MAIN)

    def neighbours(self):
        """How long reads wait when others like them are slow, or wait for a lock."""
        o, pg = self.o, self.pg
        sharing.make_tables(pg)
        makers = [lambda make=make: make(pg, o.servers) for make in (rigs.shared, rigs.penstock)]

        def run(rig, cell):
            kind, clients = cell
            with contextlib.ExitStack() as held:
                if kind == sharing.KINDS[1]:
                    held.enter_context(sharing.locked(pg))
                return meter.load(rig, "simple", clients, o.jobs, 2 if o.quick else 6, WARM,
                                  sharing.neighbours(kind), sampling=1.0)

        self.contest("neighbours", makers, [(kind, 64) for kind in sharing.KINDS], run)

    # ---- routing -------------------------------------------------------------------------------------
    def routing(self):
        """What it costs to ask where a read goes: beside the same pooler on the same replica."""
        o, pg = self.o, self.pg
        done = meter.subprocess.run([rigs.compile_route_cost()], capture_output=True, text=True,
                                    timeout=120, check=True)
        cost = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
        self.put("routing", ("decision", 0), "cost", cost)
        self.say("routing, the decision: " + ", ".join(f"{k} {v}" for k, v in cost.items()))
        with pg.replica(max_connections=pg.options["max_connections"]) as replica:
            plain = lambda **kw: rigs.penstock(replica, o.servers, **kw)          # noqa: E731
            routed = lambda **kw: rigs.routed(pg, o.servers, [replica], **kw)     # noqa: E731
            self.contest("routing", [plain, routed], [(mode, 64) for mode in o.modes],
                         lambda rig, cell: meter.load(rig, *cell, o.jobs, o.seconds, 2))
            # Of 16 clients nobody waits for one of the 20 servers; of 64 most do.
            for mode, clients in [(mode, clients) for mode in o.modes for clients in (16, 64)]:
                few, many = (80, 240) if clients == 16 else (20, 60)
                for name, make in (("penstock", plain), (rigs.ROUTED, routed)):
                    what = f"{mode}, {clients} clients"
                    got = self.attempt(f"callgrind, {what}, {name}", meter.callgrind, make,
                                       lambda rig, n, m=mode, c=clients: meter.exactly(rig, m, c, 1, n),
                                       few, many)
                    self.put("routing", ("instructions", what), name, got)
                    if got:
                        self.say(f"callgrind, {what}, {name}: {got:.0f} instructions")

    # ---- the result cache ----------------------------------------------------------------------------
    def caching(self):
        caching.compile_tools()
        caching.make_tables(self.pg)
        for part in (caching.first_level, caching.instructions, caching.ledger, caching.redis_level, caching.balances):
            self.attempt(part.__name__, part, self)

    # ---- logins and memory ---------------------------------------------------------------------------
    def logins(self):
        o, pg = self.o, self.pg
        seconds = 2 if o.quick else 3
        up = [self.attempt("logins", make, pg, o.servers, auth="scram-sha-256")
              for make in (rigs.penstock, rigs.pgbouncer)]
        up = [r for r in up if r]
        for turn in range(o.rounds):
            for tls in (False, True):
                kind = "TLS and SCRAM" if tls else "SCRAM"
                for rig in up[turn % 2:] + up[:turn % 2] + ([] if tls else [rigs.Direct(pg)]):
                    got = self.attempt(f"logins, {kind}, {rig.name}", meter.storm, rig, seconds, 32,
                                       tls)
                    self.put("logins", kind, rig.name, got)
                    if got:
                        self.say(f"logins, {kind}, {rig.name}: {got['rate']:.0f}/s, "
                                 f"{got['cpu']:.0f} us each (the storm {got['own']:.0f})")
        for rig in up:
            self.attempt(f"stopping {rig.name}", rig.stop)

    def memory(self):
        o = self.o
        sizes = ((False, 2000), (True, 500)) if o.quick else ((False, 10000), (True, 2000))
        for tls, clients in sizes:
            for make in (rigs.penstock, rigs.pgbouncer):
                name = make.__name__
                what = f"{clients} idle clients{' over TLS' if tls else ''}, {name}"
                rig = self.attempt(what, make, self.pg, o.servers, auth="scram-sha-256")
                if not rig:
                    continue
                got = self.attempt(what, meter.idle_memory, rig, clients, tls)
                self.attempt(f"stopping {name}", rig.stop)
                self.put("memory", (tls, clients), name, got)
                if got:
                    self.say(f"{what}: {got['fresh']:.0f} bytes each, {got['used']:.0f} after a query")

    # ---- counting ------------------------------------------------------------------------------------
    def instructions(self):
        o, pg = self.o, self.pg
        few, many = (20, 60) if o.quick else (50, 200)
        work = {mode: (lambda rig, n, mode=mode: meter.exactly(rig, mode, 64, 1, n), few, many, "trust")
                for mode in o.modes}
        work["a SCRAM login"] = (meter.logins, 100, 300 if o.quick else 1100, "scram-sha-256")
        for what, (fn, few, many, auth) in work.items():
            for make in (rigs.penstock, rigs.pgbouncer):
                name = make.__name__
                if name == "pgbouncer" and what == "prepared":
                    continue
                keep = f"{rigs.OUT}/callgrind.{name}.{what.split()[-1]}" if o.keep_profiles else None
                got = self.attempt(
                    f"callgrind, {what}, {name}", meter.callgrind,
                    lambda make=make, auth=auth, **kw: make(pg, o.servers, auth=auth, **kw),
                    fn, few, many, keep)
                self.put("instructions", what, name, got)
                if got:
                    self.say(f"callgrind, {what}, {name}: {got:.0f} instructions")

    def watching(self):
        """What the HTTP port costs transactions, and a scrape of many pools."""
        o, pg = self.o, self.pg
        few, many = (20, 60) if o.quick else (50, 200)
        for mode in [m for m in o.modes if m != "extended"]:
            got = self.attempt(f"watched, {mode}, CPU", watching.cpu, pg, o.servers, mode, o.jobs, 3 * o.rounds,
                               1 if o.quick else 2, self.say)
            self.put("watched", mode, "pairs", got)
        for mode in o.modes[:1] if o.quick else o.modes:
            keep = f"{rigs.OUT}/callgrind.watching.{mode}" if o.keep_profiles else None
            got = self.attempt(f"watched, {mode}", watching.instructions, pg, o.servers, mode, few,
                               many, keep)
            self.put("watching", mode, "penstock", got)
            if got:
                self.say(f"watched, {mode}: {got['off']:.0f} instructions, {got['on']:.0f} with HTTP")
        got = self.attempt("scrapes", watching.scrapes, pg, 3 if o.quick else 10)
        self.put("scrapes", watching.POOLS, "penstock", got)
        if got:
            self.say(f"a scrape of {got['pools']} pools: {got['ms']:.1f} ms, at worst "
                     f"{got['worst']:.1f}, {got['bytes']} bytes")

    def syscalls(self):
        o = self.o
        for make in (rigs.penstock, rigs.pgbouncer):
            name = make.__name__
            rig = self.attempt(f"strace, {name}", make, self.pg, o.servers)
            if not rig:
                continue
            for clients, few, many in ((1, 100, 600), (16, 40, 140), (64, 20, 60)):
                got = self.attempt(f"strace, {clients} clients, {name}", meter.syscalls, rig, "simple",
                                   clients, few, many)
                self.put("syscalls", clients, name, got)
                if got:
                    self.say(f"strace, {clients} clients, {name}: {got['reads']:.2f} reads, "
                             f"{got['writes']:.2f} writes, {got['waits']:.2f} waits, {got['rest']}")
            self.attempt(f"stopping {name}", rig.stop)

    def run(self):
        rigs.compile_tools()
        self.say("starting PostgreSQL")
        pools = [watching.POOLS] if "watching" in self.o.only else []
        self.pg = rigs.make_cluster(max([c for _, c in self.o.load + self.o.mix] + [MAIN] + pools))
        for part in PARTS:
            if part in self.o.only:
                self.say(f"---- {part}")
                self.attempt(part, getattr(self, part))
        self.pg.close()
        text = report.write(self)
        with open(f"{rigs.OUT}/report.md", "w") as f:
            f.write(text)
        print("\n" + text)
        return 1 if self.failures else 0


def main():
    argv = sys.argv[1:] or shlex.split(os.environ.get("BENCH_ARGS", ""))
    o = options(argv)
    procs.install()
    for tool in (binary(), rigs.PGBOUNCER):
        if not os.path.exists(tool):
            sys.exit(f"{tool} is missing; run make, and test/support/deps.sh bench")
    try:
        return Bench(o).run()
    except NotAvailable as e:
        sys.exit(str(e))


if __name__ == "__main__":
    sys.exit(main())
