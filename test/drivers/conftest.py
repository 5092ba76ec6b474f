"""The door: one Penstock per module, 10 servers in transaction mode, for drivers that know nothing of it.

PENSTOCK_DIRECT=1 gives the drivers PostgreSQL itself instead, with fewer clients: that is how the
programs are proved to be right before Penstock is said to be wrong.  A proxy that died in one test
fails that test and is started anew for the next.
"""
import os
import threading

import pytest

from support.common import DB, SECRET, USER
from support.penstock import Penstock
from support.procs import wait_for

SERVERS = 10


def direct():
    return bool(os.environ.get("PENSTOCK_DIRECT"))


class Door:
    """Where a driver connects and with what; proxy is None when it is PostgreSQL itself."""

    def __init__(self, pg, secret_for_proxy):
        self.pg, self.secret_for_proxy, self.proxy = pg, secret_for_proxy, None
        self.user, self.secret, self.db, self.host = USER, SECRET, DB, "127.0.0.1"
        self.clients = 80 if direct() else 200
        self.servers = 1000 if direct() else SERVERS
        self.open()

    def open(self):
        if direct():
            self.port = self.pg.port
            return
        self.proxy = Penstock(cluster=self.pg, pool_size=SERVERS, check_on_stop=False,
                              users={self.user: self.secret_for_proxy})
        self.port = self.proxy.port

    def ensure(self):
        if self.proxy and not self.proxy.alive():
            self.proxy.close()
            self.open()

    def dsn(self, scheme="postgresql"):
        secret = self.secret.replace(" ", "%20")
        return f"{scheme}://{self.user}:{secret}@{self.host}:{self.port}/{self.db}"

    def env(self):
        """What the programs of other languages get; libpq's names where it has one."""
        out = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        out.update(PGHOST=self.host, PGPORT=str(self.port), PGUSER=self.user, PGPASSWORD=self.secret,
                   PGDATABASE=self.db, PGSSLMODE="disable", DRIVER_CLIENTS=str(self.clients),
                   DRIVER_SERVERS=str(self.servers))
        return out

    def verify(self):
        """The proxy lives, its log is clean, and it holds no more servers than it may."""
        if not self.proxy:
            return
        assert self.proxy.alive(), "the proxy died:\n" + self.proxy.log_text()[-3000:]
        self.proxy.check_log()
        held = len(self.pg.backends(self.db, f"usename = '{self.user}'"))
        assert held <= self.servers, f"{held} servers for a pool of {self.servers}"

    def wait_rest(self):
        """No statement is left running and no transaction left open once the clients are gone."""
        wait_for(lambda: not self.pg.backends(self.db, "state <> 'idle'"), 10,
                 lambda: f"rest: {self.pg.backends(self.db)}")


class Watch:
    """Counts the backends of the database while a block runs."""

    def __init__(self, door):
        self.door, self.most, self.end = door, 0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _run(self):
        with self.door.pg.admin() as c:
            while not self.end.wait(0.05):
                n = int(c.query("SELECT count(*) FROM pg_stat_activity WHERE usename = "
                                f"'{self.door.user}' AND datname = '{self.door.db}'")[0][0])
                self.most = max(self.most, n)

    def __exit__(self, *exc):
        self.end.set()
        self.thread.join()


TABLES = """
DROP SCHEMA IF EXISTS drv CASCADE;
CREATE SCHEMA drv;
CREATE TABLE drv.item (id int PRIMARY KEY, who text NOT NULL, note text);
CREATE TABLE drv.load (id int, who text, v numeric);
CREATE TABLE drv.copied (id int, who text, v numeric, b bytea);
"""


def open_door(pg, verifier):
    pg.sql(f"SET ROLE {USER};" + TABLES, DB)
    secret = SECRET
    if verifier:
        secret = pg.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")
    return Door(pg, secret)


@pytest.fixture(scope="module")
def shared_door(request, pg):
    """A module that says VERIFIER = True gets a userlist with the SCRAM verifier only."""
    door = open_door(pg, getattr(request.module, "VERIFIER", False))
    yield door
    if door.proxy:
        if door.proxy.alive():
            door.proxy.check_on_stop = True
        door.proxy.close()


@pytest.fixture
def door(shared_door):
    shared_door.ensure()
    yield shared_door
    shared_door.verify()
    shared_door.wait_rest()


@pytest.fixture
def watch(door):
    """with watch() as w: ...; afterwards the pool must not have been exceeded."""
    made = []

    def start():
        made.append(Watch(door))
        return made[-1]

    yield start
    for w in made:
        assert w.most <= door.servers, f"{w.most} servers at once for a pool of {door.servers}"
