"""Behaviours 96, 101 to 104: TLS on both sides with real certificates, libpq and raw sockets."""
import hashlib
import os
import re
import socket
import ssl
import struct
import threading
import time

import psycopg
import pytest

from conftest import new_cluster
from support import pgwire as w
from support import procs
from support.certs import LOCAL, Certs, client_keys
from support.common import DB, SECRET, USER
from support.pgwire import Closed, RawClient, ServerError
from support.procs import wait_for
from support.relay import Relay

pytestmark = pytest.mark.penstock_only
ALPN = "postgresql"


@pytest.fixture(scope="module")
def certs():
    made = Certs()
    made.pair("server", "localhost", san=LOCAL)
    made.pair("fresh", "localhost", san=LOCAL)
    made.pair("rsa", "localhost", san=LOCAL, rsa=True)
    made.pair("evil-server", "localhost", ca="evil", san=LOCAL)
    made.pair("named", "localhost", san="DNS:localhost")
    made.pair("app", USER)
    made.pair("person", "A. Person")
    made.pair("evil-app", USER, ca="evil")
    return made


@pytest.fixture(scope="module")
def tls_pg(certs):
    """PostgreSQL with TLS, for the name localhost only; what it demands depends on the role."""
    cluster = new_cluster(
        options={"ssl": "on", "ssl_cert_file": f"'{certs.path('named.crt')}'",
                 "ssl_key_file": f"'{certs.path('named.key')}'", "ssl_ca_file": f"'{certs.ca}'"},
        hba=["hostssl all cert_user 127.0.0.1/32 cert map=m", "host all cert_user all reject",
             "hostnossl all tls_user 127.0.0.1/32 reject",
             "hostssl all plain_user 127.0.0.1/32 reject"])
    with open(f"{cluster.data}/pg_ident.conf", "w") as f:
        f.write('m "A. Person" cert_user\n')
    cluster.role("cert_user")
    cluster.role("tls_user", "tls secret")
    cluster.role("plain_user", "plain secret")
    cluster.sql("SELECT pg_reload_conf()")
    yield cluster
    cluster.close()


def tls_config(certs, mode="prefer", cert="server", ca=True, **more):
    config = {"client_tls_sslmode": mode, "client_tls_cert_file": certs.path(f"{cert}.crt"),
              "client_tls_key_file": certs.path(f"{cert}.key")}
    if ca:
        config["client_tls_ca_file"] = certs.ca
    return {**config, **more}


def libpq(p, user=USER, password=SECRET, **kw):
    kw = {"sslmode": "require", "sslcert": "/nowhere", "connect_timeout": 5, "gssencmode": "disable",
          "dbname": DB, **kw}
    return psycopg.connect(host=kw.pop("host", p.host), port=p.port, user=user, password=password,
                           autocommit=True, **kw)


def fails(p, match="", **kw):
    with pytest.raises(psycopg.OperationalError) as e:
        libpq(p, **kw).close()
    assert re.search(match, str(e.value)), e.value


def whoami(p, **kw):
    with libpq(p, **kw) as c:
        return c.execute("SELECT current_user").fetchone()[0]


def context(certs, alpn=None, version=None, ca=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.load_verify_locations(ca or certs.ca)
    if alpn:
        ctx.set_alpn_protocols([alpn])
    if version:
        ctx.minimum_version = ctx.maximum_version = version
    return ctx


# ---- clients ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_client_tls_modes(pg, proxy, certs, mode):
    p = proxy(pg, config=tls_config(certs, mode))
    plain, tls = mode in ("disable", "allow", "prefer"), mode != "disable"
    verifies = mode.startswith("verify")
    if plain:
        assert whoami(p, sslmode="disable") == USER
    else:
        fails(p, "(SSL|TLS) required", sslmode="disable")
    if not tls:
        fails(p, "does not support SSL", sslmode="require")
        assert whoami(p, sslmode="prefer") == USER
        return
    full = {"sslmode": "verify-full", "sslrootcert": certs.ca}
    assert whoami(p, **full, **client_keys(certs, "app")) == USER
    assert whoami(p, **full, host="localhost", **client_keys(certs, "person")) == USER
    fails(p, "certificate verify failed", sslmode="verify-ca", sslrootcert=certs.evil)
    fails(p, "", **full, **client_keys(certs, "evil-app"))
    if verifies:
        fails(p, "", **full)
    else:
        assert whoami(p, **full) == USER
    fails(p, "password authentication failed", **full, password="wrong", **client_keys(certs, "app"))
    assert p.alive()


def test_certificate_login_takes_the_name_from_the_certificate(pg, proxy, certs):
    p = proxy(pg, auth_type="cert", config=tls_config(certs, "verify-full"))
    assert whoami(p, password="", **client_keys(certs, "app")) == USER
    fails(p, "certificate authentication failed", user="other", **client_keys(certs, "app"))
    fails(p, "certificate authentication failed", **client_keys(certs, "person"))
    fails(p, "", **client_keys(certs, "evil-app"))
    fails(p, "", sslmode="disable")


def test_certificate_login_by_hba_with_a_map(pg, proxy, certs):
    p = proxy(pg, start=False, config=tls_config(certs, "prefer"))
    p._write(f"{p.dir}/hba", "hostssl all other all cert map=people\nhostssl all app all cert\n"
                             "hostnossl all app all scram-sha-256\n")
    p._write(f"{p.dir}/ident", 'people "A. Person" other\npeople /^(.*)x$ \\1\n')
    p.config.update(auth_type="hba", auth_hba_file=f"{p.dir}/hba", auth_ident_file=f"{p.dir}/ident")
    p.write()
    p.start()
    assert whoami(p, user="other", password="", **client_keys(certs, "person")) == "other"
    assert whoami(p, password="", **client_keys(certs, "app")) == USER
    fails(p, "", user="other", **client_keys(certs, "app"))
    fails(p, "", **client_keys(certs, "person"))
    fails(p, "", user="other")                                  # no certificate shown
    assert whoami(p, sslmode="disable") == USER
    fails(p, "", sslmode="disable", password="wrong")


@pytest.mark.parametrize("cert", ["server", "rsa"])
def test_scram_with_channel_binding(pg, proxy, certs, cert):
    stored = pg.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")
    p = proxy(pg, users={USER: stored, "other": "other secret"},
              config=tls_config(certs, cert=cert))
    assert whoami(p, channel_binding="require") == USER
    assert whoami(p, user="other", password="other secret", channel_binding="require") == "other"
    fails(p, "", channel_binding="require", password="wrong")
    assert whoami(p, channel_binding="disable") == USER


def bound_login(c, binding, mechanism=None, gs2=None):
    """SCRAM with channel binding by hand; returns the letter and fields that end it."""
    c.send(w.startup_packet([("user", USER), ("database", DB)]))
    offered = c.read().fields["data"]
    scram = w.ScramClient(SECRET, binding)
    scram.gs2 = gs2 or scram.gs2
    first = scram.first()
    mechanism = mechanism or ("SCRAM-SHA-256-PLUS" if binding else "SCRAM-SHA-256")
    c.send(w.frame("p", w.cstr(mechanism) + struct.pack("!i", len(first)) + first))
    m = c.read()
    if m.type == "R" and m.fields["code"] == 11:
        c.send(w.frame("p", scram.final(m.fields["data"])))
        m = c.read()
    return offered, m


def end_point(certs, name):
    der = ssl.PEM_cert_to_DER_cert(open(certs.path(f"{name}.crt")).read())
    return "tls-server-end-point", hashlib.sha256(der).digest()


def secured(p, certs, session=None, direct=False, **kw):
    """A RawClient behind a finished handshake."""
    c = RawClient(p.port)
    if not direct:
        c.send(w.ssl_request())
        assert c.sock.recv(1) == b"S"
    ctx = kw.pop("ctx", None) or context(certs, **kw)
    try:
        c.sock = ctx.wrap_socket(c.sock, server_hostname="localhost", session=session)
    except BaseException:
        c.sock.close()
        raise
    return c


def test_wrong_channel_binding_and_downgrade_are_refused(pg, proxy, certs):
    p = proxy(pg, config=tls_config(certs))
    right = end_point(certs, "server")
    for binding, mechanism, gs2, good in (
            (right, None, None, True), (None, None, None, True),
            (("tls-server-end-point", b"x" * 32), None, None, False),       # a man in the middle
            (("tls-unique", right[1]), None, None, False),
            (None, None, "y,,", False),                                     # PLUS was offered
            (right, "SCRAM-SHA-256", None, False), (None, "SCRAM-SHA-256-PLUS", None, False)):
        c = secured(p, certs)
        offered, m = bound_login(c, binding, mechanism, gs2)
        assert b"SCRAM-SHA-256-PLUS\0" in offered and b"SCRAM-SHA-256\0" in offered
        assert (m.type == "R" and m.fields["code"] == 12) == good, (binding, mechanism, gs2, m)
        assert good or m.fields["S"] == "FATAL"
        c.abort()
    c = RawClient(p.port)
    offered, m = bound_login(c, right)
    assert b"PLUS" not in offered and m.type == "E"
    c.abort()


def test_direct_tls_needs_alpn(pg, proxy, certs):
    p = proxy(pg, config=tls_config(certs))
    assert whoami(p, sslnegotiation="direct", channel_binding="require") == USER
    with secured(p, certs, direct=True, alpn=ALPN) as c:
        assert c.sock.selected_alpn_protocol() == ALPN
        c.start(USER, SECRET, DB)
        assert c.value("SELECT 7") == "7"
    for alpn in (None, "http/1.1"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            secured(p, certs, direct=True, alpn=alpn)
    with secured(p, certs) as c:                # asked for in the old way ALPN is not needed
        c.start(USER, SECRET, DB)
    p.config["client_direct_tls"] = 0
    p.reload()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secured(p, certs, direct=True, alpn=ALPN)
    assert whoami(p) == USER


def test_direct_tls_where_tls_is_off_is_refused(pg, proxy, certs):
    p = proxy(pg)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secured(p, certs, direct=True, alpn=ALPN)
    assert whoami(p, sslmode="disable") == USER


def test_hello_that_comes_byte_by_byte(pg, proxy, certs):
    p = proxy(pg, config=tls_config(certs))
    for direct in (True, False):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context(certs, ALPN).wrap_bio(incoming, outgoing, server_hostname="localhost")
        c = RawClient(p.port)
        if not direct:
            c.send_split(w.ssl_request(), *range(1, 8))
            assert c.sock.recv(1) == b"S"
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                data = outgoing.read()
                c.send_split(data, *range(1, len(data), 1 + len(data) // 64))
                incoming.write(c.sock.recv(65536))
        tls.write(w.startup_packet([("user", USER), ("database", DB)]))
        data = outgoing.read()
        c.send_split(data, *range(1, len(data)))
        first = b""
        while not first:                        # in TLS 1.3 the tickets come before it
            incoming.write(c.sock.recv(65536))
            try:
                first = tls.read(1)
            except ssl.SSLWantReadError:
                pass
        assert first == b"R"
        c.abort()


def test_bytes_in_the_clear_behind_the_request_are_refused(pg, proxy, certs):
    p = proxy(pg, config=tls_config(certs))
    injected = w.startup_packet([("user", USER), ("database", DB)])
    c = RawClient(p.port)
    c.send(w.ssl_request() + injected)
    answer = c.recv_all()
    assert b"R\0\0\0" not in answer and b"unencrypted" in answer
    c.abort()
    c = RawClient(p.port)
    c.send(w.ssl_request() + b"\x16\x03\x01\x00\x05hello")
    assert b"unencrypted" in c.recv_all()
    c.abort()
    p.wait_log("unencrypted data after SSL request")
    assert whoami(p) == USER


def test_gss_request_then_tls_then_login(pg, proxy, certs):
    p = proxy(pg, config=tls_config(certs))
    c = RawClient(p.port)
    c.send(w.gss_request())
    assert c.sock.recv(1) == b"N"
    c.start_tls(context(certs))
    c.start(USER, SECRET, DB)
    assert c.value("SELECT 1") == "1"
    c.send(w.terminate())
    assert c.recv_all() == b""
    c.abort()
    p2 = proxy(pg)
    c = RawClient(p2.port)
    for request, answer in ((w.ssl_request(), b"N"), (w.gss_request(), b"N"), (w.gss_request(), b"E")):
        c.send(request)
        assert c.sock.recv(1) == answer         # each may be asked once
    c.abort()
    c = RawClient(p2.port)
    c.send(w.ssl_request())
    assert c.sock.recv(1) == b"N"
    c.send(w.gss_request())
    assert c.sock.recv(1) == b"N"
    c.start(USER, SECRET, DB)
    assert c.value("SELECT 1") == "1"
    c.close()


def test_second_request_inside_tls_is_not_answered_with_yes(pg, proxy, certs):
    p = proxy(pg, config=tls_config(certs))
    c = secured(p, certs)
    c.send(w.ssl_request())
    assert c.sock.recv(1) in (b"N", b"E", b"")
    c.abort()
    assert whoami(p) == USER


def test_rubbish_and_silence_in_the_handshake(pg, proxy, certs):
    p = proxy(pg, config=tls_config(certs, client_login_timeout=1))
    silent = []
    for rubbish in (os.urandom(600), b"\x16\x03\x01\xff\xff" + b"\0" * 300, b"GET / HTTP/1.1\r\n\r\n"):
        c = RawClient(p.port)
        c.send(w.ssl_request())
        assert c.sock.recv(1) == b"S"
        c.send(rubbish)
        silent.append(c)
    c = RawClient(p.port)
    c.send(w.ssl_request())
    assert c.sock.recv(1) == b"S"
    silent.append(c)
    c = RawClient(p.port)
    c.send(b"\x16\x03\x01")
    silent.append(c)
    began = time.monotonic()
    for c in silent:
        c.recv_all()                            # all are closed, at the latest by the timeout
        c.abort()
    assert time.monotonic() - began < 5
    assert whoami(p) == USER


def test_protocol_versions_and_two_kinds_of_keys(pg, proxy, certs):
    config = tls_config(certs, client_tls_protocols="tlsv1.2")
    config["client_tls_cert_file"] = f"{certs.path('server.crt')},{certs.path('rsa.crt')}"
    config["client_tls_key_file"] = f"{certs.path('server.key')},{certs.path('rsa.key')}"
    p = proxy(pg, config=config)
    seen = set()
    for ciphers in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"):
        ctx = context(certs)
        ctx.set_ciphers(ciphers)
        with secured(p, certs, ctx=ctx) as c:
            seen.add(c.sock.getpeercert()["serialNumber"])
            assert c.sock.version() == "TLSv1.2"
            c.start(USER, SECRET, DB)
    assert seen == {certs.serial("server"), certs.serial("rsa")}
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secured(p, certs, version=ssl.TLSVersion.TLSv1_3)


# ---- new certificates, resumed sessions -------------------------------------------------------------

def shown(p, certs, ca=None):
    with secured(p, certs, ca=ca) as c:
        return c.sock.getpeercert()["serialNumber"]


@pytest.mark.parametrize("how", ["reload", "hup"])
def test_new_certificate_while_old_sessions_go_on(pg, proxy, certs, how):
    p = proxy(pg, config=tls_config(certs))
    old = secured(p, certs)
    old.start(USER, SECRET, DB)
    old.query("BEGIN")
    assert shown(p, certs) == certs.serial("server")
    p.config.update(tls_config(certs, cert="fresh"))
    getattr(p, how)()
    wait_for(lambda: shown(p, certs) == certs.serial("fresh"), 5, "the new certificate")
    assert old.value("SELECT repeat('x', 300000)") == "x" * 300000
    old.query("COMMIT")
    old.close()
    assert whoami(p, channel_binding="require", sslmode="verify-full", sslrootcert=certs.ca) == USER


def test_files_replaced_in_place_are_taken_by_a_reload(pg, proxy, certs):
    p = proxy(pg, start=False)
    for name, kind in (("server", "crt"), ("server", "key")):
        p._write(f"{p.dir}/own.{kind}", open(certs.path(f"{name}.{kind}")).read())
    p.config.update(client_tls_sslmode="prefer", client_tls_cert_file=f"{p.dir}/own.crt",
                    client_tls_key_file=f"{p.dir}/own.key")
    p.write()
    p.start()
    assert shown(p, certs) == certs.serial("server")
    for kind in ("crt", "key"):
        p._write(f"{p.dir}/own.{kind}", open(certs.path(f"fresh.{kind}")).read())
    p.reload()
    assert shown(p, certs) == certs.serial("fresh")
    p._write(f"{p.dir}/own.key", open(certs.path("server.key")).read())     # does not fit
    with pytest.raises(ServerError):
        p.reload()
    assert shown(p, certs) == certs.serial("fresh")
    p._write(f"{p.dir}/own.key", open(certs.path("fresh.key")).read())
    p.reload()
    assert whoami(p) == USER


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_on_every_worker(pg, proxy, certs, version):
    p = proxy(pg, config=tls_config(certs, workers=2))
    ctx = context(certs, version=version)
    with secured(p, certs, ctx=ctx) as c:
        c.start(USER, SECRET, DB)
        session = c.sock.session
    reused = 0
    for _ in range(8):
        with secured(p, certs, session=session, ctx=ctx) as c:
            reused += c.sock.session_reused
            offered, m = bound_login(c, end_point(certs, "server"))
            assert m.type == "R" and m.fields["code"] == 12, m
            c.read_until()
            assert c.value("SELECT 1") == "1"
    assert reused == 8


def test_resumed_session_binds_to_the_certificate_it_began_with(pg, proxy, certs):
    p = proxy(pg, config=tls_config(certs))
    ctx = context(certs)
    with secured(p, certs, ctx=ctx) as c:
        c.start(USER, SECRET, DB)
        session = c.sock.session
    p.config.update(tls_config(certs, cert="fresh"))
    p.reload()
    with secured(p, certs, session=session, ctx=ctx) as c:
        name = "server" if c.sock.session_reused else "fresh"
        assert bound_login(c, end_point(certs, name))[1].type == "R"
    p.config["client_tls_ca_file"] = certs.evil         # another authority: no old session goes on
    p.reload()
    with secured(p, certs, session=session, ctx=ctx) as c:
        assert not c.sock.session_reused


# ---- servers ----------------------------------------------------------------------------------------

def server_proxy(proxy, cluster, certs, mode, host="localhost", ca=None, **more):
    config = {"server_tls_sslmode": mode, **more}
    if ca:
        config["server_tls_ca_file"] = ca
    return proxy(databases={DB: {"host": host, "port": cluster.port}}, config=config,
                 users={USER: SECRET, "tls_user": "tls secret", "plain_user": "plain secret",
                        "cert_user": "unused"})


def encrypted(p, user=USER, secret=SECRET):
    with p.connect(user, secret, DB) as c:
        return c.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"


def server_fails(p, match):
    with pytest.raises(ServerError) as e:
        p.connect(USER, SECRET, DB).abort()
    assert re.search(match, e.value.fields["M"], re.I), e.value


@pytest.mark.parametrize("mode,tls", [("disable", False), ("allow", False), ("prefer", True),
                                      ("require", True), ("verify-ca", True), ("verify-full", True)])
def test_server_tls_modes(tls_pg, pg, proxy, certs, mode, tls):
    verifies = mode.startswith("verify")
    p = server_proxy(proxy, tls_pg, certs, mode, ca=certs.ca if verifies else None)
    assert encrypted(p) == tls
    if tls:
        assert encrypted(p, "tls_user", "tls secret")
        assert re.match("TLSv1", p.show("SERVERS")[0]["tls"])
    p = server_proxy(proxy, pg, certs, mode, ca=certs.ca if verifies else None)
    if mode in ("disable", "allow", "prefer"):
        assert not encrypted(p)
    else:
        server_fails(p, "TLS|SSL")


@pytest.mark.parametrize("mode", ["allow", "prefer"])
def test_what_the_access_rules_refuse_is_tried_the_other_way(tls_pg, proxy, certs, mode):
    p = server_proxy(proxy, tls_pg, certs, mode)
    assert encrypted(p, "tls_user", "tls secret")
    assert not encrypted(p, "plain_user", "plain secret")
    with pytest.raises(ServerError) as e:       # refused both ways: the words are the database's
        p.connect("cert_user", "unused", DB).abort()
    assert e.value.fields["C"] == "28000", e.value


def test_other_modes_try_one_way_only(tls_pg, proxy, certs):
    for mode, user, secret in (("disable", "tls_user", "tls secret"),
                               ("require", "plain_user", "plain secret")):
        p = server_proxy(proxy, tls_pg, certs, mode)
        with pytest.raises(ServerError) as e:
            p.connect(user, secret, DB).abort()
        assert e.value.fields["C"] == "28000", e.value
        assert "trying" not in p.log_text()


@pytest.mark.parametrize("mode", ["allow", "prefer"])
def test_refused_credentials_are_sent_once(tls_pg, proxy, certs, mode):
    with Relay("127.0.0.1", tls_pg.port) as relay:
        p = proxy(databases={DB: {"host": relay.host, "port": relay.port, "user": "tls_user",
                                  "password": "wrong"}},
                  config={"server_tls_sslmode": mode, "server_login_retry": 30})
        with pytest.raises(ServerError) as e:
            p.connect(USER, SECRET, DB).abort()
        assert e.value.fields["C"] == "28P01", e.value
        tls = [f == w.ssl_request() for f in relay.firsts]
        assert tls == ([False, True] if mode == "allow" else [True]), relay.firsts


def test_prefer_goes_on_without_tls_when_the_handshake_fails(tls_pg, proxy, certs):
    """A server with another idea of TLS: only 1.2 is spoken there, and only 1.3 here."""
    tls_pg.sql("ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'")
    tls_pg.sql("SELECT pg_reload_conf()")
    try:
        p = server_proxy(proxy, tls_pg, certs, "prefer", server_tls_protocols="tlsv1.3")
        assert not encrypted(p)
        server_fails(server_proxy(proxy, tls_pg, certs, "require", server_tls_protocols="tlsv1.3"),
                     "TLS")
    finally:
        tls_pg.sql("ALTER SYSTEM RESET ssl_max_protocol_version")
        tls_pg.sql("SELECT pg_reload_conf()")


@pytest.mark.parametrize("mode,user,secret", [
    ("disable", USER, SECRET), ("allow", USER, SECRET), ("allow", "tls_user", "tls secret"),
    ("prefer", USER, SECRET), ("prefer", "plain_user", "plain secret"), ("require", USER, SECRET),
    ("verify-ca", USER, SECRET), ("verify-full", USER, SECRET)])
def test_cancel_goes_to_the_server_as_its_connection_did(tls_pg, proxy, certs, mode, user, secret):
    with Relay("127.0.0.1", tls_pg.port) as relay:
        p = proxy(databases={DB: {"host": "localhost", "port": relay.port}},
                  users={user: secret, "other": "other secret"},
                  config={"server_tls_sslmode": mode, "server_tls_ca_file": certs.ca})
        with p.connect(user, secret, DB) as c:
            tls = c.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
            assert tls == (mode not in ("disable", "allow", "prefer") or
                           (mode, user) in (("prefer", USER), ("allow", "tls_user")))
            c.send(w.query("SELECT pg_sleep(30) /* relayed */"))
            tls_pg.wait_backends(DB, 1, "query LIKE '%relayed%' AND state = 'active'")
            before = len(relay.firsts)
            c.cancel()
            assert w.errors_of(c.read_until())[0]["C"] == "57014"
            assert c.value("SELECT 1") == "1"
            cancels = relay.firsts[before:]
            assert len(cancels) == 1 and (cancels[0] == w.ssl_request()) == tls, cancels


def test_cancel_is_not_sent_in_the_clear_when_tls_is_refused(tls_pg, proxy, certs):
    with Relay("127.0.0.1", tls_pg.port) as relay:
        p = proxy(databases={DB: {"host": "localhost", "port": relay.port}},
                  config={"server_tls_sslmode": "require"})
        with p.connect(USER, SECRET, DB) as c:
            c.send(w.query("SELECT pg_sleep(1.5), 'whole'"))
            tls_pg.wait_backends(DB, 1, "query LIKE '%whole%' AND state = 'active'")
            tls_pg.sql("ALTER SYSTEM SET ssl = off")
            tls_pg.sql("SELECT pg_reload_conf()")
            try:
                wait_for(lambda: not starts_tls(relay), 5, "a server without TLS")
                before = len(relay.firsts)
                c.cancel()
                p.wait_log("does not start TLS")
                assert relay.firsts[before:] == [w.ssl_request()]
                assert w.rows_of(c.read_until())[0][1] == "whole"
            finally:
                tls_pg.sql("ALTER SYSTEM RESET ssl")
                tls_pg.sql("SELECT pg_reload_conf()")
                wait_for(lambda: starts_tls(relay), 5, "a server with TLS")


def starts_tls(relay):
    with socket.create_connection(relay.target, 5) as s:
        s.sendall(w.ssl_request())
        return s.recv(1) == b"S"


def test_server_certificate_is_verified(tls_pg, proxy, certs):
    for mode in ("verify-ca", "verify-full"):
        server_fails(server_proxy(proxy, tls_pg, certs, mode, ca=certs.evil), "certificate")
    assert encrypted(server_proxy(proxy, tls_pg, certs, "require", ca=certs.evil))
    assert encrypted(server_proxy(proxy, tls_pg, certs, "verify-ca", "127.0.0.1", certs.ca))
    server_fails(server_proxy(proxy, tls_pg, certs, "verify-full", "127.0.0.1", certs.ca),
                 "certificate|IP address")


def test_certificate_shown_to_the_server(tls_pg, proxy, certs):
    keys = {"server_tls_cert_file": certs.path("person.crt"),
            "server_tls_key_file": certs.path("person.key")}
    p = server_proxy(proxy, tls_pg, certs, "verify-full", ca=certs.ca, **keys)
    with p.connect("cert_user", "unused", DB) as c:
        assert c.value("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == \
            "/CN=A. Person"
    assert encrypted(p)
    p = server_proxy(proxy, tls_pg, certs, "require")
    with pytest.raises(ServerError, match="certificate"):
        p.connect("cert_user", "unused", DB).abort()


def test_server_tls_settings_change_by_reload(tls_pg, proxy, certs):
    p = server_proxy(proxy, tls_pg, certs, "disable")
    with p.connect(USER, SECRET, DB) as c:
        ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert c.value(ask) == "f"
        p.config.update(server_tls_sslmode="verify-full", server_tls_ca_file=certs.ca)
        p.reload()
        wait_for(lambda: c.value(ask) == "t", 5, "servers with TLS after the reload")


# ---- load over both ---------------------------------------------------------------------------------

def both_sides(proxy, cluster, certs, **more):
    return server_proxy(proxy, cluster, certs, "verify-full", ca=certs.ca,
                        **tls_config(certs, workers=2, **more))


def test_large_results_and_copy_through_tls_on_both_sides(tls_pg, proxy, certs):
    p = both_sides(proxy, tls_pg, certs)
    errors = []

    def work(n):
        try:
            with libpq(p) as c:
                cur = c.cursor()
                rows = cur.execute("SELECT i, repeat(chr(65 + i %% 26), %s) FROM generate_series(1,"
                                   " 3000) i", (900 + n,)).fetchall()
                assert all(v == chr(65 + i % 26) * (900 + n) for i, v in rows) and len(rows) == 3000
                big = cur.execute("SELECT repeat('0123456789', 800000)").fetchone()[0]
                assert big == "0123456789" * 800000
                cur.execute("BEGIN")
                cur.execute("CREATE TEMP TABLE up (i int, t text) ON COMMIT DROP")
                with cur.copy("COPY up FROM STDIN") as copy:
                    for i in range(3000):
                        copy.write(f"{i}\t{'y' * 1000}\n")
                assert cur.execute("SELECT count(*), sum(length(t)) FROM up").fetchone() == \
                    (3000, 3000000)
                with cur.copy("COPY up TO STDOUT") as copy:
                    assert sum(len(block) for block in copy) == 3000 * 1002 + sum(
                        len(str(i)) for i in range(3000))
                cur.execute("COMMIT")
        except Exception as e:      # a thread's failure is the test's
            errors.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(40)
    assert not errors and not any(t.is_alive() for t in threads), errors


def test_slow_reader_over_tls_gets_every_byte(tls_pg, proxy, certs):
    p = both_sides(proxy, tls_pg, certs)
    c = secured(p, certs)
    c.start(USER, SECRET, DB)
    c.send(w.query("SELECT repeat('z', 1000) FROM generate_series(1, 20000)"))
    time.sleep(0.3)                 # buffers fill: the proxy must stop reading, not grow
    assert procs.rss_kb(p.pid) < 120_000
    rows = w.rows_of(c.read_until())
    assert len(rows) == 20000 and all(r == ["z" * 1000] for r in rows)
    c.close()


def test_cancel_over_tls(tls_pg, proxy, certs):
    p = both_sides(proxy, tls_pg, certs)
    with libpq(p) as c:
        done = []

        def run():
            try:
                c.execute("SELECT pg_sleep(30)")
            except psycopg.errors.QueryCanceled:
                done.append(True)

        t = threading.Thread(target=run)
        t.start()
        tls_pg.wait_backends(DB, 1, "query LIKE '%pg_sleep%' AND state = 'active'")
        c.cancel_safe(timeout=5)
        t.join(5)
        assert done
        assert c.execute("SELECT 1").fetchone() == (1,)


def test_show_tells_of_tls(tls_pg, proxy, certs):
    p = both_sides(proxy, tls_pg, certs)
    with libpq(p) as c:
        c.execute("SELECT 1")
        with libpq(p, user="console_admin", password="console secret", dbname="pgbouncer") as con:
            con.prepare_threshold = None
            rows = w_rows(con, "SHOW CLIENTS")
            assert all(r["tls"].startswith("TLSv1.3/") for r in rows) and len(rows) == 2
            assert all(r["tls"].startswith("TLSv1.3/") for r in w_rows(con, "SHOW SERVERS"))


def w_rows(con, text):
    cur = psycopg.ClientCursor(con)
    cur.execute(text)
    names = [d.name for d in cur.description]
    return [dict(zip(names, r)) for r in cur.fetchall()]


def test_abrupt_ends_of_tls_clients_do_not_harm_servers(tls_pg, proxy, certs):
    p = both_sides(proxy, tls_pg, certs)
    for i in range(12):
        c = secured(p, certs)
        c.start(USER, SECRET, DB)
        if i % 3 == 0:
            c.send(w.query("SELECT repeat('x', 1000000)"))
        elif i % 3 == 1:
            c.query("BEGIN")
        (c.reset if i % 2 else c.abort)()
    wait_for(lambda: p.pool(DB)["cl_active"] + p.pool(DB)["cl_waiting"] == 0, 10, "all clients to be gone")
    assert whoami(p) == USER
    tls_pg.wait_backends(DB, 0, "state <> 'idle'")


# ---- PROXY protocol ---------------------------------------------------------------------------------

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command, family, body):
    return V2 + struct.pack("!BBH", 0x20 | command, family, len(body)) + body


V4_BODY = socket.inet_aton("203.0.113.7") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4711, 5432)
V6_BODY = (socket.inet_pton(socket.AF_INET6, "2001:db8::7") +
           socket.inet_pton(socket.AF_INET6, "2001:db8::1") + struct.pack("!HH", 4712, 5432))
HEADERS = [
    (b"PROXY TCP4 198.51.100.9 192.0.2.1 4242 5432\r\n", "198.51.100.9", "4242"),
    (b"PROXY TCP6 2001:db8::9 2001:db8::1 4243 5432\r\n", "2001:db8::9", "4243"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1", None),
    (v2(1, 0x11, V4_BODY), "203.0.113.7", "4711"),
    (v2(1, 0x21, V6_BODY), "2001:db8::7", "4712"),
    (v2(1, 0x11, V4_BODY + b"\x04\0\x03abc"), "203.0.113.7", "4711"),
    (v2(0, 0, b""), "127.0.0.1", None),
]


def announced(p, header, tls=None, cuts=()):
    c = RawClient(p.port)
    c.send_split(header, *cuts)
    if tls:
        c.start_tls(tls)
        c.sock.settimeout(10)
    c.start(USER, SECRET, DB)
    return c


def console_behind(p, header):
    con = RawClient(p.port)
    con.send(header)
    con.start("console_admin", "console secret", "pgbouncer")
    return con


def test_proxy_header_names_the_client(pg, proxy, certs):
    p = proxy(pg, start=False, config=tls_config(certs, proxy_protocol="on", workers=2))
    p.start()
    with console_behind(p, b"PROXY UNKNOWN\r\n") as con:
        for i, (header, addr, port) in enumerate(HEADERS):
            for tls in (None, context(certs)):
                cuts = range(1, len(header)) if i % 2 else ()
                with announced(p, header, tls, cuts) as c:
                    assert c.value("SELECT 1") == "1"
                    rows = [r for r in w.dicts_of(con.ask(w.query("SHOW CLIENTS")))
                            if r["user"] == USER]
                    assert [r["addr"] for r in rows] == [addr], header
                    assert port in (None, rows[0]["port"])
                wait_for(lambda: not [r for r in w.dicts_of(con.ask(w.query("SHOW CLIENTS")))
                                      if r["user"] == USER], 5, "the client to be gone")


def test_proxy_header_then_direct_tls(pg, proxy, certs):
    p = proxy(pg, start=False, config=tls_config(certs, proxy_protocol="on"))
    p.start()
    for header, addr, _ in HEADERS:
        for together in (False, True):          # a proxy may send both in one segment
            c = RawClient(p.port)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context(certs, ALPN).wrap_bio(incoming, outgoing, server_hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            hello = outgoing.read()
            if together:
                c.send(header + hello)
            else:
                c.send(header)
                c.send_split(hello, 1, 5, 50)
            answer = c.sock.recv(65536)
            assert answer[:1] == b"\x16", (header, together, answer)
            c.abort()
            if not together:
                continue
            with RawClient(p.port) as c:
                c.send(header)
                c.sock = context(certs, ALPN).wrap_socket(c.sock, server_hostname="localhost")
                c.start(USER, SECRET, DB)
                assert c.value("SELECT repeat('x', 100000)") == "x" * 100000
    for alpn in (None, "http/1.1"):
        c = RawClient(p.port)
        c.send(HEADERS[0][0])
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context(certs, alpn).wrap_socket(c.sock, server_hostname="localhost")


def test_missing_or_bad_proxy_header_closes(pg, proxy, certs):
    p = proxy(pg, start=False, config=tls_config(certs, proxy_protocol="on"))
    p.start()
    login = w.startup_packet([("user", USER), ("database", DB)])
    for bad in (login, w.ssl_request(), b"PROXY TCP4 300.1.1.1 1.1.1.1 1 2\r\n" + login,
                b"PROXY " + b"x" * 300, b"PROXY TCP4 1.1.1.1 2.2.2.2 1 99999\r\n" + login,
                v2(1, 0x11, V4_BODY[:6]) + login, V2 + b"\x31\x11\0\0" + login,
                v2(2, 0x11, V4_BODY) + login):
        c = RawClient(p.port)
        c.send(bad)
        assert b"R\0\0\0" not in c.recv_all(), bad
        c.abort()
    with pytest.raises((ssl.SSLError, ConnectionError, Closed)):
        secured(p, certs, direct=True, alpn=ALPN)
    c = RawClient(p.port)
    c.send(HEADERS[0][0])
    c.sock = context(certs, ALPN).wrap_socket(c.sock, server_hostname="localhost")
    c.start(USER, SECRET, DB)                   # a header, then direct TLS
    assert c.value("SELECT 1") == "1"
    c.close()


def test_optional_proxy_header_and_hba_sees_its_address(pg, proxy, certs):
    p = proxy(pg, start=False, config=tls_config(certs, proxy_protocol="optional"))
    p._write(f"{p.dir}/hba", "host all all 203.0.113.0/24 reject\nhost all all all scram-sha-256\n")
    p.config.update(auth_type="hba", auth_hba_file=f"{p.dir}/hba")
    p.write()
    p.start()
    assert whoami(p) == USER and whoami(p, sslmode="disable") == USER
    assert whoami(p, sslnegotiation="direct") == USER
    with announced(p, HEADERS[0][0]) as c:
        assert c.value("SELECT 1") == "1"
    with pytest.raises(ServerError):
        announced(p, HEADERS[3][0])


def test_proxy_header_is_a_protocol_error_when_off(pg, proxy):
    p = proxy(pg)
    c = RawClient(p.port)
    c.send(HEADERS[0][0])
    assert b"R\0\0\0" not in c.recv_all()
    c.abort()
    assert p.alive()
