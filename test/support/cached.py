"""One rule of the result cache, for tests that are about something else: table, configuration, what it counted."""
from . import procs

SCHEMA = ("CREATE TABLE IF NOT EXISTS kept (id int PRIMARY KEY, v int NOT NULL); GRANT ALL ON kept TO PUBLIC; "
          "INSERT INTO kept SELECT g, g FROM generate_series(1, 50) g ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v")
RULE = """
[cache]
[cache kept]
query = SELECT v FROM kept WHERE id = $1
key = kept:$1
"""


def read(k):
    return f"SELECT v FROM kept WHERE id = {k}"


def counts(p):
    """The row of SHOW CACHE, numbers as such; `bypasses` by reason."""
    row = p.show("CACHE")[0]
    return {**row, **{k: int(v) for k, v in row.items() if v and v.isdigit()},
            "bypasses": {k: int(v) for k, v in (x.split("=") for x in row["bypasses"].split())}}


def wait_ready(p):
    """The catalog is known; a client of the database has been there."""
    procs.wait_for(lambda: counts(p)["state"] == "ready", 15, lambda: str(p.show("CACHE")))


def warm(p, c, k):
    """Asks until the answer comes from the cache; returns it."""
    before = counts(p)["hits"]
    for _ in range(3):
        value = c.value(read(k))
    assert counts(p)["hits"] > before, str(p.show("CACHE"))
    return value
