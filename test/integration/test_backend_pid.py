"""The numbers clients know themselves by: pg_cancel_backend and pg_terminate_backend on Penstock's own."""
import time

import pytest

from support import pgwire as w
from support.common import DB, SECRET, USER
from support.penstock import ADMIN, ADMIN_SECRET
from support.pgwire import Closed, ServerError
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only
WORKERS = pytest.mark.parametrize("workers", [1, 3])


def login(p, user=USER, secret=SECRET, db=DB, **kw):
    return p.connect(user, secret, db, **kw)


def running(pg, mark):
    return wait_for(lambda: pg.backends(DB, f"state = 'active' AND query LIKE '%{mark}%'"), 5, mark)


@WORKERS
def test_cancel_stops_the_query_and_nothing_else(pg, proxy, workers):
    p = proxy(pg, pool_size=4, config={"workers": workers})
    victims = [login(p) for _ in range(3)]
    killers = [login(p) for _ in range(3)]
    assert all(c.pid >= 4194305 for c in victims + killers)
    for v, k in zip(victims, killers):
        v.send(w.query(f"SELECT pg_sleep(30) /* victim {v.pid} */"))
        running(pg, f"victim {v.pid}")
        shape = k.ask(w.query(f"SELECT pg_cancel_backend({v.pid})"))
        assert w.types_of(shape) == "TDCZ" and w.rows_of(shape) == [["t"]]
        column = shape[0].fields["columns"][0]
        assert column["name"] == "pg_cancel_backend"
        assert w.errors_of(v.read_until())[0]["C"] == "57014"
        assert v.value("SELECT 1") == "1" and k.value("SELECT 2") == "2"
        assert k.value(f"SELECT pg_cancel_backend({v.pid})") == "t"     # idle: nothing to cancel
        assert v.value("SELECT 3") == "3"


@WORKERS
def test_terminate_closes_the_client(pg, proxy, workers):
    p = proxy(pg, pool_size=4, config={"workers": workers})
    idle, busy, in_tx = login(p), login(p), login(p)
    k = login(p)
    busy.send(w.query("SELECT pg_sleep(30) /* busy one */"))
    in_tx.query("BEGIN")
    running(pg, "busy one")
    for v in (idle, busy, in_tx):
        assert k.value(f"SELECT pg_catalog.pg_terminate_backend({v.pid});") == "t"
        m = v.read_until("E")[-1]
        assert (m.fields["S"], m.fields["C"]) == ("FATAL", "57P01")
        with pytest.raises(Closed):
            v.read()
    wait_for(lambda: not pg.backends(DB, "state = 'active' AND query LIKE '%busy one%'"), 5, "an end")
    assert k.value("SELECT 1") == "1"


@WORKERS
def test_waiting_client_leaves_the_queue(pg, proxy, workers):
    p = proxy(pg, pool_size=1, config={"workers": workers})
    k, v = login(p), login(p)
    k.query("BEGIN")
    v.send(w.query("SELECT 1"))
    wait_for(lambda: p.pool(DB)["cl_waiting"] == 1, 5, "a waiting client")
    assert k.value(f"SELECT pg_cancel_backend({v.pid})") == "t"
    assert w.errors_of(v.read_until())[0]["C"] == "57014"
    k.query("COMMIT")
    assert v.value("SELECT 1") == "1"


@WORKERS
def test_only_the_same_user_or_an_admin_may(pg, proxy, workers):
    p = proxy(pg, pool_size=4, config={"workers": workers, "admin_users": f"{ADMIN},other"})
    v = login(p, "other", "other secret")
    v.query("SELECT 1")
    k = login(p)
    with pytest.raises(ServerError) as e:
        k.query(f"SELECT pg_terminate_backend({v.pid})")
    assert e.value.code == "42501"
    assert v.value("SELECT 1") == "1" and k.value("SELECT 1") == "1"
    assert v.value(f"SELECT pg_terminate_backend({k.pid})") == "t"
    assert k.read_until("E")[-1].fields["C"] == "57P01"


@WORKERS
def test_clients_of_another_database_are_out_of_reach(pg, proxy, workers):
    p = proxy(pg, pool_size=4, config={"workers": workers})
    v, k = login(p, db="second"), login(p)
    v.query("SELECT 1")
    msgs = k.ask(w.query(f"SELECT pg_terminate_backend({v.pid})"))
    assert w.rows_of(msgs) == [["f"]] and "N" in w.types_of(msgs)    # PostgreSQL's own answer
    assert v.value("SELECT 1") == "1"
    assert k.value("SELECT pg_cancel_backend(2000000000)") == "f"
    with p.console() as con:
        assert k.value(f"SELECT pg_terminate_backend({con.client.pid})") == "f"


def test_numbers_of_postgres_are_for_postgres(pg, proxy):
    p = proxy(pg, pool_size=4)
    v, k = login(p), login(p)
    v.query("BEGIN")
    pid = v.value("SELECT pg_backend_pid()")
    assert k.value(f"SELECT pg_terminate_backend({pid})") == "t"
    with pytest.raises((ServerError, w.WireError)):
        v.query("SELECT 1")
        v.query("SELECT 1")


def test_answers_stay_in_order_and_in_the_transaction(pg, proxy):
    p = proxy(pg, pool_size=4)
    v, k = login(p), login(p)
    kill = w.query(f"SELECT pg_cancel_backend({v.pid})")
    msgs = k.ask(w.query("SELECT 1, pg_sleep(0.1)"), kill, w.query("SELECT 3"), count=3)
    assert [r[0] for r in w.rows_of(msgs)] == ["1", "t", "3"]
    msgs = k.ask(w.query("BEGIN"), kill, w.query("ROLLBACK"), count=3)
    assert [m.fields["status"] for m in msgs if m.type == "Z"] == ["T", "T", "I"]
    k.query("BEGIN")
    with pytest.raises(ServerError):
        k.query("SELECT 1/0")
    with pytest.raises(ServerError) as e:
        w.rows_of(k.ask(kill))
    assert e.value.code == "25P02"
    k.query("ROLLBACK")


def test_client_may_end_itself(pg, proxy):
    p = proxy(pg, pool_size=2)
    c = login(p)
    c.send(w.query(f"SELECT pg_terminate_backend({c.pid})"))
    assert c.read_until("E")[-1].fields["C"] == "57P01"
    began = time.monotonic()
    with login(p) as d:
        assert d.value("SELECT 1") == "1"
    assert time.monotonic() - began < 5
