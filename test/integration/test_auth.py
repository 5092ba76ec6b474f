"""Behaviours 98 to 100 and 97: who may log in, with every method, on both sides, against PostgreSQL."""
import os
import socket
import subprocess
import time

import psycopg
import pytest

from conftest import new_cluster
from support import pgwire as w
from support import procs
from support.cluster import debian_bin
from support.common import DB, SECRET, USER
from support.pgwire import RawClient, ServerError
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only
HARD = "p=w d'\"ü€=,x\\"          # what SCRAM messages, ini files and SQL would trip over
HBA = ("host all md5_user 127.0.0.1/32 md5", "host all clear_user 127.0.0.1/32 password",
       "host all trusted 127.0.0.1/32 trust", "host all banned 127.0.0.1/32 reject")


@pytest.fixture(scope="module")
def server():
    cluster = new_cluster(hba=HBA)
    cluster.role("hard", HARD.replace("'", "''"))
    cluster.role("clear_user", "clear secret")
    cluster.role("trusted")
    cluster.role("banned", "banned secret")
    cluster.role("expired", "expired secret", "VALID UNTIL '2001-01-01'")
    cluster.role("asker", "asker secret", "SUPERUSER")
    cluster.sql("SET password_encryption = 'md5'; CREATE ROLE md5_user LOGIN PASSWORD 'md5 secret'")
    yield cluster
    cluster.close()


def stored(cluster, role):
    return cluster.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")


def one_db(cluster, **more):
    return {DB: {"host": cluster.host, "port": cluster.port, "dbname": DB, **more}}


def whoami(p, user, secret, db=DB, **kw):
    with p.connect(user, secret, db, **kw) as c:
        return c.value("SELECT current_user")


def refusal(p, user, secret, db=DB, **kw):
    """The error fields of a login that must fail."""
    with pytest.raises(ServerError) as e:
        p.connect(user, secret, db, **kw).abort()
    return e.value.fields


def asked(p, user, db=DB):
    """The authentication code that the client is asked for first."""
    c = RawClient(p.port)
    c.send(w.startup_packet([("user", user), ("database", db)]))
    m = c.read()
    c.abort()
    return m.fields["code"] if m.type == "R" else m.fields["C"]


# ---- passwords --------------------------------------------------------------------------------------

@pytest.mark.parametrize("auth_type,code", [("scram-sha-256", 10), ("md5", 5), ("plain", 3)])
def test_plain_secrets_serve_every_password_method(server, proxy, auth_type, code):
    users = {USER: SECRET, "hard": HARD, "empty": ""}
    p = proxy(server, auth_type=auth_type, users=users)
    assert asked(p, USER) == code
    assert whoami(p, USER, SECRET) == USER
    assert whoami(p, "hard", HARD) == "hard"
    for user, secret in ((USER, "wrong"), (USER, ""), ("hard", HARD[:-1]), ("empty", ""),
                         ("empty", "x"), ("nobody", "x"), ("nobody", "")):
        fields = refusal(p, user, secret)
        assert (fields["S"], fields["C"]) == ("FATAL", "28P01"), (user, secret)
    assert whoami(p, USER, SECRET) == USER


@pytest.mark.parametrize("auth_type", ["scram-sha-256", "md5", "plain"])
def test_unknown_user_is_told_what_a_wrong_password_is_told(server, proxy, auth_type):
    p = proxy(server, auth_type=auth_type)
    known, unknown = refusal(p, USER, "wrong"), refusal(p, "nobody", "wrong")
    assert {k: v.replace(USER, "?") for k, v in known.items()} == \
        {k: v.replace("nobody", "?") for k, v in unknown.items()}
    assert asked(p, USER) == asked(p, "nobody")


def test_libpq_logs_in_with_each_kind_of_secret(server, proxy):
    users = {USER: stored(server, USER), "md5_user": stored(server, "md5_user"), "hard": HARD}
    databases = {DB: {"host": server.host, "port": server.port, "user": USER, "password": SECRET}}
    for auth_type in ("md5", "plain"):
        p = proxy(databases=databases, auth_type=auth_type, users=users)
        for user, secret in ((USER, SECRET), ("md5_user", "md5 secret"), ("hard", HARD)):
            with psycopg.connect(host=p.host, port=p.port, user=user, password=secret, dbname=DB,
                                 sslmode="disable") as c:
                assert c.execute("SELECT current_user").fetchone() == (USER,)
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(host=p.host, port=p.port, user=user, password=secret + "x",
                                dbname=DB, sslmode="disable")


def test_keys_of_a_verifier_login_open_the_server(server, proxy):
    p = proxy(server, users={USER: stored(server, USER)})
    refusal(p, USER, "wrong")
    assert whoami(p, USER, SECRET) == USER
    server.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{USER}'")
    assert whoami(p, USER, SECRET) == USER


def test_verifier_of_another_salt_proves_the_client_but_opens_no_server(server, proxy):
    p = proxy(server, users={USER: w.scram_verifier(SECRET)})
    began = time.monotonic()
    assert refusal(p, USER, SECRET)["S"] == "FATAL"
    assert time.monotonic() - began < 5
    assert p.alive()


def test_md5_secret_opens_an_md5_server_and_no_scram_server(server, proxy):
    p = proxy(server, auth_type="md5", users={"md5_user": stored(server, "md5_user"),
                                              USER: w.md5_secret(USER, SECRET, b"")})
    assert whoami(p, "md5_user", "md5 secret") == "md5_user"
    p2 = proxy(server, auth_type="scram-sha-256", users={"md5_user": stored(server, "md5_user")})
    assert refusal(p2, "md5_user", "md5 secret")["C"] == "28P01"


def test_server_methods_md5_password_trust_and_reject(server, proxy):
    p = proxy(server, users={"md5_user": "md5 secret", "clear_user": "clear secret",
                             "trusted": "local only", "banned": "banned secret", USER: SECRET})
    assert whoami(p, "md5_user", "md5 secret") == "md5_user"
    assert whoami(p, "clear_user", "clear secret") == "clear_user"
    assert whoami(p, "trusted", "local only") == "trusted"
    assert whoami(p, USER, SECRET) == USER
    fields = refusal(p, "banned", "banned secret")
    assert fields["S"] == "FATAL" and "reject" in fields["M"]


def test_wrong_secret_for_the_server_is_told_and_tried_again(server, proxy):
    p = proxy(databases=one_db(server, user=USER, password="not it"))
    fields = refusal(p, USER, SECRET)
    assert fields["S"] == "FATAL" and fields["C"] in ("28P01", "08P01")
    p.databases[DB]["password"] = SECRET
    p.reload()
    wait_for(lambda: not login_fails(p), 5, "the login with the mended secret")


def login_fails(p):
    try:
        return whoami(p, USER, SECRET) != USER
    except ServerError:
        return True


def test_trust_asks_nothing_and_uses_the_secret_of_the_list(server, proxy):
    p = proxy(server, auth_type="trust")
    assert asked(p, USER) == 0
    assert whoami(p, USER, "") == USER and whoami(p, USER, "whatever") == USER
    assert "trust" in refusal(p, "trusted", "")["M"]    # PostgreSQL lets it in, but who knows it here?
    assert "trust" in refusal(p, "nobody", "")["M"]
    p = hba_proxy(proxy, server, ["host all all all trust"], users={USER: SECRET, "other": ""})
    assert refusal(p, "other", "")["M"] != refusal(p, "trusted", "")["M"]   # known, has no secret
    assert whoami(p, USER, "") == USER
    assert "trust" in refusal(p, "trusted", "")["M"]


def test_trust_knows_users_by_auth_query_too(server, proxy):
    p = proxy(server, auth_type="trust", users={"asker": "asker secret"}, config={"auth_user": "asker"})
    assert whoami(p, "md5_user", "") == "md5_user"
    assert refusal(p, "nobody", "")["S"] == refusal(p, "expired", "")["S"] == "FATAL"


def test_any_user_becomes_the_forced_user(server, proxy):
    p = proxy(databases=one_db(server, user=USER, password=SECRET), auth_type="any")
    assert whoami(p, "somebody", "") == USER
    assert whoami(p, "else", "") == USER
    assert p.pool(DB)["user"] == USER


def test_unknown_database_is_named_only_after_the_right_password(server, proxy):
    p = proxy(databases=one_db(server))
    fields = refusal(p, USER, SECRET, "missing")
    assert fields["C"] == "3D000" and "missing" in fields["M"]
    wrong = refusal(p, USER, "wrong", "missing")
    assert wrong == refusal(p, USER, "wrong", DB)
    assert refusal(p, "nobody", "x", "missing")["C"] == "28P01"
    assert asked(p, USER, "missing") == asked(p, USER)


def test_client_that_says_nothing_or_nonsense_is_dropped(server, proxy):
    p = proxy(server)
    for answer in (w.password(SECRET), w.frame("p"), w.query("SELECT 1"),
                   w.frame("p", b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
                   w.frame("p", b"SCRAM-SHA-256\0\x7f\xff\xff\xffn,,n=,r=x"),
                   w.frame("p", b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=\0\0\0"),
                   w.frame("p", b"SCRAM-SHA-256-PLUS\0\0\0\0\x0bn,,n=,r=abc")):
        c = RawClient(p.port)
        c.send(w.startup_packet([("user", USER), ("database", DB)]))
        assert c.read().fields["code"] == 10
        c.send(answer)
        msgs = c.read_to_end()
        assert w.types_of(msgs) in ("", "E") and "Z" not in w.types_of(msgs)
        c.abort()
    assert whoami(p, USER, SECRET) == USER


# ---- hba, peer --------------------------------------------------------------------------------------

def put(p, name, text):
    path = f"{p.dir}/{name}"
    p._write(path, text)
    return path


def hba_proxy(proxy, server, lines, ident="", **kw):
    p = proxy(server, start=False, **kw)
    p.config.update(auth_type="hba", auth_hba_file=put(p, "hba", "\n".join(lines) + "\n"))
    if ident:
        p.config["auth_ident_file"] = put(p, "ident", ident)
    p.write()
    return p.start()


def test_first_matching_hba_line_decides(server, proxy):
    lines = ["# who may come", "local all all peer",
             "host all banned 127.0.0.1/32 reject",
             "host second other 0.0.0.0/0 trust",
             f'host "{DB}" "clear_user",md5_user 127.0.0.1 255.255.255.255 password',
             "host sameuser all 127.0.0.0/8 md5",
             "host pgbouncer console_admin 127.0.0.1/32 scram-sha-256",
             "hostssl all other all trust"]
    p = hba_proxy(proxy, server, lines, users={
        USER: SECRET, "other": "other secret", "banned": "banned secret",
        "clear_user": "clear secret"})
    assert "rejected" in refusal(p, "banned", "banned secret")["M"]
    assert asked(p, "banned") not in (0, 3, 5, 10)
    assert asked(p, "other", "second") == 0 and whoami(p, "other", "", "second") == "other"
    assert asked(p, "clear_user") == 3 and whoami(p, "clear_user", "clear secret") == "clear_user"
    assert refusal(p, "clear_user", "wrong")["C"] == "28P01"
    assert asked(p, USER) == 5 and whoami(p, USER, SECRET) == USER      # DB and USER are one name
    assert asked(p, "other") not in (0, 3, 5, 10)                       # only hostssl: no line
    assert refusal(p, "other", "other secret")["S"] == "FATAL"
    assert p.show("VERSION")
    p._write(f"{p.dir}/hba", "host all console_admin all scram-sha-256\nhost all all all trust\n")
    p.reload()
    assert asked(p, "other") == 0


def as_owner(script, p):
    """Runs a Python script as the account that the proxy runs under."""
    user = procs.unprivileged_user()
    ids = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    return subprocess.run(["psql", "-X", "-At", "-w", "-h", p.dir, "-p", str(p.port), *script],
                          capture_output=True, text=True, cwd="/tmp", timeout=20, **ids)


def system_name():
    user = procs.unprivileged_user()
    return user.pw_name if user else os.environ.get("USER", "postgres")


def test_peer_is_whom_the_kernel_says(server, proxy):
    me = system_name()
    lines = ["local all other peer map=crew", "local all all peer", "host all all all scram-sha-256"]
    p = hba_proxy(proxy, server, lines, f"crew {me} other\nstrangers {me} {USER}\n",
                  users={USER: SECRET, "other": "other secret", me: "x"})
    done = as_owner(["-U", "other", "-c", "SELECT current_user", DB], p)
    assert done.stdout == "other\n", done.stderr
    done = as_owner(["-U", USER, "-c", "SELECT current_user", DB], p)
    assert done.returncode == 2 and "FATAL" in done.stderr
    with pytest.raises(ServerError):
        RawClient.login(p.port, USER, "", DB, host=p.dir).abort()
    if os.geteuid() == 0:           # root is not the one in the map
        with pytest.raises(ServerError):
            RawClient.login(p.port, "other", "", DB, host=p.dir).abort()


def test_owner_enters_the_console_over_the_unix_socket(server, proxy):
    p = proxy(server)
    done = as_owner(["-U", "penstock", "-c", "SHOW VERSION", "penstock"], p)
    assert "penstock" in done.stdout.lower(), done.stderr
    if os.geteuid() == 0:
        with pytest.raises(ServerError):
            RawClient.login(p.port, "penstock", "", "penstock", host=p.dir).abort()
    assert refusal(p, USER, SECRET, "pgbouncer")["S"] == "FATAL"
    assert refusal(p, "console_admin", "wrong", "pgbouncer")["C"] == "28P01"


# ---- auth_query -------------------------------------------------------------------------------------

@pytest.mark.parametrize("auth_type", ["scram-sha-256", "md5"])
def test_auth_query_finds_secrets_in_the_database(server, proxy, auth_type):
    p = proxy(server, auth_type=auth_type, users={"asker": "asker secret"},
              config={"auth_user": "asker"})
    assert whoami(p, USER, SECRET) == USER              # its keys open the server
    assert whoami(p, "hard", HARD) == "hard"
    if auth_type == "md5":
        assert whoami(p, "md5_user", "md5 secret") == "md5_user"
    wrong = refusal(p, USER, "wrong")
    for user, secret in (("expired", "expired secret"), ("nobody", "x"), ("trusted", ""),
                         ("x' OR 1=1 --", "x"), ("x\\' OR 1=1 --", "x")):
        fields = refusal(p, user, secret)
        assert {k: v.replace(user, "?") for k, v in fields.items()} == \
            {k: v.replace(USER, "?") for k, v in wrong.items()}, user
    assert whoami(p, USER, SECRET) == USER


def test_auth_query_of_ones_own_and_in_a_database_of_its_own(server, proxy):
    server.sql("CREATE OR REPLACE FUNCTION find_secret(n text) RETURNS TABLE (a text, b text) LANGUAGE"
               " sql SECURITY DEFINER AS 'SELECT rolname::text, rolpassword FROM pg_authid WHERE"
               " rolname = n'; GRANT EXECUTE ON FUNCTION find_secret TO other", "second")
    p = proxy(server, users={"other": "other secret"}, config={
        "auth_user": "other", "auth_dbname": "second",
        "auth_query": "SELECT a, b FROM find_secret($1)"})
    assert whoami(p, USER, SECRET) == USER
    assert refusal(p, USER, "wrong")["C"] == "28P01"


def test_auth_query_that_cannot_run_refuses_everybody(server, proxy):
    p = proxy(server, users={"other": "other secret"}, config={
        "auth_user": "other", "auth_query": "SELECT nonsense FROM nowhere WHERE x = $1"})
    assert refusal(p, USER, SECRET)["S"] == "FATAL"
    assert refusal(p, USER, "")["S"] == "FATAL"
    assert whoami(p, "other", "other secret") == "other"


def test_start_up_settings_of_a_stranger_never_reach_the_auth_query(server, proxy):
    server.sql("CREATE SCHEMA trap; CREATE TABLE trap.pg_authid AS SELECT 'x' AS rolname;"
               " GRANT ALL ON SCHEMA trap TO public")
    p = proxy(server, users={"asker": "asker secret"}, config={"auth_user": "asker"})
    assert refusal(p, USER, "wrong", search_path="trap", role="nobody")["C"] == "28P01"
    assert whoami(p, USER, SECRET, search_path="public") == USER


def test_password_change_reaches_new_logins_and_spares_old_sessions(server, proxy):
    server.role("changing", "old secret")
    p = proxy(server, users={"asker": "asker secret"}, config={"auth_user": "asker"})
    with p.connect("changing", "old secret", DB) as c:
        assert c.value("SELECT 1") == "1"
        server.sql("ALTER ROLE changing PASSWORD 'new secret'")
        assert whoami(p, "changing", "new secret") == "changing"
        assert refusal(p, "changing", "old secret")["C"] == "28P01"
        assert c.value("SELECT current_user") == "changing"
        server.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'changing'")
        assert whoami(p, "changing", "new secret") == "changing"


# ---- replication, the form without a file -----------------------------------------------------------

@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_replication_connection_passes_through(server, proxy, mode):
    server.sql("ALTER ROLE other REPLICATION")
    p = proxy(server, mode=mode)
    env = {**os.environ, "PGPASSWORD": "other secret"}
    target = f"host={p.host} port={p.port} user=other dbname={DB}"
    done = subprocess.run(["psql", "-XAt", f"{target} replication=database", "-c", "IDENTIFY_SYSTEM"],
                          capture_output=True, text=True, env=env, timeout=20)
    assert done.stdout.strip().endswith(f"|{DB}"), done.stderr
    server.sql("CREATE TABLE streamed (a int)", DB)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')", DB)
    program = f"{debian_bin(15)}/pg_recvlogical"    # 18 comes without its own; this one works with it
    stream = subprocess.Popen([program, "-d", target, "-S", "s", "--start", "-f", "-", "-F", "0"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True)
    try:
        server.sql("INSERT INTO streamed VALUES (1), (22); INSERT INTO streamed VALUES (333)", DB)
        seen = ""
        while "a[integer]:333" not in seen:
            line = stream.stdout.readline()
            assert line, stream.stderr.read()
            seen += line
        assert "a[integer]:1\n" in seen and "a[integer]:22\n" in seen
    finally:
        stream.terminate()
        stream.communicate(timeout=10)
    wait_for(lambda: server.value("SELECT active FROM pg_replication_slots") == "f", 10,
             "the slot to be free")
    assert "catalog" not in p.log_text()
    server.sql("SELECT pg_drop_replication_slot('s'); DROP TABLE streamed", DB)


def test_physical_replication_protocol_passes_through(server, proxy):
    server.sql("ALTER ROLE other REPLICATION")
    p = proxy(server)
    with p.connect("other", "other secret", DB, replication="true") as c:
        rows = w.dicts_of(c.ask(w.query("IDENTIFY_SYSTEM")))
        assert rows[0]["dbname"] is None
        c.send(w.query(f"START_REPLICATION {rows[0]['xlogpos']} TIMELINE {rows[0]['timeline']}"))
        assert c.read_until("WE")[-1].type == "W"
        server.sql("SELECT pg_logical_emit_message(false, 'a', 'through the proxy')")
        while b"through the proxy" not in c.read_until("d")[-1].raw:
            pass
    assert refusal(p, "other", "wrong", replication="true")["C"] == "28P01"
    assert refusal(p, USER, SECRET, replication="true")["S"] == "FATAL"     # not a replication role


def test_one_url_is_enough(server):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", 6432))
        except OSError:
            pytest.skip("port 6432 is in use")
    binary = os.environ.get("PENSTOCK_BIN") or os.path.join(procs.BUILD, "penstock")
    folder = procs.temp_dir()
    url = f"postgres://{USER}:app%20secret@{server.host}:{server.port}/{DB}?sslmode=disable"
    child = procs.Child([binary, url], log=f"{folder}/log")
    try:
        def up():
            assert child.poll() is None, child.text()
            try:
                return RawClient.login(6432, USER, SECRET, DB)
            except OSError:
                return None
        with wait_for(up, 10, lambda: child.text()) as c:
            assert c.value("SELECT current_user || current_database()") == USER + DB
        with pytest.raises(ServerError) as e:
            RawClient.login(6432, USER, "wrong", DB)
        assert e.value.code == "28P01"
        with RawClient.login(6432, USER, SECRET, "penstock") as c:
            assert c.query("SHOW VERSION")
        assert child.stop() == 0
    finally:
        child.kill()


def test_start_without_file_keeps_the_password_out_of_the_log(server):
    """A bad URL is named, its password is not."""
    binary = os.environ.get("PENSTOCK_BIN") or os.path.join(procs.BUILD, "penstock")
    done = subprocess.run([binary, "--check", "postgres://u:hush%zz@h/db"], capture_output=True,
                          text=True, timeout=10)
    assert done.returncode != 0 and "hush" not in done.stdout + done.stderr
