"""Fixtures and rules for every pytest suite: timeouts, leftovers, one PostgreSQL per run.

PENSTOCK_PG=18 runs everything on that version instead of 15.
Markers: timeout(seconds) replaces the default of 60; full runs only with FULL=1 (make check-all);
penstock_only is skipped when PENSTOCK_BIN is a pgbouncer, which proves the harness, not the product;
cluster: `run.py cluster` has it.
"""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from support import procs  # noqa: E402
from support.common import DB, SECRET, USER  # noqa: E402
from support.cluster import NotAvailable, PgCluster  # noqa: E402
from support.http import Http  # noqa: E402
from support.penstock import Penstock, is_pgbouncer  # noqa: E402
from support.redis import Redis  # noqa: E402
from support.trio import Trio  # noqa: E402

DEFAULT_TIMEOUT = 60


def interrupted(_signo, _frame):
    raise KeyboardInterrupt


def pytest_configure(config):
    procs.install()
    # pytest takes SystemExit for a failed test and goes on; KeyboardInterrupt ends the run.
    for signo in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(signo, interrupted)
    for line in ("timeout(seconds): limit for this test", "full: only in check-all",
                 "penstock_only: what PgBouncer does not do",
                 "cluster: part of the suite `cluster`, which sanitizer builds run, too"):
        config.addinivalue_line("markers", line)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("full") and not os.environ.get("FULL"):
            item.add_marker(pytest.mark.skip(reason="runs in make check-all"))
        if item.get_closest_marker("penstock_only") and is_pgbouncer():
            item.add_marker(pytest.mark.skip(reason="PgBouncer does not do this"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """The limit covers set-up, call and tear-down; it interrupts the main thread wherever it is."""
    mark = item.get_closest_marker("timeout")
    limit = mark.args[0] if mark else DEFAULT_TIMEOUT

    def late(_signo, _frame):
        signal.setitimer(signal.ITIMER_REAL, limit / 2)     # tear-down must end too
        pytest.fail(f"timeout: more than {limit} s")

    old = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)


def pytest_sessionfinish():
    procs.close_all()
    left = [p for p in procs.descendants() if p["state"] != "Z"]
    if left:
        print(f"left behind: {left}")


def new_cluster(**kw):
    """A PostgreSQL with the role and database that every suite uses."""
    kw.setdefault("version", int(os.environ.get("PENSTOCK_PG", "15")))
    try:
        pg = PgCluster(**kw)
    except NotAvailable as e:
        pytest.skip(str(e))
    pg.role(USER, SECRET)
    pg.role("other", "other secret")
    pg.database(DB, USER)
    pg.database("second", USER)
    return pg


@pytest.fixture(scope="session")
def pg():
    """Shared by all tests of a run: do not stop it, do not change its settings.  For that: own_pg."""
    cluster = new_cluster()
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def rights(pg):
    """Roles that may set more than the user who logs in, and a login that may become anybody."""
    pg.role("boss", "boss secret")
    pg.sql("ALTER ROLE boss SUPERUSER; CREATE ROLE strong SUPERUSER; CREATE ROLE weak; CREATE ROLE weaker; "
           f"GRANT strong, weak TO {USER}; GRANT weak TO weaker")
    return pg


@pytest.fixture
def own_pg():
    """A function that makes a PostgreSQL of the test's own."""
    made = []

    def make(**kw):
        made.append(new_cluster(**kw))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def proxy(request):
    """A function that starts Penstock; every one is stopped, and how it stopped is checked."""
    made = []

    def start(cluster=None, **kw):
        kw.setdefault("users", {USER: SECRET, "other": "other secret"})
        made.append(Penstock(cluster=cluster, **kw))
        return made[-1]

    yield start
    failed = getattr(request.node, "failed_call", False)
    for p in made:
        if failed:
            print("log of the proxy:\n" + p.log_text()[-3000:])
    errors = []
    for p in made:
        try:
            p.close()
        except Exception as e:
            errors.append(e)
    if errors:
        raise errors[0]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call" and outcome.get_result().failed:
        item.failed_call = True


@pytest.fixture(scope="module")
def trio():
    """A primary with two replicas; a file that wants them otherwise has a fixture of this name."""
    t = Trio()
    yield t
    t.close()


@pytest.fixture
def http():
    """A port for Penstock's HTTP."""
    port = Http()
    yield port
    port.close()


@pytest.fixture
def redis():
    server = Redis()
    yield server
    server.close()
