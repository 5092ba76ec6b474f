"""Behaviours 14 to 25, 28, 29, 76, 77, 80, 82, 92, 93, 128, 129: the scripts of scripts.py, played
directly and through the proxy in each pool mode.  Four servers are handed out in turn, so that in
transaction and statement mode each transaction of a script lands on another one than the last."""
import pytest

from scripts import ALL
from support.diff import MODES, compare
from support.pgwire import query

from support.common import DB, SECRET, USER


@pytest.fixture(scope="module")
def proxies(pg):
    from support.penstock import Penstock
    made = {m: Penstock(cluster=pg, mode=m, pool_size=4, users={USER: SECRET},
                        config={"server_round_robin": 1}) for m in MODES}
    for p in made.values():
        open_servers(p, 4)
    yield made
    for p in made.values():
        p.close()


def open_servers(proxy, count):
    clients = [proxy.connect(USER, SECRET, DB) for _ in range(count)]
    for c in clients:
        c.send(query("SELECT pg_sleep(0.3)"))
    pids = len({c.read_until() and c.value("SELECT pg_backend_pid()") for c in clients})
    for c in clients:
        c.close()
    assert pids > 1 or count == 1


CASES = [(script, mode) for script in ALL for mode in script.modes]


@pytest.mark.parametrize("script, mode", CASES, ids=[f"{s.name}-{m}" for s, m in CASES])
def test_same_messages(pg, proxies, script, mode):
    with pg.connect(USER, SECRET, DB) as direct, proxies[mode].connect(USER, SECRET, DB) as proxied:
        compare(script, direct, proxied)
