"""psycopg2: simple protocol only, threads, named cursors, copy_expert, cancel, notifications, 2PC."""
import io
import os
import select
import socket
import threading

import psycopg2
import psycopg2.extras
import pytest
from psycopg2 import errors

pytestmark = pytest.mark.full


def connect(door, **kw):
    return psycopg2.connect(host=door.host, port=door.port, user=door.user, password=door.secret,
                            dbname=door.db, sslmode="disable", connect_timeout=40, **kw)


@pytest.fixture
def conn(door):
    """libpq waits inside C, where no signal of ours gets through: its socket is shut instead."""
    c = connect(door)
    with socket.socket(fileno=os.dup(c.fileno())) as twin:
        late = threading.Timer(40, twin.shutdown, (socket.SHUT_RDWR,))
        late.start()
        yield c
        late.cancel()
        late.join()
    c.close()


def ask(conn, sql, values=None):
    with conn.cursor() as cur:
        cur.execute(sql, values)
        return cur.fetchone()


def run(conn, sql, values=None):
    with conn.cursor() as cur:
        cur.execute(sql, values)


def test_login_and_refusal(door, conn):
    assert ask(conn, "SELECT current_user") == (door.user,)
    with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
        psycopg2.connect(host=door.host, port=door.port, user=door.user, password="wrong", dbname=door.db)


def test_session_settings_of_the_driver(conn):
    conn.set_session(isolation_level="serializable", readonly=True, autocommit=False)
    assert ask(conn, "SHOW transaction_isolation") == ("serializable",)
    with pytest.raises(errors.ReadOnlySqlTransaction):
        run(conn, "DELETE FROM drv.item")
    conn.rollback()
    conn.set_session(isolation_level="default", readonly="default", autocommit=True)
    conn.set_client_encoding("LATIN1")
    assert ask(conn, "SELECT %s, length(%s)", ("é", "é")) == ("é", 1)


def test_transactions(conn):
    run(conn, "DELETE FROM drv.item")
    conn.commit()
    run(conn, "INSERT INTO drv.item VALUES (1, 'a'); SAVEPOINT s")
    with pytest.raises(errors.UniqueViolation) as e:
        run(conn, "INSERT INTO drv.item VALUES (1, 'a')")
    assert e.value.diag.constraint_name == "item_pkey"
    with pytest.raises(errors.InFailedSqlTransaction):
        run(conn, "SELECT 1")
    run(conn, "ROLLBACK TO s")
    run(conn, "INSERT INTO drv.item VALUES (3, 'a')")
    conn.commit()
    run(conn, "DELETE FROM drv.item")
    conn.rollback()
    assert ask(conn, "SELECT array_agg(id ORDER BY id) FROM drv.item") == ([1, 3],)


def test_execute_values_and_batch(conn):
    run(conn, "TRUNCATE drv.load")
    with conn.cursor() as cur:
        psycopg2.extras.execute_values(cur, "INSERT INTO drv.load VALUES %s",
                                       [(i, f"v{i}", 0) for i in range(5000)], page_size=500)
        psycopg2.extras.execute_batch(cur, "UPDATE drv.load SET v = %s WHERE id = %s",
                                      [(i, i) for i in range(200)])
    conn.commit()
    assert ask(conn, "SELECT count(*), sum(v) FROM drv.load") == (5000, 199 * 100)


def test_cancel_and_timeout(conn):
    conn.autocommit = True
    for _ in range(3):
        timer = threading.Timer(0.2, conn.cancel)
        timer.start()
        with pytest.raises(errors.QueryCanceled):
            run(conn, "SELECT pg_sleep(20)")
        timer.join()
        assert ask(conn, "SELECT 3") == (3,)
    run(conn, "SET statement_timeout = 100")
    with pytest.raises(errors.QueryCanceled):
        run(conn, "SELECT pg_sleep(20)")
    assert ask(conn, "SHOW statement_timeout") == ("100ms",)


def test_copy(conn):
    run(conn, "TRUNCATE drv.copied")
    text = "".join(f"{i}\tw{i}\t{i}.5\t\\\\x00ff\n" for i in range(20000))
    with conn.cursor() as cur:
        cur.copy_expert("COPY drv.copied FROM STDIN", io.StringIO(text))
        out = io.StringIO()
        cur.copy_expert("COPY (SELECT * FROM drv.copied ORDER BY id) TO STDOUT", out)
        assert out.getvalue() == text
        conn.commit()
        with pytest.raises(errors.InvalidTextRepresentation):
            cur.copy_expert("COPY drv.copied FROM STDIN", io.StringIO("x\ty\n" * 50000))
    conn.rollback()
    assert ask(conn, "SELECT count(*) FROM drv.copied") == (20000,)


def test_copies_that_fail_while_data_is_under_way(conn):
    """The server's error meets data that is half forwarded, each time at another place."""
    for n in range(150):
        with conn.cursor() as cur, pytest.raises(errors.InvalidTextRepresentation):
            cur.copy_expert("COPY drv.copied FROM STDIN", io.StringIO("x\ty\n" * (20000 + 300 * n)))
        conn.rollback()
        assert ask(conn, "SELECT %s", (n,)) == (n,)


def test_named_cursors(conn):
    with conn.cursor("paged") as cur:
        cur.itersize = 70
        cur.execute("SELECT generate_series(1, 1000)")
        assert [r[0] for r in cur] == list(range(1, 1001))
    conn.commit()
    with conn.cursor("kept", withhold=True) as cur:
        cur.execute("SELECT generate_series(1, 10)")
        conn.commit()
        assert cur.fetchmany(3) == [(1,), (2,), (3,)]
        conn.commit()
        assert cur.fetchone() == (4,)
    conn.commit()


def test_large_object(conn):
    lob = conn.lobject(0, "wb")
    lob.write(b"abc" * 100000)
    oid = lob.oid
    lob.close()
    conn.commit()
    assert conn.lobject(oid, "rb").read() == b"abc" * 100000
    conn.lobject(oid).unlink()
    conn.commit()


def test_notifications_and_two_phase(door, conn):
    conn.autocommit = True
    run(conn, "LISTEN drv_two")
    other = connect(door)
    run(other, "SELECT pg_notify('drv_two', 'it''s')")
    other.commit()
    assert select.select([conn], [], [], 10)[0]
    conn.poll()
    assert (conn.notifies[0].channel, conn.notifies[0].payload) == ("drv_two", "it's")
    xid = other.xid(9, "penstock", "two")
    other.tpc_begin(xid)
    run(other, "INSERT INTO drv.load VALUES (-9, 'tpc', 0)")
    other.tpc_prepare()
    other.tpc_rollback()
    assert ask(conn, "SELECT count(*) FROM drv.load WHERE id = -9") == (0,)
    other.close()


def one_client(door, i, failures, pids):
    who = f"two-{i}"
    try:
        c = connect(door)
        run(c, f"SET app.who = '{who}'")
        c.commit()
        for turn in range(4):
            row = ask(c, "SELECT %s, current_setting('app.who'), pg_backend_pid()", (who,))
            assert row[:2] == (who, who), f"{who} got {row}"
            pids.add(row[2])
            run(c, "INSERT INTO drv.load VALUES (%s, %s, %s)", (i, who, turn))
            (c.rollback if turn % 2 else c.commit)()
        assert ask(c, "SELECT count(*) FROM drv.load WHERE who = %s", (who,)) == (2,)
        c.close()
    except Exception as e:
        failures.append(e)


def test_many_clients(door, watch):
    failures, pids = [], set()
    threads = [threading.Thread(target=one_client, args=(door, i, failures, pids))
               for i in range(door.clients)]
    with watch():
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not failures, failures[0]
    assert len(pids) <= door.servers
