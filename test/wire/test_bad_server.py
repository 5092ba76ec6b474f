"""Behaviours 35 to 39 and 139: servers that misbehave, played by scripts.

Whatever a server says, only the client it was talking for is hurt, with an error or a close; the proxy
opens another server and lives on.
"""
import struct

import pytest

from support import pgwire as w
from support.common import SECRET, USER
from support.fake_server import FakeServer
from support.pgwire import Closed, ServerError, WireError
from support.penstock import Penstock
from support.procs import rss_kb, wait_for

OK = w.select_reply(["a"], [["ok"]])
SHORT = {"server_connect_timeout": 2, "client_login_timeout": 5, "query_wait_timeout": 5,
         "server_check_delay": 3600}


class Bad:
    """A proxy of one pool in front of one scripted server."""

    def __init__(self, script=None, answers=None, mode="transaction", pool_size=1, auth="trust",
                 secret="", **config):
        self.server = FakeServer(script, answers, auth, secret)
        self.penstock = Penstock({"app": self.server.database()}, mode=mode, pool_size=pool_size,
                                 users={USER: SECRET}, config={**SHORT, **config})

    def connect(self, **kw):
        return self.penstock.connect(USER, SECRET, "app", **kw)

    def outcome(self, sql):
        """What a fresh client gets for sql: rows, the error's SQLSTATE, "closed", or "broken" when
        the server's malformed message was passed on."""
        try:
            with self.connect() as c:
                return c.query(sql)
        except ServerError as e:
            return e.code
        except Closed:
            return "closed"
        except WireError:
            return "broken"

    def __enter__(self):
        return self

    def __exit__(self, kind, *exc):
        self.penstock.__exit__(kind, *exc)
        self.server.__exit__(kind, *exc)


def good_later(bad, sql="SELECT good"):
    """The scripts below misbehave once; after that a new client is served by a new server."""
    with bad.connect() as c:
        assert c.query(sql) == [["ok"]]


@pytest.mark.parametrize("method", ["trust", "password", "md5", "scram-sha-256"])
def test_login_to_the_server_by_every_method(method):
    with Bad(answers={"SELECT good": OK}, auth=method, secret=SECRET) as bad:
        good_later(bad)


@pytest.mark.parametrize("reply", [
    pytest.param(b"\xff" * 64, id="garbage"),
    pytest.param(b"\0" * 64, id="zeros"),
    pytest.param(b"T" + struct.pack("!i", -1), id="negative length"),
    pytest.param(b"T" + struct.pack("!i", 3), id="length 3"),
    pytest.param(b"D" + struct.pack("!i", -2 ** 31) + b"x" * 50, id="smallest length"),
    pytest.param(b"", id="nothing, then close"),
    pytest.param(OK[:7], id="half a message, then close"),
    pytest.param(OK[:-3], id="half an idle marker, then close"),
    pytest.param(w.row_description(["a"]), id="half a reply, then close"),
    pytest.param(w.frame("Z", b""), id="idle marker without state"),
    pytest.param(w.frame("Z", b"Q"), id="idle marker with unknown state"),
    pytest.param(w.frame("E", b""), id="empty error, then close"),
    pytest.param(w.frame("E", b"Mtext"), id="error without end, then close"),
    pytest.param(w.error_response("fatal", "57P01", "FATAL"), id="fatal error, then close"),
    pytest.param(w.frame("S", b"name without value"), id="half a setting, then close"),
    pytest.param(w.authentication(3), id="asks for a password, then close"),
    pytest.param(w.frame("G", b"\0"), id="short copy response, then close"),
    pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_bad_reply_hurts_only_its_client(reply, mode):
    def answer(conn, _msg):
        conn.send(reply)
        conn.sock.close()
        raise Closed

    with Bad(answers={"SELECT bad": answer, "SELECT good": OK}, mode=mode) as bad:
        good_later(bad)
        got = bad.outcome("SELECT bad")
        assert got != [["ok"]] and not isinstance(got, list), got
        assert bad.penstock.alive()
        good_later(bad)


@pytest.mark.parametrize("reply", [
    pytest.param(w.frame("E", b"SERROR\0Mno code\0\0") + w.ready(), id="no code"),
    pytest.param(w.frame("E", b"\0") + w.ready(), id="no field"),
    pytest.param(w.frame("E", b"C\0M\0\0") + w.ready(), id="empty fields"),
    pytest.param(w.frame("E", b"C" + b"x" * 5000 + b"\0M" + b"m" * 100000 + b"\0\0") + w.ready(),
                 id="long fields"),
    pytest.param(w.frame("N", b"\0") + w.frame("E", b"\0") + w.ready(), id="notice without field"),
])
def test_error_with_odd_fields_passes_and_the_connection_lives(reply):
    with Bad(answers={"SELECT bad": reply, "SELECT good": OK}) as bad:
        with bad.connect() as c:
            msgs = c.ask(w.query("SELECT bad"))
            assert w.types_of(msgs)[-2:] == "EZ"
            assert c.query("SELECT good") == [["ok"]]


@pytest.mark.parametrize("reply", [
    w.error_response("no code", None, "FATAL"), w.frame("E", b"\0"), w.frame("E", b""),
    b"E" + struct.pack("!i", -5), b"R" + struct.pack("!i", 2 ** 31 - 1), w.frame("R", b""),
    w.frame("R", b"\0\0"), w.authentication(5, b"ab"), w.authentication(10, b""),
    w.authentication(10, b"UNKNOWN\0\0"), w.authentication(11, b"r=x"), w.authentication(99),
    w.authentication(12, b"v=x"), w.authentication(7), w.ready(), w.data_row(["x"]), b"\xff" * 30,
    w.authentication(0) + w.frame("K", b"1"), w.authentication(0) + w.frame("S", b"x"), b"",
], ids=range(20))
def test_bad_login_by_the_server_is_an_error_for_the_client(reply):
    state = {"bad": True}

    def script(conn):
        if state["bad"]:
            conn.send(reply)
            conn.sock.close()
            raise Closed
        conn.login()
        conn.serve({"SELECT good": OK})

    with Bad(script, server_login_retry=0.1) as bad:
        got = bad.outcome("SELECT good")
        assert isinstance(got, str), got
        assert bad.penstock.alive()
        state["bad"] = False
        wait_for(lambda: bad.outcome("SELECT good") == [["ok"]], 10, "the pool to recover")


def test_server_nonce_of_100_kilobytes():
    def script(conn):
        conn.send(w.authentication(10, b"SCRAM-SHA-256\0\0"))
        r = w.Reader(conn.expect("p").raw)
        r.s()
        nonce = r.value().decode().rsplit("r=", 1)[1]
        conn.send(w.authentication(11, f"r={nonce}{'n' * 100000},s=QUFBQQ==,i=4096".encode()))
        conn.read()
        conn.sock.close()
        raise Closed

    with Bad(script) as bad:
        assert isinstance(bad.outcome("SELECT 1"), str)
        assert bad.penstock.alive()


@pytest.mark.parametrize("final", [b"v=AAAA", b"v=", b"", b"e=other-error", b"x" * 5000])
def test_server_that_cannot_prove_itself_is_not_used(final):
    """A server that does not know the password must not get queries."""
    def script(conn):
        conn.send(w.authentication(10, b"SCRAM-SHA-256\0\0"))
        r = w.Reader(conn.expect("p").raw)
        r.s()
        nonce = r.value().decode().rsplit("r=", 1)[1]
        conn.send(w.authentication(11, f"r={nonce}srv,s=QUFBQUFBQUFBQUFBQUFBQQ==,i=4096".encode()))
        conn.read()
        conn.send(w.authentication(12, final))
        conn.welcome()
        conn.serve({"SELECT secret": OK})

    with Bad(script) as bad:
        assert isinstance(bad.outcome("SELECT secret"), str)
        assert "SELECT secret" not in bad.server.statements()


@pytest.mark.parametrize("extra", [
    pytest.param(OK, id="a second reply"), pytest.param(w.data_row(["stray"]), id="a stray row"),
    pytest.param(w.ready(), id="a second idle marker"), pytest.param(b"\xff" * 9, id="garbage"),
    pytest.param(w.data_row(["stray"])[:6], id="half a row"),
])
def test_unsolicited_bytes_never_reach_the_next_client(extra):
    """The bytes come when the server is idle; the next result must not begin with them."""
    def late(conn, _msg):
        conn.send(OK)
        # The proxy gives the server back on the idle marker; what follows belongs to nobody.
        conn.sent = wait_for(lambda: bad.served, 5, "the client to have its reply")
        conn.send(extra)
        bad.stray = True

    with Bad(answers={"SELECT first": late, "SELECT good": OK}) as bad:
        bad.served = bad.stray = False
        with bad.connect() as c:
            assert c.query("SELECT first") == [["ok"]]
            bad.served = True
            wait_for(lambda: bad.stray, 5, "the stray bytes")
            for _ in range(3):
                try:
                    msgs = c.ask(w.query("SELECT good"))
                except Closed:
                    break           # allowed: the server was in doubt, its client is closed
                assert w.types_of(msgs) in ("TDCZ", "EZ", "E"), msgs
                assert w.errors_of(msgs) or w.rows_of(msgs) == [["ok"]]
        good_later(bad)


def test_unsolicited_bytes_glued_to_the_reply():
    """A row after the idle marker, in one write: not part of this result nor of the next."""
    with Bad(answers={"SELECT bad": OK + w.data_row(["stray"]), "SELECT good": OK}) as bad:
        with bad.connect() as c:
            try:
                assert c.query("SELECT bad") == [["ok"]]
                assert c.query("SELECT good") == [["ok"]]
            except (ServerError, Closed):
                pass
        good_later(bad)


def test_async_messages_on_an_idle_server_do_no_harm():
    with Bad(answers={"SELECT good": OK + w.parameter_status("TimeZone", "Asia/Tokyo") +
                      w.notice_response("idle notice")}) as bad:
        for _ in range(3):
            good_later(bad)
        assert bad.penstock.alive()


def test_server_that_closes_while_idle_is_replaced_unseen():
    def close_after(conn, _msg):
        conn.send(OK)
        wait_for(lambda: bad.served, 5, "the client to have its reply")
        conn.sock.close()
        bad.closed = True
        raise Closed

    with Bad(answers={"SELECT first": close_after, "SELECT good": OK}) as bad:
        bad.served = bad.closed = False
        with bad.connect() as c:
            assert c.query("SELECT first") == [["ok"]]
            bad.served = True
            wait_for(lambda: bad.closed, 5, "the server to close")
            wait_for(lambda: not pool_servers(bad), 5, "the pool to notice")
            assert c.query("SELECT good") == [["ok"]]


def test_notice_before_the_answer_is_no_part_of_it():
    """The server warns and is lost: nothing of the answer was heard, so the client goes on."""
    def warn_and_close(conn, _msg):
        conn.send(w.notice_response("going down"))
        conn.sock.close()
        raise Closed

    with Bad(answers={"SELECT bad": warn_and_close, "SELECT good": OK}) as bad:
        with bad.connect() as c:
            msgs = c.ask(w.query("SELECT bad"))
            assert w.types_of(msgs) == "NEZ", msgs
            assert c.query("SELECT good") == [["ok"]]


def pool_servers(bad):
    p = bad.penstock.pool("app") or {}
    return sum(p.get(k, 0) for k in ("sv_idle", "sv_active", "sv_used", "sv_tested"))


@pytest.mark.parametrize("cut", range(1, len(OK), 3))
def test_reply_split_anywhere(cut):
    def answer(conn, _msg):
        conn.send(OK[:cut])
        conn.send(OK[cut:])

    with Bad(answers={"SELECT good": answer}) as bad:
        good_later(bad)


def test_reply_in_single_bytes():
    def answer(conn, _msg):
        for i in range(len(OK)):
            conn.send(OK[i:i + 1])

    with Bad(answers={"SELECT good": answer}) as bad:
        with bad.connect() as c:
            for _ in range(20):
                assert c.query("SELECT good") == [["ok"]]


def test_announced_gigabytes_of_a_row_cost_no_memory():
    def answer(conn, _msg):
        conn.send(w.row_description(["a"]) + b"D" + struct.pack("!ihi", 2 ** 30, 1, 2 ** 30 - 10) +
                  b"x" * 1000)
        conn.read()

    with Bad(answers={"SELECT bad": answer, "SELECT good": OK}, pool_size=2) as bad:
        good_later(bad)
        before = rss_kb(bad.penstock.pid)
        c = bad.connect()
        c.send(w.query("SELECT bad"))
        wait_for(lambda: "SELECT bad" in bad.server.statements())
        good_later(bad)
        assert rss_kb(bad.penstock.pid) - before < 8 * 1024
        c.abort()
        good_later(bad)


@pytest.mark.penstock_only
def test_cold_pool_with_a_dead_server_fails_fast():
    with Bad() as bad:
        bad.server.refuse()
        with pytest.raises((ServerError, WireError)) as e:
            with bad.connect(timeout=4) as c:
                c.query("SELECT 1")
        assert isinstance(e.value, ServerError), e.value


def test_vanished_clients_query_is_cancelled_or_its_server_closed():
    def hang(conn, _msg):
        bad.asked = True
        conn.read()

    with Bad(answers={"SELECT hang": hang, "SELECT good": OK}) as bad:
        bad.asked = False
        c = bad.connect()
        c.send(w.query("SELECT hang"))
        wait_for(lambda: bad.asked, 5, "the query to arrive")
        c.abort()
        good_later(bad)


def test_cancel_is_passed_on_with_the_servers_own_key():
    def hang(conn, _msg):
        pid, key = conn.server.wait_cancel()
        assert (pid, key) == (conn.pid, conn.key)
        conn.send(w.error_response("canceled", "57014") + w.ready())

    with Bad(answers={"SELECT hang": hang, "SELECT good": OK}) as bad:
        with bad.connect() as c:
            c.send(w.query("SELECT hang"))
            wait_for(lambda: "SELECT hang" in bad.server.statements())
            c.cancel()
            assert w.errors_of(c.read_until())[0]["C"] == "57014"
            assert c.query("SELECT good") == [["ok"]]
