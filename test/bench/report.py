"""The bench's results as Markdown: medians over the rounds, ratios pair by pair, and the aims.

write(bench) gets a finished Bench of bench.py.  A number that could not be measured is a dash.
"""
import os
import subprocess

from support.penstock import binary

import rigs
from meter import median


def _table(head, rows):
    rows = [list(map(str, r)) for r in rows]
    width = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    line = lambda r: "| " + " | ".join(c.ljust(w) for c, w in zip(r, width)) + " |"  # noqa: E731
    return "\n".join([line(head), "|" + "|".join("-" * (w + 2) for w in width) + "|",
                      *map(line, rows)]) + "\n"


def _text(value, form):
    return "-" if value is None else format(value, form)


def _values(runs, name, what):
    return [r[what] if r else None for r in runs.get(name, [])]


def _mid(runs, name, what):
    return median(_values(runs, name, what))


def _ratio(runs, a, b, what):
    """Median of a/b over the rounds in which both were measured."""
    pairs = zip(_values(runs, a, what), _values(runs, b, what))
    return median([x / y for x, y in pairs if x is not None and y])


NAMES = ("penstock", "pgbouncer", "bare pooler", "forwarder", "direct", "penstock, 2 workers")


def _load(data):
    proxies = [n for n in NAMES if n != "direct"]
    cpu, speed, lat, ratio = [], [], [], []
    for (mode, clients), runs in data.items():
        key = [mode, clients]
        cpu.append(key + [_text(_mid(runs, n, "cpu"), ".2f") for n in proxies])
        ratio.append(key + [_text(_ratio(runs, "penstock", n, "cpu"), ".2f")
                            for n in ("pgbouncer", "bare pooler", "forwarder")]
                     + [_text(_ratio(runs, "pgbouncer", "bare pooler", "cpu"), ".2f"),
                        _text(_ratio(runs, "penstock, 2 workers", "penstock", "cpu"), ".2f")])
        speed.append(key + [_text(_mid(runs, n, "tps"), ".0f") for n in NAMES]
                     + [_text(_ratio(runs, "penstock", n, "tps"), ".2f")
                        for n in ("pgbouncer", "direct")])
        lat.append(key + ["-" if _mid(runs, n, "p50") is None else
                          f"{_mid(runs, n, 'p50'):.2f} / {_mid(runs, n, 'p99'):.2f}" for n in NAMES])
    head = ["protocol", "clients"]
    return ("## CPU of the proxy per transaction, microseconds\n\n" + _table(head + proxies, cpu)
            + "\nRatios, each the median of pairs that ran next to each other:\n\n"
            + _table(head + ["to pgbouncer", "to bare pooler", "to forwarder",
                             "pgbouncer to bare pooler", "2 workers to 1"], ratio)
            + "\n## Transactions per second\n\n"
            + _table(head + list(NAMES) + ["to pgbouncer", "to direct"], speed)
            + "\n## Latency, p50 / p99 in ms (every fifth transaction)\n\n"
            + _table(head + list(NAMES), lat))


def _logins(data):
    rows = []
    for kind, runs in data.items():
        for name in runs:
            rows.append([kind, name, _text(_mid(runs, name, "rate"), ".0f"),
                         "-" if name == "direct" else _text(_mid(runs, name, "cpu"), ".0f"),
                         _text(_mid(runs, name, "p50"), ".2f"), _text(_mid(runs, name, "p99"), ".2f"),
                         _text(_mid(runs, name, "own"), ".0f")])
    return ("## Logins, 32 under way at a time\n\n"
            "The proxies hold the SCRAM verifier.  TLS is 1.3 with full handshakes and an RSA key of\n"
            "2048 bits: signing is dearer than verifying, so the storm is not the limit.\n\n"
            + _table(["kind", "through", "per second", "proxy CPU us", "p50 ms", "p99 ms",
                      "client CPU us"], rows))


def _memory(data):
    rows = []
    for (tls, clients), runs in data.items():
        for name in runs:
            rows.append(["TLS" if tls else "plain", clients, name,
                         _text(_mid(runs, name, "fresh"), ".0f"),
                         _text(_mid(runs, name, "used"), ".0f"),
                         _text(_mid(runs, name, "base"), ".0f")])
    return ("## Memory per idle client, bytes\n\n"
            "Growth of Pss over the process with a warm pool; the kernel's sockets are not in it.\n\n"
            + _table(["kind", "clients", "proxy", "after login", "after a query each",
                      "process before, KiB"], rows))


def _instructions(data):
    rows = []
    for mode, runs in data.items():
        mine, other = (median(runs.get(n, [])) for n in ("penstock", "pgbouncer"))
        rows.append([mode, _text(mine, ".0f"), _text(other, ".0f"),
                     _text(mine / other if mine and other else None, ".3f")])
    return ("## User-space instructions per transaction, 64 clients, callgrind\n\n"
            + _table(["protocol", "penstock", "pgbouncer", "ratio"], rows))


def _syscalls(data):
    rows = []
    for clients, runs in data.items():
        for name, got in runs.items():
            for g in filter(None, got):
                rest = ", ".join(f"{k} {v:.2f}" for k, v in sorted(g["rest"].items())) or "none"
                rows.append([clients, name, *(f"{g[k]:.2f}" for k in ("reads", "writes", "waits")),
                             rest])
    return ("## System calls per warm simple transaction\n\n"
            + _table(["clients", "proxy", "reads", "writes", "epoll_wait", "others"], rows))


# ---- the aims -----------------------------------------------------------------------------------------

def _aim(rows, what, value, limit, form=".3f", slack=0.0):
    if value is not None:
        met = value <= limit + slack
        rows.append([what, format(value, form), f"{limit:g}", "met" if met else "MISSED"])


def _aims(results):
    rows = []
    for (mode, clients), runs in results.get("load", {}).items():
        key = f"{mode}, {clients} clients: "
        if mode != "prepared" and clients >= 64:
            _aim(rows, key + "CPU to pgbouncer", _ratio(runs, "penstock", "pgbouncer", "cpu"), 0.85)
        if mode == "prepared" and clients == 64:
            _aim(rows, key + "CPU to forwarder", _ratio(runs, "penstock", "forwarder", "cpu"), 1.2)
        if clients == 1000:
            _aim(rows, key + "p99 to pgbouncer", _ratio(runs, "penstock", "pgbouncer", "p99"), 1.0)
        _aim(rows, key + "CPU of 2 workers to 1",
             _ratio(runs, "penstock, 2 workers", "penstock", "cpu"), 1.15)
    for (tls, clients), runs in results.get("memory", {}).items():
        if not tls:
            for what, text in (("fresh", "after login"), ("used", "after a query")):
                _aim(rows, f"bytes per idle plain client of {clients}, {text}",
                     _mid(runs, "penstock", what), 1024, ".0f")
    for kind, runs in results.get("logins", {}).items():
        _aim(rows, f"logins, {kind}: pgbouncer's rate to ours",
             _ratio(runs, "pgbouncer", "penstock", "rate"), 1.0)
        _aim(rows, f"logins, {kind}: proxy CPU to pgbouncer",
             _ratio(runs, "penstock", "pgbouncer", "cpu"), 1.0)
    for clients, runs in results.get("syscalls", {}).items():
        for what, limit in (("reads", 2), ("writes", 2), ("waits", 1)):
            if what == "waits" and clients == 1:
                continue                        # nobody to share a turn with
            got = median([g[what] for g in runs.get("penstock", []) if g])
            # a hundredth or two is what timers add to a run of some hundred transactions
            _aim(rows, f"{what} per simple transaction, {clients} clients", got, limit, slack=0.02)
    return "## Aims\n\n" + _table(["what", "measured", "at most", ""], rows) if rows else ""


def _version(argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0] if done.returncode == 0 else "?"


def write(bench):
    o = bench.o
    before, after = bench.load_average, os.getloadavg()
    parts = [f"""# Penstock bench

{_version([binary(), '--version'])}; {_version([rigs.PGBOUNCER, '--version'])}; \
{_version(['pgbench', '--version'])}.
{os.cpu_count()} cores; load average {before[0]:.2f} before, {after[0]:.2f} after: with other work on \
the machine trust ratios, instructions and counts, not times.
pgbench -S with -j {o.jobs}; {o.servers} servers per proxy in transaction mode; {o.rounds} round(s) \
of {o.seconds} s after a second of warming up; Penstock with 1 worker unless said.
"""]
    for part, form in (("load", _load), ("memory", _memory), ("logins", _logins),
                       ("instructions", _instructions), ("syscalls", _syscalls)):
        if bench.results.get(part):
            parts.append(form(bench.results[part]))
    parts.append(_aims(bench.results))
    if bench.failures:
        parts.append("## Not measured\n\n" + "".join(f"- {f}\n" for f in bench.failures))
    return "\n".join(p for p in parts if p)
