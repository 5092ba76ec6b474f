"""One transaction-mode proxy in front of the shared PostgreSQL, for tests that leave it healthy."""
import pytest

from support.common import DB, SECRET, USER
from support.penstock import Penstock


class Front:
    """The proxy and how to log in to it."""

    def __init__(self, penstock, pg):
        self.penstock, self.pg, self.port = penstock, pg, penstock.port

    def connect(self, **params):
        return self.penstock.connect(USER, SECRET, params.pop("db", DB), **params)

    def works(self):
        """A new client is served: the proof that nobody else was hurt."""
        with self.connect() as c:
            assert c.value("SELECT 'served'") == "served"


@pytest.fixture(scope="module")
def shared_front(pg):
    penstock = Penstock(cluster=pg, pool_size=5, users={USER: SECRET, "other": "other secret"})
    yield Front(penstock, pg)
    penstock.close()


@pytest.fixture
def front(shared_front):
    """If a test kills the proxy, that test fails, and the next ones get a new proxy."""
    yield shared_front
    p = shared_front.penstock
    if not p.alive():
        code, text = p.child.poll(), p.log_text()[-3000:]
        p.kill()
        p.start()
        pytest.fail(f"the proxy died with {code}:\n{text}")
