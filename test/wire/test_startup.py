"""Behaviours 1 to 6, 10, 124, 138, 139: what may come before the login, and the login itself."""
import struct

import pytest

from support.common import DB, SECRET, USER
from support import pgwire as w
from support.pgwire import RawClient, ServerError
from support.procs import rss_kb, wait_for


def first(front):
    return RawClient(front.port)


@pytest.mark.parametrize("before", ["", "s", "g", "sg", "gs"])
def test_encryption_is_refused_and_the_login_goes_on(front, before):
    c = first(front)
    for kind in before:
        c.send(w.ssl_request() if kind == "s" else w.gss_request())
        assert c.recv_raw(1) == b"N"
    c.start(USER, SECRET, DB)
    assert c.value("SELECT 1") == "1"
    c.close()


def test_welcome_has_what_libpq_needs(front):
    with front.connect() as c:
        assert c.status == "I" and c.key
        for name in ("server_version", "client_encoding", "standard_conforming_strings", "DateStyle",
                     "TimeZone", "integer_datetimes"):
            assert c.params.get(name), name


def test_welcome_messages_come_in_order(front):
    c = first(front)
    c.send(w.startup_packet([("user", USER), ("database", DB)]))
    kinds = w.types_of(c.finish_login(USER, SECRET))
    assert kinds.rstrip("Z").endswith("K") and kinds.count("K") == 1 and kinds.count("Z") == 1
    assert "S" in kinds[kinds.rindex("R"):kinds.index("K")]
    c.close()


def test_startup_in_single_bytes(front):
    c = first(front)
    data = w.ssl_request()
    c.send_split(data, *range(1, len(data)))
    assert c.recv_raw(1) == b"N"
    data = w.startup_packet([("user", USER), ("database", DB)])
    c.send_split(data, *range(1, len(data)))
    c.finish_login(USER, SECRET)
    assert c.value("SELECT 1") == "1"
    c.close()


def test_each_client_has_a_key_and_pid_of_its_own(front):
    clients = [front.connect() for _ in range(20)]
    assert len({(c.pid, c.key) for c in clients}) == 20
    assert len({c.key for c in clients}) == 20
    for c in clients:
        c.close()


@pytest.mark.penstock_only
def test_pids_cannot_be_those_of_backends(front):
    with front.connect() as c:
        assert c.pid > 4194304


def test_no_database_means_the_users_name(front):
    c = first(front)
    c.start(USER, SECRET)
    assert c.value("SELECT current_database()") == USER
    c.close()


@pytest.mark.parametrize("data", [
    pytest.param(struct.pack("!i", 0), id="length 0"),
    pytest.param(struct.pack("!i", 7) + b"\0\3\0", id="length 7"),
    pytest.param(struct.pack("!i", -1), id="length -1"),
    pytest.param(struct.pack("!i", -2 ** 31) + b"\0\3\0\0", id="smallest length"),
    pytest.param(struct.pack("!ii", 2 ** 31 - 1, w.PROTOCOL_30), id="largest length"),
    pytest.param(struct.pack("!ii", 10001, w.PROTOCOL_30) + b"a" * 9993, id="over the limit"),
    pytest.param(struct.pack("!ii", 9, w.PROTOCOL_30) + b"\0", id="no user"),
    pytest.param(struct.pack("!ii", 8, w.PROTOCOL_30), id="no terminator"),
    pytest.param(struct.pack("!ii", 13, w.PROTOCOL_30) + b"user\0", id="name without value"),
    pytest.param(struct.pack("!ii", 15, w.PROTOCOL_30) + b"user\0ap", id="value without end"),
    pytest.param(struct.pack("!ii", 8, 2 << 16), id="protocol 2"),
    pytest.param(struct.pack("!ii", 8, 4 << 16), id="protocol 4"),
    pytest.param(struct.pack("!ii", 8, 12345), id="protocol 0"),
    pytest.param(w.query("SELECT 1"), id="a query"),
    pytest.param(w.password("x"), id="a password"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", id="http"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 60, id="tls hello"),
    pytest.param(b"\0" * 200, id="zeros"),
    pytest.param(b"\xff" * 200, id="ones"),
])
def test_malformed_startup_ends_only_this_connection(front, data):
    c = first(front)
    c.send(data)
    if len(data) < 8:
        c.sock.shutdown(1)
    answer = c.recv_all()
    assert answer == b"" or answer[:1] in (b"E", b"\x15"), answer
    c.abort()
    front.works()


@pytest.mark.penstock_only
def test_a_refused_startup_says_why(front):
    c = first(front)
    c.send(struct.pack("!ii", 9, w.PROTOCOL_30) + b"\0")
    error = w.errors_of(c.read_to_end())[0]
    assert error["S"] == "FATAL" and error["C"] == "28000"


def test_announced_gigabytes_cost_no_memory(front):
    before, clients = rss_kb(front.penstock.pid), []
    for i in range(100):
        c = first(front)
        if i % 2:
            c.send(struct.pack("!i", 2 ** 31 - 1) + b"\0")
        else:
            c.send(b"Q" + struct.pack("!i", 2 ** 31 - 1))
        clients.append(c)
    front.works()
    assert rss_kb(front.penstock.pid) - before < 8 * 1024
    for c in clients:
        c.abort()


def test_a_startup_that_stalls_holds_up_nobody(front):
    data = w.startup_packet([("user", USER), ("database", DB)])
    stalled = []
    for n in range(0, len(data), 5):
        c = first(front)
        c.send(data[:n])
        stalled.append(c)
    front.works()
    for c in stalled:
        c.abort()
    front.works()


@pytest.mark.parametrize("rude", [
    w.query("SELECT 1"), w.sync(), b"Z" + struct.pack("!i", 5) + b"I", b"\0\0\0\0\0\0",
    b"p" + struct.pack("!i", -1), b"p" + struct.pack("!i", 3), b"p" + struct.pack("!i", 2 ** 30),
    w.password(b"x" * 70000), w.password(""), w.frame("p"), w.frame("p", b"SCRAM-SHA-256\0\x7f\xff\xff\xff"),
    w.frame("p", b"SCRAM-SHA-256\0\xff\xff\xff\xff"), w.frame("p", b"UNKNOWN\0\0\0\0\0"),
    w.frame("p", b"SCRAM-SHA-256\0\0\0\0\x05n,,n="), w.frame("p", b"\xff" * 50),
], ids=lambda d: repr(d[:24])[2:-1])
def test_wrong_message_instead_of_a_password(front, rude):
    c = first(front)
    c.send(w.startup_packet([("user", USER), ("database", DB)]))
    assert c.read().type == "R"
    c.send(rude)
    if rude[1:5] == struct.pack("!i", 2 ** 30):
        c.sock.shutdown(1)
    msgs = c.read_to_end()
    assert all(m.type == "E" for m in msgs), msgs
    c.abort()
    front.works()


def test_client_that_leaves_in_the_login(front):
    for part in range(3):
        c = first(front)
        c.send(w.startup_packet([("user", USER), ("database", DB)]))
        assert c.read().type == "R"
        if part:
            first_msg = w.ScramClient(SECRET).first()
            c.send(w.frame("p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first_msg)) + first_msg))
            assert c.read().type == "R"
        c.reset() if part == 2 else c.abort()
    front.works()


@pytest.mark.parametrize("user, secret", [(USER, "wrong"), (USER, ""), ("nobody_there", "x")])
def test_wrong_password_and_unknown_user_look_alike(front, user, secret):
    with pytest.raises(ServerError) as e:
        front.penstock.connect(user, secret, DB)
    assert e.value.fields["S"] == "FATAL"
    if not front_is_pgbouncer():
        assert e.value.code == "28P01"
    front.works()


def front_is_pgbouncer():
    from support.penstock import is_pgbouncer
    return is_pgbouncer()


@pytest.mark.penstock_only
def test_unknown_database_has_postgresqls_code(front):
    with pytest.raises(ServerError) as e:
        front.connect(db="absent_database")
    assert e.value.code == "3D000"


@pytest.mark.penstock_only
def test_protocol_32_gets_a_long_key(front):
    with front.connect(version=w.PROTOCOL_32) as c:
        assert 4 < len(c.key) <= 256
        assert c.value("SELECT 1") == "1"


@pytest.mark.penstock_only
@pytest.mark.parametrize("minor, minor_told", [(2, 2), (3, 2), (9999, 2)])
def test_newer_minor_versions_and_unknown_options_are_negotiated(front, minor, minor_told):
    c = first(front)
    c.send(w.startup_packet([("user", USER), ("database", DB), ("_pq_.one", "1"), ("_pq_.two", "x")],
                            3 << 16 | minor))
    msgs = c.finish_login(USER, SECRET)
    told = [m.fields for m in msgs if m.type == "v"]
    assert len(told) == 1 and sorted(told[0]["options"]) == ["_pq_.one", "_pq_.two"]
    assert told[0]["minor"] & 0xffff == minor_told
    assert c.value("SELECT 1") == "1"
    c.close()


def test_protocol_30_is_not_negotiated(front):
    c = first(front)
    c.send(w.startup_packet([("user", USER), ("database", DB)]))
    assert "v" not in w.types_of(c.finish_login(USER, SECRET))
    assert len(c.key) == 4
    c.close()


@pytest.mark.penstock_only
@pytest.mark.parametrize("options, show", [
    ("-c work_mem=123kB", {"work_mem": "123kB"}),
    ("-cwork_mem=124kB --statement_timeout=12345", {"work_mem": "124kB",
                                                     "statement_timeout": "12345ms"}),
    ("-c search_path=pg_catalog,public", {"search_path": "pg_catalog,public"}),
    (r"-c search_path=pg_catalog,\ public", {"search_path": "pg_catalog, public"}),
    (r"-c app.tenant=a\ -c\ work_mem=1MB", {"app.tenant": "a -c work_mem=1MB", "work_mem": "4MB"}),
    ("-c statement-timeout=777", {"statement_timeout": "777ms"}),
    ("", {"work_mem": "4MB"}),
    ("   ", {"work_mem": "4MB"}),
])
def test_startup_options_mean_what_they_mean_to_postgresql(front, pg, options, show):
    for c in (pg.connect(USER, SECRET, DB, options=options), front.connect(options=options)):
        for name, value in show.items():
            assert c.value(f"SHOW {name}") == value
        c.close()


@pytest.mark.penstock_only
@pytest.mark.parametrize("options", ["-c work_mem=nonsense", "-c absent_setting=1", "-x", "-c"])
def test_startup_options_that_postgresql_refuses(front, pg, options):
    with pytest.raises(ServerError) as want:
        pg.connect(USER, SECRET, DB, options=options)
    with pytest.raises(ServerError) as got:
        front.connect(options=options)
    assert (got.value.code, got.value.fields["S"]) == (want.value.code, want.value.fields["S"])


@pytest.mark.penstock_only
def test_startup_settings_are_the_clients(front):
    with front.connect(application_name="mine", TimeZone="Asia/Tokyo", DateStyle="German") as a, \
            front.connect() as b:
        for _ in range(3):
            assert a.value("SHOW TimeZone") == "Asia/Tokyo" and a.params["TimeZone"] == "Asia/Tokyo"
            assert b.value("SHOW TimeZone") == "UTC"
            assert a.value("SHOW application_name") == "mine"
            assert b.value("SHOW application_name") == ""
            assert a.value("SELECT date '2020-02-01'") == "01.02.2020"
        a.query("SET TimeZone = 'Europe/Paris'")
        a.query("RESET ALL")
        assert a.value("SHOW TimeZone") == "Asia/Tokyo"


@pytest.mark.parametrize("length", [3, 0, -1, -2 ** 31])
def test_impossible_length_after_login(front, length):
    c = front.connect()
    c.send(b"Q" + struct.pack("!i", length) + b"SELECT 1\0")
    msgs = c.read_to_end()
    assert all(m.type in "EN" for m in msgs)
    front.works()


@pytest.mark.parametrize("letter", [b"\0", b"R", b"K", b"\xff", b"!"])
def test_unknown_message_after_login(front, letter):
    c = front.connect()
    c.send(letter + struct.pack("!i", 8) + b"abcd")
    msgs = c.read_to_end()
    assert w.types_of(msgs) in ("", "E")
    front.works()


@pytest.mark.parametrize("version", [w.PROTOCOL_30, w.PROTOCOL_32])
def test_cancel_with_a_wrong_key_does_nothing(front, version):
    """Nor does a part of the right one."""
    with front.connect(version=version) as c:
        c.send(w.query("SELECT pg_sleep(1), 'slept'"))
        wait_for(lambda: front.pg.backends(DB, "query LIKE '%pg_sleep(1)%' AND state = 'active'"))
        wrong = [b"\0\0\0\0", b"", b"x" * 256, bytes([c.key[0] ^ 1]) + c.key[1:],
                 c.key[:-1] + bytes([c.key[-1] ^ 1]), c.key + b"\0"]
        for key in [c.key[:n] for n in (4, 8, 16) if n < len(c.key)] + wrong:
            k = RawClient(front.port)
            k.send(w.cancel_request(c.pid, key))
            assert k.recv_all() == b""
            k.abort()
        assert w.rows_of(c.read_until())[0][1] == "slept"


def test_cancel_of_a_running_query(front):
    with front.connect() as c:
        c.send(w.query("SELECT pg_sleep(20)"))
        wait_for(lambda: front.pg.backends(DB, "query LIKE '%pg_sleep(20)%' AND state = 'active'"))
        c.cancel()
        assert w.errors_of(c.read_until())[0]["C"] == "57014"
        assert c.value("SELECT 1") == "1"
