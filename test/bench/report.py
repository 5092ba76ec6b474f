"""The bench's results as Markdown: medians over the rounds, ratios pair by pair, and the aims.

write(bench) gets a finished Bench of bench.py.  A number that could not be measured is a dash.
"""
import os
import subprocess

from support.penstock import binary

import caching_report
import rigs
from meter import median
from sharing import MAIN, WARM
from tables import mid as _mid
from tables import ratio as _ratio
from tables import table as _table
from tables import text as _text
from tables import values as _values


NAMES = ("penstock", rigs.SHARED, "pgbouncer", "bare pooler", "forwarder", "direct",
         "penstock, 2 workers")


def line(got):
    """One run of the load in a line."""
    text = f": {got['tps']:.0f} tps, {got['cpu']:.2f} us"
    for who, ms in (("", got), ("; the others: ", got["second"])):
        if ms["p50"] is not None:
            text += f"{who or ', '}p50 {ms['p50']:.2f}, p99 {ms['p99']:.2f}, p99.9 {ms['p999']:.2f}, " \
                    f"max {ms['max']:.0f} ms"
    s = got["shares"]
    if s:
        text += f"; {s['ratio']:.2f} behind others, width {s['width']}, {s['in_flight']} in flight and " \
                f"{s['servers']} shared, {s['repeated']} repeated, {s['unshared']} unshared"
    return text


def _waits(runs, name, whats=("p50", "p99", "p999")):
    got = [_mid(runs, name, w) for w in whats]
    return " / ".join(_text(x, ".2f") for x in got) if got[0] is not None else "-"


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
        lat.append(key + [_waits(runs, n) for n in NAMES])
    head = ["protocol", "clients"]
    return ("## CPU of the proxy per transaction, microseconds\n\n" + _table(head + proxies, cpu)
            + "\nRatios, each the median of pairs that ran next to each other:\n\n"
            + _table(head + ["to pgbouncer", "to bare pooler", "to forwarder",
                             "pgbouncer to bare pooler", "2 workers to 1"], ratio)
            + "\n## Transactions per second\n\n"
            + _table(head + list(NAMES) + ["to pgbouncer", "to direct"], speed)
            + "\n## Latency, p50 / p99 / p99.9 in ms (every other transaction)\n\n"
            + _table(head + list(NAMES), lat) + "\n" + _directs(data) + _shared(data))


# ---- sharing ------------------------------------------------------------------------------------------

def _best_direct(runs):
    """The name of the number of direct connections with the highest median, when several were tried."""
    names = [n for n in runs if n.startswith("direct") and _mid(runs, n, "tps")]
    return max(names, key=lambda n: _mid(runs, n, "tps")) if len(names) > 1 else None


def _directs(data):
    rows = []
    for (mode, clients), runs in data.items():
        if _best_direct(runs):
            for name in (n for n in runs if n.startswith("direct")):
                rows.append([mode, name if name != "direct" else rigs.DIRECT_OF.format(clients),
                             _text(_mid(runs, name, "tps"), ".0f"), _waits(runs, name),
                             "the best" if name == _best_direct(runs) else ""])
    if not rows:
        return ""
    return ("## Direct connections, by their number\n\n"
            + _table(["protocol", "", "per second", "p50 / p99 / p99.9 ms", ""], rows) + "\n")


def _shared(data, others=("penstock", "pgbouncer", "direct")):
    """How "penstock, shared" compares in each cell, and what the proxy said about it."""
    rows, said = [], []
    bests = {cell: _best_direct(runs) for cell, runs in data.items()}
    pairs = [(n, "tps") for n in others] + [(n, "cpu") for n in others if n != "direct"]
    pairs += [("pgbouncer", w) for w in ("p50", "p99", "p999") if "pgbouncer" in others]
    for cell, runs in data.items():
        if rigs.SHARED not in runs:
            continue
        best = [_ratio(runs, rigs.SHARED, bests[cell], "tps") if bests[cell] else None]
        ratios = [_ratio(runs, rigs.SHARED, n, w) for n, w in pairs] + best * any(bests.values())
        rows.append([*cell, *(_text(r, ".2f") for r in ratios)])
        for n, run in enumerate(runs[rigs.SHARED]):
            s = run and run["shares"]
            if s:
                said.append([*cell, n + 1, f"{s['ratio']:.2f}", s["width"], s["servers"],
                             s["in_flight"], s["repeated"], s["unshared"]])
    if not rows:
        return ""
    words = {"cpu": "CPU", "p999": "p99.9"}
    return ("Shared servers, as ratios (medians of pairs):\n\n"
            + _table(["what", "clients"] + [f"{words.get(w, w)} to {n}" for n, w in pairs]
                     + ["tps to the best direct"] * any(bests.values()), rows)
            + "\nWhat the proxy counted: the part of the requests that was sent behind another one; as the\n"
            "window closed, the servers it wanted to share, those it did, and the requests in flight on\n"
            "all of its servers; requests sent again; servers left to one request:\n\n"
            + _table(["what", "clients", "round", "behind", "width", "shared", "in flight", "repeated",
                      "unshared"], said))


def _unix(data):
    rows = []
    for cell, runs in data.items():
        for name in runs:
            rows.append([*cell, name, _text(_mid(runs, name, "tps"), ".0f"),
                         "-" if name.startswith("direct") else _text(_mid(runs, name, "cpu"), ".2f"),
                         _waits(runs, name)])
    return ("## Servers on a Unix socket\n\nClients come over TCP, except where direct ones do not.\n\n"
            + _table(["protocol", "clients", "through", "per second", "proxy CPU us",
                      "p50 / p99 / p99.9 ms"], rows) + "\n" + _shared(data))


def _mix(data):
    rows = []
    for cell, runs in data.items():
        for name, got in runs.items():
            writes = {"writes": [r["second"] if r else None for r in got]}
            rows.append([*cell, name, _text(_mid(runs, name, "tps"), ".0f"),
                         "-" if name == "direct" else _text(_mid(runs, name, "cpu"), ".2f"),
                         _waits(runs, name), _waits(writes, "writes")])
    return ("## Nine reads to a write, fsync on\n\n"
            + _table(["protocol", "clients", "through", "per second", "proxy CPU us",
                      "reads: p50 / p99 / p99.9 ms", "writes"], rows) + "\n" + _shared(data))


def _more(runs, what):
    """Median over the rounds of how much more it is when servers are shared; ms."""
    pairs = zip(_values(runs, rigs.SHARED, what), _values(runs, "penstock", what))
    return median([a - b for a, b in pairs if a is not None and b is not None])


def _neighbours(data):
    rows = []
    for cell, runs in data.items():
        for name, got in runs.items():
            slow = {"slow": [r["second"] if r else None for r in got]}
            rows.append([*cell, name, _text(_mid(runs, name, "tps"), ".0f"),
                         _waits(runs, name, ("p50", "p99", "p999", "max")),
                         _waits(slow, "slow", ("p50", "max"))])
        rows.append([*cell, "shared: more by", "", f"- / {_text(_more(runs, 'p99'), '.2f')} / "
                     f"{_text(_more(runs, 'p999'), '.2f')} / {_text(_more(runs, 'max'), '.2f')}", ""])
    return ("## Neighbours of slow reads\n\n"
            + _table(["what", "clients", "through", "per second",
                      "the other reads: p50 / p99 / p99.9 / max ms", "slow ones: p50 / max"], rows)
            + "\n" + _shared(data, ("penstock",)))


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
    return ("## User-space instructions per transaction (64 clients) and per login, callgrind\n\n"
            + _table(["what", "penstock", "pgbouncer", "ratio"], rows))


def _routing(data):
    cpu, counts, cost = [], [], []
    for (what, cell), runs in data.items():
        if what == "decision":
            cost = [[name, f"{value:.1f}"] for name, value in runs["cost"][-1].items()]
        elif what == "instructions":
            plain, routed = (median(runs.get(n, [])) for n in ("penstock", rigs.ROUTED))
            counts.append([cell, _text(plain, ".0f"), _text(routed, ".0f"), _text(_more_of(runs), ".3f")])
        else:
            cpu.append([what, cell, _text(_mid(runs, "penstock", "cpu"), ".2f"),
                        _text(_mid(runs, rigs.ROUTED, "cpu"), ".2f"),
                        _text(_ratio(runs, rigs.ROUTED, "penstock", "cpu"), ".3f")])
    return ("## Routing\n\nReads of a cluster's replica, beside the same pooler on that replica: CPU per "
            "transaction, microseconds, and user-space instructions per transaction.\n\n"
            + _table(["protocol", "clients", "penstock", "routed", "ratio"], cpu) + "\n"
            + _table(["instructions", "penstock", "routed", "ratio"], counts)
            + "\nThe decision: nanoseconds for a known statement, microseconds for one never seen.\n\n"
            + _table(["what", "took"], cost))


def _more_of(runs):
    """Instructions of the routed one to those of the plain one."""
    plain, routed = (median(runs.get(n, [])) for n in ("penstock", rigs.ROUTED))
    return routed / plain if plain and routed else None


def _watched(data):
    rows = []
    for mode, runs in data.items():
        off, on, ratio, n = _pairs(runs)
        rows.append([mode, _text(off, ".2f"), _text(on, ".2f"), _text(ratio, ".3f"), n])
    return ("## CPU per transaction, watched\n\nMicroseconds of the proxy, without and with the HTTP port and the "
            "statistics of statements, 64 clients;\nthe ratio is the median of pairs that ran next to each other.\n\n"
            + _table(["protocol", "without", "with", "ratio", "pairs"], rows))


def _pairs(runs):
    """Medians without, with and of their ratio; how many pairs."""
    pairs = [p for got in runs.get("pairs", []) for p in got or []]
    return (median([a for a, _ in pairs]), median([b for _, b in pairs]), median([b / a for a, b in pairs]),
            len(pairs))


def _watching(data):
    return "## Instructions per transaction, watched\n\n" + _table(
        ["protocol", "without HTTP", "with HTTP", "more"],
        [[mode, _text(_mid(r, "penstock", "off"), ".0f"), _text(_mid(r, "penstock", "on"), ".0f"),
          _text(_more_watched(r), "+.1%")] for mode, r in data.items()])


def _more_watched(runs):
    return median([r["on"] / r["off"] - 1 for r in runs.get("penstock", []) if r])


def _scrapes(data):
    return "## A scrape of /metrics under load\n\n" + _table(
        ["pools", "ms", "worst", "bytes"],
        [[n, *(_text(_mid(r, "penstock", w), ".0f") for w in ("ms", "worst", "bytes"))]
         for n, r in data.items()])


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

def _aim(rows, what, value, limit, form=".3f", slack=0.0, least=False):
    """At most limit, or at least."""
    if value is not None:
        met = value >= limit - slack if least else value <= limit + slack
        rows.append([what, format(value, form), f"at {'least' if least else 'most'} {limit:g}",
                     "met" if met else "MISSED"])


def _sharing_aims(rows, results):
    for (mode, clients), runs in results.get("load", {}).items():
        if clients == MAIN:
            key = f"shared, {mode}, {clients} clients: "
            to = lambda other, what: _ratio(runs, rigs.SHARED, other, what)  # noqa: E731
            _aim(rows, key + "tps to pgbouncer", to("pgbouncer", "tps"), 2.0, least=True)
            _aim(rows, key + "tps to direct", to("direct", "tps"), 1.3, least=True)
            best = _best_direct(runs)
            if best:
                _aim(rows, key + "tps to the best direct", to(best, "tps"), 1.0, least=True)
            _aim(rows, key + "CPU to pgbouncer", to("pgbouncer", "cpu"), 0.45)
            _aim(rows, key + "p99 to pgbouncer", to("pgbouncer", "p99"), 1.0)
    for (_, clients), runs in results.get("mix", {}).items():
        for other in ("penstock", "pgbouncer"):
            _aim(rows, f"shared, mix, {clients} clients: tps to {other}",
                 _ratio(runs, rigs.SHARED, other, "tps"), 1.0, least=True)
    for (kind, _), runs in results.get("neighbours", {}).items():
        shares = {"": [r["shares"] if r else None for r in runs.get(rigs.SHARED, [])]}
        _aim(rows, f"shared, {kind}: part behind others (none would show nothing)",
             _mid(shares, "", "ratio"), 0.1, ".2f", least=True)
        for what, text in (("p999", "p99.9"), ("max", "longest")):
            _aim(rows, f"shared, {kind}: {text} wait of the others, ms more", _more(runs, what), 50,
                 ".1f")


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
    for (what, cell), runs in results.get("routing", {}).items():
        if what not in ("instructions", "decision"):
            _aim(rows, f"routing, {what}, {cell} clients: CPU to the plain pooler",
                 _ratio(runs, rigs.ROUTED, "penstock", "cpu"), 1.03)
        if what == "decision":
            _aim(rows, "routing, a statement of 470 bytes never seen, microseconds",
                 runs["cost"][-1]["unseen_medium"], 150, ".1f")
    for mode, runs in results.get("watched", {}).items():
        _aim(rows, f"watched, {mode}: CPU with it to without", _pairs(runs)[2], 1.03)
    _sharing_aims(rows, results)
    for what, value, limit, least in caching_report.aims(results.get("caching", {})):
        _aim(rows, "cache: " + what, value, limit, least=least)
    return "## Aims\n\n" + _table(["what", "measured", "aim", ""], rows) if rows else ""


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
of {o.seconds} s after a second of warming up, or {WARM} where servers are shared in the comparison; \
Penstock with 1 worker unless said, and with multiplex_depth = 1 unless it says "shared".
"""]
    for part, form in (("load", _load), ("unix", _unix), ("mix", _mix), ("neighbours", _neighbours),
                       ("routing", _routing), ("caching", caching_report.text), ("memory", _memory),
                       ("logins", _logins), ("instructions", _instructions), ("watched", _watched),
                       ("watching", _watching),
                       ("scrapes", _scrapes), ("syscalls", _syscalls)):
        if bench.results.get(part):
            parts.append(form(bench.results[part]))
    parts.append(_aims(bench.results))
    if bench.failures:
        parts.append("## Not measured\n\n" + "".join(f"- {f}\n" for f in bench.failures))
    return "\n".join(p for p in parts if p)
