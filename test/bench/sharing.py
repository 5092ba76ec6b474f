"""What several clients' reads on one server must not spoil: writes beside them, and neighbours of slow ones.

Scripts for pgbench, the tables they need, and who holds a lock.  bench.py measures with them.
A statement that is slow for one key must be one that may be shared, or nothing would be shown: no
volatile function (pg_sleep), so it counts, and how far is in a table.
"""
import contextlib
import threading
import time

from support import procs

import rigs

MAIN = 256                      # clients: what the aims of sharing are for
WARM = 3                        # seconds: the number of servers to share is found by measuring
KEYS = 1000                     # one of them is slow
SLOW_SECONDS = 0.2
KINDS = ("one key in 1,000 is slow", "one read in 1,000 waits for a lock")

COUNT = """\
\\set key random({})
SELECT count(*) FROM (SELECT generate_series(1, steps) FROM slow WHERE key = :key) AS counted;
"""
HELD = """\
\\set key random(1, 1000)
SELECT value FROM held WHERE key = :key;
"""
UPDATE = """\
\\set aid random(1, 100000 * :scale)
\\set delta random(-5000, 5000)
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
"""


def _script(folder, name, text):
    path = f"{folder}/{name}.sql"
    with open(path, "w") as f:
        f.write(text)
    return path


def mix():
    """pgbench's scripts of nine reads of -S and one write, which commits by itself."""
    folder = procs.temp_dir("penstock-bench-")
    return ("-b", "select-only@9", "-f", _script(folder, "update", UPDATE) + "@1")


def neighbours(kind):
    """The reads that are watched, and one in 1,000 that is slow."""
    folder = procs.temp_dir("penstock-bench-")
    if kind == KINDS[0]:
        one = _script(folder, "quick", COUNT.format(f"1, {KEYS - 1}"))
        other = _script(folder, "slow", COUNT.format(f"{KEYS}, {KEYS}"))
        return ("-f", f"{one}@{KEYS - 1}", "-f", f"{other}@1")
    return ("-b", f"select-only@{KEYS - 1}", "-f", _script(folder, "held", HELD) + "@1")


def make_tables(pg):
    """`slow`, whose last key takes SLOW_SECONDS on this machine when nothing else runs, and `held`."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        pg.sql("SELECT count(*) FROM (SELECT generate_series(1, 1000000)) AS counted", rigs.DB)
        took.append(time.monotonic() - began)
    steps = int(1000000 * SLOW_SECONDS / min(took))
    for text in ("DROP TABLE IF EXISTS slow, held",
                 "CREATE TABLE slow (key int PRIMARY KEY, steps int NOT NULL)",
                 f"INSERT INTO slow SELECT k, CASE k WHEN {KEYS} THEN {steps} ELSE 1 END"
                 f" FROM generate_series(1, {KEYS}) AS k",
                 "CREATE TABLE held (key int PRIMARY KEY, value int NOT NULL)",
                 f"INSERT INTO held SELECT k, k FROM generate_series(1, {KEYS}) AS k",
                 "GRANT SELECT ON slow, held TO PUBLIC", "ANALYZE slow, held"):
        pg.sql(text, rigs.DB)


@contextlib.contextmanager
def locked(pg):
    """ACCESS EXCLUSIVE on `held` for SLOW_SECONDS in every second, by a connection of its own."""
    over = threading.Event()
    connection = pg.admin(rigs.DB)

    def hold():
        while not over.wait(1 - SLOW_SECONDS):
            connection.query("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
            over.wait(SLOW_SECONDS)
            connection.query("COMMIT")

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    try:
        yield
    finally:
        over.set()
        holder.join(30)
        connection.close()


@contextlib.contextmanager
def durable(pg):
    """Commits reach the disk, as in production; the other parts only read."""
    names = ("fsync", "synchronous_commit", "full_page_writes")
    for name in names:
        pg.sql(f"ALTER SYSTEM SET {name} = on")
    pg.sql("SELECT pg_reload_conf()")
    procs.wait_for(lambda: all(pg.value(f"SHOW {n}") == "on" for n in names), 10, "fsync = on")
    pg.sql("CHECKPOINT")
    try:
        yield
    finally:
        for name in names:
            pg.sql(f"ALTER SYSTEM RESET {name}")
        pg.sql("SELECT pg_reload_conf()")
        pg.sql("VACUUM pgbench_accounts", rigs.DB)
