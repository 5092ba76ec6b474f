"""Markdown tables of measurements, and medians over the rounds of them."""
from meter import median


def table(head, rows):
    rows = [list(map(str, r)) for r in rows]
    width = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    line = lambda r: "| " + " | ".join(c.ljust(w) for c, w in zip(r, width)) + " |"  # noqa: E731
    return "\n".join([line(head), "|" + "|".join("-" * (w + 2) for w in width) + "|",
                      *map(line, rows)]) + "\n"


def text(value, form):
    return "-" if value is None else format(value, form)


def values(runs, name, what):
    return [r[what] if r else None for r in runs.get(name, [])]


def mid(runs, name, what):
    return median(values(runs, name, what))


def ratio(runs, a, b, what):
    """Median of a/b over the rounds in which both were measured."""
    pairs = zip(values(runs, a, what), values(runs, b, what))
    return median([x / y for x, y in pairs if x is not None and y])
