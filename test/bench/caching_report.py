"""The result cache's part of the report: text(results of the part) and aims(the same)."""
from caching import CACHED, REDIS, RESPONDER, ROWS
from tables import mid, ratio, table
from tables import text as shown


def text(data):
    hits = {cell: runs for cell, runs in data.items() if cell[0] == "hit"}
    return ("## The result cache\n\nA hit of the first level, beside a program that sends a canned answer, and beside "
            "PgBouncer,\nwhich asks the database. One worker each.\n\n" + _hits(hits) + "\n" + _instructions(data) +
            _others(data))


def _hits(data):
    rows = []
    for (_, mode, clients), runs in data.items():
        rows.append([mode, clients, *(shown(mid(runs, n, "tps"), ".0f") for n in (CACHED, RESPONDER, "pgbouncer")),
                     shown(ratio(runs, CACHED, RESPONDER, "tps"), ".2f"),
                     *(shown(mid(runs, n, "cpu"), ".2f") for n in (CACHED, RESPONDER, "pgbouncer")),
                     shown(ratio(runs, CACHED, "pgbouncer", "cpu"), ".2f")])
    return table(["protocol", "clients", "hits/s", "responder", "pgbouncer", "to responder", "CPU us", "responder",
                  "pgbouncer", "to pgbouncer"], rows)


def _instructions(data):
    rows = [[name, mode, shown(got[-1], ".0f")] for (what, mode, _), runs in data.items()
            if what == "instructions of a hit" for name, got in runs.items()]
    return ("Instructions of a hit in user space:\n\n" + table(["through", "protocol", "instructions"], rows) + "\n"
            if rows else "")


def _others(data):
    rows = []
    for (what, mode, clients), runs in data.items():
        if what in ("hit", "instructions of a hit"):
            continue
        for name in runs:
            rows.append([what, clients, name, shown(mid(runs, name, "tps"), ".0f"),
                         "-" if name == "direct" else shown(mid(runs, name, "cpu"), ".2f"),
                         " / ".join(shown(mid(runs, name, q), ".1f") for q in ("p50", "p95", "p99")),
                         _counted(runs[name][-1])])
    return (f"A sum over {ROWS} rows of a ledger; hits in Redis (2 workers); balances of 100,000 users, 95 of 100 requests\n"
            "reads, by Zipf's law (2 workers). Counts are those of the last round.\n\n"
            + table(["what", "clients", "through", "per second", "proxy CPU us", "p50 / p95 / p99 ms", "counted"], rows))


def _counted(got):
    """What the database, the cache and Redis did for one request."""
    if not got or not got["grown"]:
        return ""
    per = {k: v / got["done"] for k, v in got["grown"].items()}
    return ", ".join(f"{k} {v:.3f}" for k, v in per.items() if v >= 0.0005)


def _part(runs, name, what, of):
    got = [r["grown"][what] / r[of] if r else None for r in runs.get(name, [])]
    return next((g for g in reversed(got) if g is not None), None)


def aims(data):
    """(what, value, limit, at least rather than at most) for each aim; value None: not measured."""
    out = []
    for (what, mode, clients), runs in data.items():
        key = f"{what}, {mode}, {clients} clients: "
        if what == "hit":
            out.append((key + "throughput to the responder", ratio(runs, CACHED, RESPONDER, "tps"), 0.8, True))
            out.append((key + "CPU to pgbouncer", ratio(runs, CACHED, "pgbouncer", "cpu"), 1.0, False))
        elif what == "sum of a ledger":
            out.append((key + "throughput to direct", ratio(runs, CACHED, "direct", "tps"), 3.0, True))
        elif what == "hit in Redis":
            for name in REDIS.values():
                out.append((key + f"{name}: hits per second", mid(runs, name, "tps"), 50000, True))
                out.append((key + f"{name}: reads of Redis per hit", _part(runs, name, "reads", "done"), 1.0, False))
        elif what == "balances":
            for name in (CACHED, *REDIS.values()):
                xacts, hits = _part(runs, name, "xacts", "done"), _part(runs, name, "hits", "reads")
                if xacts is not None:
                    out += [(key + f"{name}: part of the reads that hit", hits, 0.9, True),
                            (key + f"{name}: p95 in ms", mid(runs, name, "p95"), 100, False),
                            (key + f"{name}: load taken off the database", 1 - xacts, 0.8, True)]
    return out
