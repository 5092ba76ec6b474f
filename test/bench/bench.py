#!/usr/bin/env python3
"""make bench: what Penstock costs, beside Debian's PgBouncer, a direct connection and two references.

usage: bench.py [--quick] [--only PART,...] [--modes M,...] [--clients N,...] [--rounds N] [--seconds N]
                [--jobs N] [--servers N] [--keep-profiles]

PART is load, logins, memory, instructions or syscalls.  BENCH_ARGS in the environment does the same
for `make bench`.  PENSTOCK_BIN names another binary.  The whole takes about 15 minutes, --quick about 2.
The report goes to the terminal and to build/bench/report.md; docs/benchmarks.md says how to read it.
Exit code 1: something could not be measured.  An aim that is missed is reported, not an error.
"""
import argparse
import os
import shlex
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import meter  # noqa: E402
import report  # noqa: E402
import rigs  # noqa: E402
from support import procs  # noqa: E402
from support.cluster import NotAvailable  # noqa: E402
from support.penstock import binary  # noqa: E402

PARTS = ("load", "logins", "memory", "instructions", "syscalls")
MODES = ("simple", "extended", "prepared")
QUICK_LOAD = (("simple", 64), ("extended", 64), ("prepared", 64), ("simple", 1000))
FORWARDER_LIMIT = 64            # clients; beyond, one server per client is another experiment
TWO_WORKERS_AT = (64, 1000)


def options(argv):
    p = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", default=",".join(PARTS))
    p.add_argument("--modes", default=",".join(MODES))
    p.add_argument("--clients", default="")
    p.add_argument("--rounds", type=int, default=0)
    p.add_argument("--seconds", type=int, default=2)
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--servers", type=int, default=20)
    p.add_argument("--keep-profiles", action="store_true")
    o = p.parse_args(argv)
    o.only, o.modes = set(o.only.split(",")), o.modes.split(",")
    if o.only - set(PARTS) or set(o.modes) - set(MODES):
        p.error("no such part or mode")
    o.rounds = o.rounds or (1 if o.quick else 3)
    if o.clients:
        clients = [int(x) for x in o.clients.split(",")]
        o.load = [(m, c) for m in o.modes for c in clients]
    elif o.quick:
        o.load = [x for x in QUICK_LOAD if x[0] in o.modes]
    else:
        o.load = [(m, c) for m in o.modes for c in (16, 64, 256, 1000)]
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
    def takes_part(self, name, mode, clients):
        if name == "pgbouncer":
            return mode != "prepared"           # 1.18 has no statements in transaction mode
        if name == "forwarder":
            return clients <= FORWARDER_LIMIT
        if name == "penstock, 2 workers":
            return clients in TWO_WORKERS_AT
        return True

    def load(self):
        o, pg = self.o, self.pg
        makers = {
            "penstock": lambda: rigs.penstock(pg, o.servers),
            "pgbouncer": lambda: rigs.pgbouncer(pg, o.servers),
            "bare pooler": lambda: rigs.bare_pooler(pg, o.servers),
            "forwarder": lambda: rigs.forwarder(pg),
            "direct": lambda: rigs.Direct(pg),
            "penstock, 2 workers": lambda: rigs.penstock(pg, o.servers, workers=2),
        }
        up = [self.attempt(name, make) for name, make in makers.items()]
        up = [r for r in up if r]
        for turn in range(o.rounds):
            for mode, clients in o.load:
                for rig in up[turn % len(up):] + up[:turn % len(up)]:
                    if not self.takes_part(rig.name, mode, clients):
                        continue
                    what = f"{mode}, {clients} clients, {rig.name}"
                    got = self.attempt(what, meter.load, rig, mode, clients, o.jobs, o.seconds)
                    self.put("load", (mode, clients), rig.name, got)
                    if got:
                        self.say(f"{what}: {got['tps']:.0f} tps, {got['cpu']:.2f} us, "
                                 f"p50 {got['p50']} ms, p99 {got['p99']} ms")
        for rig in up:
            self.attempt(f"stopping {rig.name}", rig.stop)

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
        makers = {"penstock": rigs.penstock, "pgbouncer": rigs.pgbouncer}
        for mode in o.modes:
            for name, make in makers.items():
                if name == "pgbouncer" and mode == "prepared":
                    continue
                keep = f"{rigs.OUT}/callgrind.{name}.{mode}" if o.keep_profiles else None
                got = self.attempt(
                    f"callgrind, {mode}, {name}", meter.callgrind,
                    lambda make=make, **kw: make(pg, o.servers, **kw), mode, 64, few, many, keep)
                self.put("instructions", mode, name, got)
                if got:
                    self.say(f"callgrind, {mode}, {name}: {got:.0f} instructions")

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
        self.pg = rigs.make_cluster(max([c for _, c in self.o.load] + [100]))
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
