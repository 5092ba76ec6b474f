"""A PostgreSQL server played by a script, which may misbehave.

server = FakeServer(script) listens on a free port; script(conn) runs in a thread for each login that
is not a cancel request.  Conn.serve() answers requests the way a patient server would; a test replaces
the answer of single statements by bytes or a function.  What a script raises is kept in
server.failures and raised by close(), except for the peer going away, which is ordinary.
"""
import base64
import hashlib
import hmac
import os
import socket
import struct
import threading

from . import pgwire as w
from . import procs

PARAMETERS = [
    ("server_version", "15.0"), ("server_encoding", "UTF8"), ("client_encoding", "UTF8"),
    ("application_name", ""), ("is_superuser", "off"), ("session_authorization", "app"),
    ("DateStyle", "ISO, MDY"), ("IntervalStyle", "postgres"), ("TimeZone", "UTC"),
    ("integer_datetimes", "on"), ("standard_conforming_strings", "on"),
    ("default_transaction_read_only", "off"), ("in_hot_standby", "off"),
]


class Conn:
    """One accepted connection."""

    def __init__(self, sock, number, server):
        self.sock, self.number, self.server = sock, number, server
        self.buffer, self.inbox = bytearray(), []
        self.startup, self.seen = {}, []
        self.tx = "I"

    def send(self, *chunks):
        try:
            self.sock.sendall(b"".join(chunks))
        except OSError as e:
            raise w.Closed(str(e)) from e

    def _recv(self):
        try:
            got = self.sock.recv(262144)
        except ConnectionError as e:
            raise w.Closed(str(e)) from e
        if not got:
            raise w.Closed("closed by the peer")
        return got

    def recv_exact(self, n):
        while len(self.buffer) < n:
            self.buffer += self._recv()
        out = bytes(self.buffer[:n])
        del self.buffer[:n]
        return out

    def read(self):
        """The client's next message; kept in seen."""
        while not self.inbox:
            if not self.buffer or len(self.buffer) < 5 or not self._whole():
                self.buffer += self._recv()
            self.inbox = [w.decode(w.FRONTEND, k, b) for k, b in w.split(self.buffer)]
        m = self.inbox.pop(0)
        self.seen.append(m)
        return m

    def _whole(self):
        size = struct.unpack("!i", self.buffer[1:5])[0]
        return size < 4 or len(self.buffer) >= size + 1

    def expect(self, kind):
        m = self.read()
        assert m.type == kind, f"server wanted {kind!r}, got {m.type!r} {m.fields}"
        return m

    # login
    def read_startup(self):
        """Start-up parameters, or None for a cancel request (kept in server.cancels)."""
        while True:
            size, code = struct.unpack("!ii", self.recv_exact(8))
            if code in (w.SSL_REQUEST, w.GSS_REQUEST):
                self.send(b"N")
                continue
            body = self.recv_exact(size - 8)
            if code == w.CANCEL_REQUEST:
                self.server.cancels.append((struct.unpack("!i", body[:4])[0], body[4:]))
                return None
            items = body.split(b"\0")
            self.startup = {items[i].decode(): items[i + 1].decode()
                            for i in range(0, len(items) - 2, 2)}
            self.version = code
            return self.startup

    def authenticate(self, method="trust", secret=""):
        user = self.startup.get("user", "")
        ok = True
        if method == "password":
            self.send(w.authentication(3))
            ok = self.expect("p").raw == w.cstr(secret)
        elif method == "md5":
            salt = os.urandom(4)
            self.send(w.authentication(5, salt))
            ok = self.expect("p").raw == w.cstr(w.md5_secret(user, secret, salt))
        elif method == "scram-sha-256":
            ok = self._scram(secret)
        if not ok:
            self.send(w.error_response("password authentication failed", "28P01", "FATAL"))
            raise w.Closed("login refused by the script")
        return ok

    def _scram(self, secret, rounds=4096):
        salt = os.urandom(16)
        self.send(w.authentication(10, b"SCRAM-SHA-256\0\0"))
        r = w.Reader(self.expect("p").raw)
        r.s()
        first = r.value().decode()
        bare = first.split(",", 2)[2]
        nonce = dict(x.split("=", 1) for x in bare.split(","))["r"] + "srv" + os.urandom(6).hex()
        server_first = f"r={nonce},s={base64.b64encode(salt).decode()},i={rounds}"
        self.send(w.authentication(11, server_first.encode()))
        final = self.expect("p").raw.decode()
        without, proof = final.rsplit(",p=", 1)
        salted = w.salted_password(secret, salt, rounds)
        key = lambda k, d: hmac.new(k, d, hashlib.sha256).digest()  # noqa: E731
        auth = f"{bare},{server_first},{without}".encode()
        client_key = key(salted, b"Client Key")
        want = bytes(a ^ b for a, b in
                     zip(client_key, key(hashlib.sha256(client_key).digest(), auth)))
        if base64.b64decode(proof) != want:
            return False
        sig = base64.b64encode(key(key(salted, b"Server Key"), auth))
        self.send(w.authentication(12, b"v=" + sig))
        return True

    def welcome(self, **changes):
        """AuthenticationOk to ReadyForQuery; its own pid and key."""
        self.pid, self.key = 1000 + self.number, struct.pack("!i", 7000 + self.number)
        params = {**dict(PARAMETERS), "session_authorization": self.startup.get("user", ""),
                  "application_name": self.startup.get("application_name", ""), **changes}
        self.send(w.authentication(0), *(w.parameter_status(k, v) for k, v in params.items()),
                  w.backend_key(self.pid, self.key), w.ready())

    def login(self, method="trust", secret="", **changes):
        self.authenticate(method, secret)
        self.welcome(**changes)

    # serving
    def serve(self, answers=None, until=None):
        """Answers requests until the client leaves, or until(conn, msg) is true.

        answers: text contained in the statement -> bytes, or function(conn, msg) -> bytes or None
        for a reply already sent."""
        answers = answers or {}
        prepared = {}
        portal = ""
        while True:
            m = self.read()
            if until and until(self, m):
                return m
            if m.type == "X":
                return m
            if m.type == "Q":
                self._reply(answers, m.fields["sql"], m, simple=True)
            elif m.type == "P":
                prepared[m.fields["name"]] = m.fields["sql"]
                self.send(w.frame("1"))
            elif m.type == "B":
                portal = prepared.get(m.fields["name"], "")
                self.send(w.frame("2"))
            elif m.type == "D":
                if m.fields["kind"] == "S":
                    self.send(w.frame("t", struct.pack("!h", 0)))
                self.send(w.frame("n"))
            elif m.type == "E":
                self._reply(answers, portal, m, simple=False)
            elif m.type == "C":
                self.send(w.frame("3"))
            elif m.type == "S":
                self.send(w.ready(self.tx))

    def _reply(self, answers, sql, msg, simple):
        for text, answer in answers.items():
            if text in sql:
                out = answer(self, msg) if callable(answer) else answer
                if out is not None:
                    self.send(out)
                return
        verb = sql.strip().split(None, 1)[0].upper().rstrip(";") if sql.strip(" ;\n") else ""
        if verb in ("BEGIN", "START"):
            self.tx = "T"
        elif verb in ("COMMIT", "ROLLBACK", "END"):
            self.tx = "I"
        if not verb:
            out = w.frame("I")
        elif verb in ("SELECT", "SHOW", "VALUES", "WITH", "TABLE"):
            out = (w.row_description(["a"]) if simple else b"") + w.command_complete("SELECT 0")
        else:
            out = w.command_complete(verb + (" ALL" if "DISCARD ALL" in sql.upper() else ""))
        self.send(out + (w.ready(self.tx) if simple else b""))


class FakeServer:
    def __init__(self, script=None, answers=None, auth="trust", secret="", timeout=30):
        """Without a script every connection logs in and is served with answers."""
        self.script = script or (lambda c: (c.login(auth, secret), c.serve(answers)))
        self.failures, self.cancels, self.conns = [], [], []
        self.timeout = timeout
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.host, self.port = self.listener.getsockname()
        self.closing = False
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(self.timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        with self.lock:
            conn = Conn(sock, len(self.conns), self)
        try:
            if conn.read_startup() is None:
                return
            with self.lock:
                conn.number = len(self.conns)
                self.conns.append(conn)
            self.script(conn)
        except (w.Closed, ConnectionError):
            pass
        except Exception as e:  # kept for close(), a thread has nobody to raise to
            if not self.closing:
                self.failures.append(e)
        finally:
            sock.close()

    def refuse(self):
        """No new connections; close() alone leaves the socket open for the thread that waits in it."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def database(self, **more):
        """Keys of a [databases] entry that leads here."""
        return {"host": self.host, "port": self.port, **more}

    def wait_cancel(self, timeout=10):
        return procs.wait_for(lambda: self.cancels and self.cancels[-1], timeout, "a cancel request")

    def statements(self):
        """Texts of all statements that arrived, in order per connection."""
        return [m.fields["sql"] for c in self.conns for m in c.seen if m.type in "QP"]

    def close(self):
        self.closing = True
        self.refuse()
        for c in self.conns:
            try:
                c.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self.failures:
            raise self.failures[0]

    def __enter__(self):
        return self

    def __exit__(self, kind, *exc):
        try:
            self.close()
        except Exception:
            if not kind:
                raise
