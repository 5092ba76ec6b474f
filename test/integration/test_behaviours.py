"""Behaviours 11, 13, 42, 75, 127 and 132 of docs/behaviours.md: what no other file was the place for."""
import os
import re
import signal
import subprocess
import time

import psycopg
import pytest

from support.common import DB, SECRET, USER
from support.pgwire import ServerError, WireError
from support.procs import wait_for


def login(p, db=DB, **kw):
    return p.connect(USER, SECRET, db, **kw)


def test_logins_go_on_while_the_servers_are_down(own_pg, proxy):
    pg = own_pg()
    p = proxy(pg)
    with login(p) as c:
        assert c.value("SELECT 1") == "1"
    pg.stop()
    with login(p) as c:
        assert c.params["server_version"]
        pg.start()
        assert c.value("SELECT 2") == "2"


def test_no_server_is_opened_before_it_is_needed(own_pg, proxy):
    pg = own_pg()
    p = proxy(pg)
    until = time.monotonic() + 1.5          # several rounds of housekeeping
    while time.monotonic() < until:
        assert not pg.backends(DB, f"usename = '{USER}'")
    with login(p) as c:
        assert c.value("SELECT 1") == "1"
    # and one more, for the catalog is asked for at the same time
    assert len(pg.backends(DB, f"usename = '{USER}'")) <= 2


@pytest.mark.parametrize("wanted, fits", [("primary", True), ("read-write", True), ("any", True),
                                          ("standby", False), ("read-only", False)])
def test_target_session_attrs(pg, proxy, wanted, fits):
    p = proxy(pg)

    def connect(**kw):
        return psycopg.connect(host=p.host, port=p.port, user=USER, password=SECRET, dbname=DB,
                               target_session_attrs=wanted, **kw)
    if fits:
        with connect() as c:
            assert c.execute("SELECT 1").fetchone() == (1,)
    else:
        with pytest.raises(psycopg.OperationalError, match="read-only|hot standby"):
            connect()
    if wanted.startswith("read"):           # a session that is made read-only is told from others
        if fits:
            with pytest.raises(psycopg.OperationalError, match="read-only"):
                connect(options="-c default_transaction_read_only=on")
        else:
            connect(options="-c default_transaction_read_only=on").close()


def dump(pg, port, host, db, *args):
    env = {**pg.env, "PGPASSWORD": SECRET}
    done = subprocess.run([f"{pg.bin}/pg_dump", "-h", host, "-p", str(port), "-U", USER, *args, db],
                          capture_output=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_dump_and_restore_through_the_pool(own_pg, proxy):
    pg = own_pg()
    if not os.path.exists(f"{pg.bin}/pg_dump"):
        pytest.skip("this PostgreSQL came without pg_dump")
    p = proxy(pg, pool_size=2)
    with login(p) as c:
        c.query("CREATE SCHEMA shop; CREATE TYPE shop.mood AS ENUM ('good', 'bad');"
                "CREATE TABLE shop.item (id serial PRIMARY KEY, name text NOT NULL, price numeric(9,2), "
                "mood shop.mood DEFAULT 'good', made timestamptz DEFAULT now());"
                "CREATE INDEX ON shop.item (name);"
                "CREATE VIEW shop.dear AS SELECT * FROM shop.item WHERE price > 500;"
                "CREATE FUNCTION shop.twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';"
                "INSERT INTO shop.item (name, price) SELECT 'item ' || i, i FROM generate_series(1, 5000) i")
    archive = f"{p.dir}/archive"
    with open(archive, "wb") as f:
        f.write(dump(pg, p.port, p.host, DB, "-Fc"))
    done = subprocess.run([f"{pg.bin}/pg_restore", "-h", p.host, "-p", str(p.port), "-U", USER,
                           "-d", "second", "--exit-on-error", "--no-comments", archive],
                          capture_output=True, text=True, timeout=60,
                          env={**pg.env, "PGPASSWORD": SECRET})
    assert done.returncode == 0, done.stderr
    clean = lambda b: re.sub(rb"(?m)^--.*\n|^\\(un)?restrict .*\n", b"", b)  # noqa: E731
    assert clean(dump(pg, pg.port, pg.host, DB)) == clean(dump(pg, pg.port, pg.host, "second"))
    with login(p, "second") as c:           # what pg_dump set for itself is nobody else's
        assert c.value("SELECT count(*) FROM shop.dear") == "4500"
        assert c.value("SHOW extra_float_digits") == "1"


def test_binary_is_replaced_without_dropping_clients(pg, proxy):
    shared = {"so_reuseport": 1, "unix_socket_dir": ""}
    old = proxy(pg, config=shared)
    c = login(old)
    assert c.value("SELECT 1") == "1"
    new = proxy(pg, config={**shared, "listen_port": old.port}, start=False)
    new.port = old.port
    new.start()
    new.wait_log("process up")              # until now it was the old one that answered
    old.child.send_signal(signal.SIGTERM)
    old.wait_log("got SIGTERM")
    for i in range(30):                     # all of them are the new one's
        with login(new) as d:
            assert d.value(f"SELECT {i}") == str(i)
    assert c.value("SELECT 2") == "2"       # and the old one's client goes on
    c.close()
    wait_for(lambda: old.child.poll() is not None, 10, "the old process to end")
    assert old.child.poll() == 0


CHOICES = {
    "pool_mode": ("session", "transaction", "statement"),
    "auth_type": ("any", "trust", "plain", "md5", "scram-sha-256", "cert", "hba", "pam"),
    "server_tls_sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
}


def values_for(row):
    """Values that are legal for that row of SHOW CONFIG, and some that may not be."""
    key, now = row["key"], row["value"]
    if key in CHOICES:
        return CHOICES[key]
    return [v for v in ("0", "1", "2", "0.5") if v != now]


@pytest.mark.full
@pytest.mark.timeout(120)
def test_no_value_that_is_accepted_ends_the_process(own_pg, proxy):
    pg = own_pg()
    p = proxy(pg)
    accepted = 0
    with p.console() as con:
        for row in con.query("SHOW CONFIG"):
            if row["changeable"] != "yes":
                continue
            for value in values_for(row):
                try:
                    con.run(f"SET {row['key']} = '{value}'")
                except ServerError:
                    continue
                accepted += 1
                try:
                    with login(p, timeout=2) as c:
                        c.ask(b"Q\0\0\0\rSELECT 1\0")
                except (ServerError, WireError, OSError):
                    pass                    # it may well refuse this client, aloud
                assert p.alive(), f"{row['key']} = {value}:\n{p.log_text()[-2000:]}"
                con.run(f"SET {row['key']} = '{row['value'] or ''}'")
    assert accepted > 60
    with login(p) as c:
        assert c.value("SELECT 1") == "1"
    assert os.path.exists(p.ini)
