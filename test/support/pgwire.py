"""PostgreSQL's wire protocol in pure Python: messages, logins, and a raw client.

For tests that must see and send single bytes, so nothing here is helpful on its own: RawClient does
not skip, reorder or hide anything, and can send any prefix of anything.  fake_server.py is the other
side, aio.py the event-loop client of the demo and the checker; both use the functions below.

A received message is a Msg(type, fields, raw): type is its letter, fields its decoded content as a
dict, raw its body.
"""
import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
from collections import namedtuple

PROTOCOL_30 = 3 << 16
PROTOCOL_32 = (3 << 16) | 2
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102

Msg = namedtuple("Msg", "type fields raw")


class WireError(Exception):
    """The peer broke the protocol or the connection."""


class Closed(WireError):
    """End of file or reset."""


class ServerError(Exception):
    """An ErrorResponse, raised by the helpers that promise rows."""

    def __init__(self, fields):
        self.fields = fields
        self.code = fields.get("C")
        super().__init__(f"{fields.get('S')} {self.code}: {fields.get('M')}")


# ---- building ---------------------------------------------------------------------------------------

def _b(x):
    return x if isinstance(x, bytes) else str(x).encode()


def cstr(x):
    return _b(x) + b"\0"


def frame(kind, body=b""):
    return kind.encode() + struct.pack("!i", len(body) + 4) + body


def startup_packet(params, version=PROTOCOL_30):
    body = struct.pack("!i", version) + b"".join(cstr(k) + cstr(v) for k, v in params) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def ssl_request():
    return struct.pack("!ii", 8, SSL_REQUEST)


def gss_request():
    return struct.pack("!ii", 8, GSS_REQUEST)


def cancel_request(pid, key):
    return struct.pack("!iii", 12 + len(key), CANCEL_REQUEST, pid) + key


def query(sql):
    return frame("Q", cstr(sql))


def parse(sql, name="", types=()):
    return frame("P", cstr(name) + cstr(sql) +
                 struct.pack(f"!H{len(types)}I", len(types), *types))


def bind(params=(), name="", portal="", formats=(), results=()):
    """params: None, str or bytes each; formats and results: 0 text, 1 binary."""
    out = [cstr(portal), cstr(name), struct.pack(f"!H{len(formats)}h", len(formats), *formats),
           struct.pack("!H", len(params))]
    for p in params:
        if p is None:
            out.append(b"\xff\xff\xff\xff")
        else:
            p = _b(p)
            out.append(struct.pack("!i", len(p)) + p)
    out.append(struct.pack(f"!H{len(results)}h", len(results), *results))
    return frame("B", b"".join(out))


def describe(name="", kind="S"):
    return frame("D", kind.encode() + cstr(name))


def execute(portal="", rows=0):
    return frame("E", cstr(portal) + struct.pack("!i", rows))


def close(name="", kind="S"):
    return frame("C", kind.encode() + cstr(name))


def sync():
    return frame("S")


def flush():
    return frame("H")


def terminate():
    return frame("X")


def password(text):
    return frame("p", cstr(text))


def copy_data(data):
    return frame("d", _b(data))


def copy_done():
    return frame("c")


def copy_fail(why="copy failed"):
    return frame("f", cstr(why))


def function_call(oid, args=(), result_format=0):
    out = [struct.pack("!I", oid), struct.pack("!hh", 1, 1), struct.pack("!h", len(args))]
    for a in args:
        out.append(b"\xff\xff\xff\xff" if a is None else struct.pack("!i", len(a)) + a)
    out.append(struct.pack("!h", result_format))
    return frame("F", b"".join(out))


# server side
def authentication(code, rest=b""):
    return frame("R", struct.pack("!i", code) + rest)


def parameter_status(name, value):
    return frame("S", cstr(name) + cstr(value))


def backend_key(pid, key):
    return frame("K", struct.pack("!i", pid) + key)


def ready(status="I"):
    return frame("Z", status.encode())


def row_description(columns):
    """columns: names, or (name, type oid) pairs."""
    out = [struct.pack("!h", len(columns))]
    for c in columns:
        name, oid = c if isinstance(c, tuple) else (c, 25)
        out.append(cstr(name) + struct.pack("!ihIhih", 0, 0, oid, -1, -1, 0))
    return frame("T", b"".join(out))


def data_row(values):
    out = [struct.pack("!h", len(values))]
    for v in values:
        out.append(b"\xff\xff\xff\xff" if v is None else
                   struct.pack("!i", len(_b(v))) + _b(v))
    return frame("D", b"".join(out))


def command_complete(tag):
    return frame("C", cstr(tag))


def error_response(message="bad", code="XX000", severity="ERROR", **more):
    """code None leaves the SQLSTATE field out, which no real server does."""
    fields = {"S": severity, "V": severity, "C": code, "M": message, **more}
    return frame("E", b"".join(_b(k) + cstr(v) for k, v in fields.items() if v is not None) + b"\0")


def notice_response(message, code="00000", severity="NOTICE"):
    return b"N" + error_response(message, code, severity)[1:]


def select_reply(columns, rows, status="I"):
    """What a simple `SELECT` answers."""
    return (row_description(columns) + b"".join(data_row(r) for r in rows) +
            command_complete(f"SELECT {len(rows)}") + ready(status))


# ---- taking apart -----------------------------------------------------------------------------------

class Reader:
    def __init__(self, body):
        self.b, self.i = body, 0

    def take(self, n):
        if n < 0 or n > len(self.b) - self.i:
            raise WireError("message too short")
        out = self.b[self.i:self.i + n]
        self.i += n
        return out

    def i16(self):
        return struct.unpack("!h", self.take(2))[0]

    def u16(self):
        return struct.unpack("!H", self.take(2))[0]

    def i32(self):
        return struct.unpack("!i", self.take(4))[0]

    def u32(self):
        return struct.unpack("!I", self.take(4))[0]

    def s(self):
        end = self.b.find(b"\0", self.i)
        if end < 0:
            raise WireError("string without end")
        out = self.b[self.i:end].decode("utf-8", "replace")
        self.i = end + 1
        return out

    def left(self):
        return self.take(len(self.b) - self.i)

    def value(self):
        n = self.i32()
        return None if n < 0 else self.take(n)


def error_fields(body):
    r, out = Reader(body), {}
    while r.i < len(body) and body[r.i:r.i + 1] != b"\0":
        letter = chr(r.take(1)[0])
        out[letter] = r.s()
    return out


def _row_description(r):
    out = []
    for _ in range(r.u16()):
        name = r.s()
        table, column, oid, size, mod, fmt = struct.unpack("!ihIhih", r.take(18))
        out.append({"name": name, "table": table, "column": column, "oid": oid, "size": size,
                    "mod": mod, "format": fmt})
    return {"columns": out}


def _copy_response(r):
    return {"format": r.take(1)[0], "columns": [r.i16() for _ in range(r.u16())]}


BACKEND = {
    "R": lambda r: {"code": r.i32(), "data": r.left()},
    "S": lambda r: {"name": r.s(), "value": r.s()},
    "K": lambda r: {"pid": r.i32(), "key": r.left()},
    "Z": lambda r: {"status": r.take(1).decode("latin1")},
    "T": _row_description,
    "D": lambda r: {"values": [r.value() for _ in range(r.u16())]},
    "C": lambda r: {"tag": r.s()},
    "E": lambda r: error_fields(r.b),
    "N": lambda r: error_fields(r.b),
    "A": lambda r: {"pid": r.i32(), "channel": r.s(), "payload": r.s()},
    "t": lambda r: {"types": [r.u32() for _ in range(r.u16())]},
    "G": _copy_response,
    "H": _copy_response,
    "W": _copy_response,
    "d": lambda r: {"data": r.left()},
    "V": lambda r: {"value": r.value()},
    "v": lambda r: {"minor": r.i32(), "options": [r.s() for _ in range(r.i32())]},
}

FRONTEND = {
    "Q": lambda r: {"sql": r.s()},
    "P": lambda r: {"name": r.s(), "sql": r.s(), "types": [r.u32() for _ in range(r.u16())]},
    "B": lambda r: {"portal": r.s(), "name": r.s(), "formats": [r.i16() for _ in range(r.u16())],
                    "params": [r.value() for _ in range(r.u16())],
                    "results": [r.i16() for _ in range(r.u16())]},
    "D": lambda r: {"kind": r.take(1).decode(), "name": r.s()},
    "E": lambda r: {"portal": r.s(), "rows": r.i32()},
    "C": lambda r: {"kind": r.take(1).decode(), "name": r.s()},
    "f": lambda r: {"why": r.s()},
    "d": lambda r: {"data": r.left()},
    "F": lambda r: {"oid": r.u32()},
    "p": lambda r: {"data": r.left()},
}


def decode(table, kind, body):
    fn = table.get(kind)
    return Msg(kind, fn(Reader(body)) if fn else {}, body)


def split(buffer):
    """Yields (kind, body) for each whole message and cuts them off the bytearray."""
    i, n = 0, len(buffer)
    out = []
    while n - i >= 5:
        size = int.from_bytes(buffer[i + 1:i + 5], "big", signed=True)
        if size < 4:
            raise WireError(f"message {chr(buffer[i])!r} with length {size}")
        if n - i < size + 1:
            break
        out.append((chr(buffer[i]), bytes(buffer[i + 5:i + 1 + size])))
        i += size + 1
    if i:
        del buffer[:i]
    return out


# ---- login ------------------------------------------------------------------------------------------

def md5_secret(user, secret, salt):
    inner = hashlib.md5(_b(secret) + _b(user)).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt).hexdigest()


_salted = {}


def salted_password(secret, salt, rounds):
    """Cached: a thousand clients of one role share it, as libpq users with a pool would."""
    k = (secret, salt, rounds)
    if k not in _salted:
        _salted[k] = hashlib.pbkdf2_hmac("sha256", _b(secret), salt, rounds)
    return _salted[k]


def _hmac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def scram_verifier(secret, rounds=4096, salt=None):
    """The text PostgreSQL stores in pg_authid."""
    salt = salt or os.urandom(16)
    salted = salted_password(secret, salt, rounds)
    stored = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    server = _hmac(salted, b"Server Key")
    e = lambda x: base64.b64encode(x).decode()  # noqa: E731
    return f"SCRAM-SHA-256${rounds}:{e(salt)}${e(stored)}:{e(server)}"


class ScramClient:
    """The client's half; binding is (type, data) for SCRAM-SHA-256-PLUS."""

    def __init__(self, secret, binding=None, nonce=None):
        self.secret, self.binding = secret, binding
        self.nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        self.gs2 = f"p={binding[0]},," if binding else "n,,"
        self.bare = f"n=,r={self.nonce}"

    def first(self):
        return (self.gs2 + self.bare).encode()

    def final(self, server_first):
        server_first = server_first.decode()
        attr = dict(x.split("=", 1) for x in server_first.split(","))
        if not attr["r"].startswith(self.nonce):
            raise WireError("SCRAM: nonce is not ours")
        salted = salted_password(self.secret, base64.b64decode(attr["s"]), int(attr["i"]))
        cbind = self.gs2.encode() + (self.binding[1] if self.binding else b"")
        without = f"c={base64.b64encode(cbind).decode()},r={attr['r']}"
        auth = f"{self.bare},{server_first},{without}".encode()
        key = _hmac(salted, b"Client Key")
        sig = _hmac(hashlib.sha256(key).digest(), auth)
        proof = bytes(a ^ b for a, b in zip(key, sig))
        self.server_sig = base64.b64encode(_hmac(_hmac(salted, b"Server Key"), auth)).decode()
        return f"{without},p={base64.b64encode(proof).decode()}".encode()

    def check(self, server_final):
        if server_final.decode() != "v=" + self.server_sig:
            raise WireError("SCRAM: the server did not prove itself")


class Login:
    """Answers authentication requests: feed it each R message, send what it returns."""

    def __init__(self, user, secret, binding=None):
        self.user, self.secret, self.binding = user, secret, binding
        self.scram = None

    def answer(self, fields):
        code, data = fields["code"], fields["data"]
        if code == 0:
            return None
        if code == 3:
            return password(self.secret)
        if code == 5:
            return password(md5_secret(self.user, self.secret, data))
        if code == 10:
            offered = data.split(b"\0")
            plus = self.binding and b"SCRAM-SHA-256-PLUS" in offered
            mech = "SCRAM-SHA-256-PLUS" if plus else "SCRAM-SHA-256"
            if mech.encode() not in offered:
                raise WireError(f"no known SASL mechanism in {data!r}")
            self.scram = ScramClient(self.secret, self.binding if plus else None)
            first = self.scram.first()
            return frame("p", cstr(mech) + struct.pack("!i", len(first)) + first)
        if code == 11:
            return frame("p", self.scram.final(data))
        if code == 12:
            self.scram.check(data)
            return None
        raise WireError(f"authentication method {code} is not known here")


# ---- the raw client ---------------------------------------------------------------------------------

class RawClient:
    """One connection to a server, blocking, with a deadline on every wait."""

    def __init__(self, port, host="127.0.0.1", timeout=10.0):
        """host starting with / is a directory with a Unix socket."""
        self.host, self.port = host, port
        if host.startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout)
            self.sock.connect(f"{host}/.s.PGSQL.{port}")
        else:
            self.sock = socket.create_connection((host, port), timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.ready_msgs = []
        self.params, self.key, self.pid = {}, None, None
        self.status = None

    @classmethod
    def login(cls, port, user, secret="", db=None, host="127.0.0.1", timeout=10.0,
              version=PROTOCOL_30, tls=None, **params):
        c = cls(port, host, timeout)
        try:
            if tls:
                c.start_tls(tls)
            c.start(user, secret, db, version, **params)
        except BaseException:
            c.abort()
            raise
        return c

    # bytes
    def send(self, *chunks):
        try:
            self.sock.sendall(b"".join(chunks))
        except OSError as e:
            raise Closed(f"send: {e}") from e

    def send_split(self, data, *cuts):
        """Sends data in pieces, cut at the given offsets; each piece is its own segment."""
        at = 0
        for cut in [*cuts, len(data)]:
            if cut > at:
                self.send(data[at:cut])
                at = cut

    def recv_raw(self, n=65536):
        """Next bytes; b"" at the end of the stream or after a reset."""
        if self.buffer:
            out = bytes(self.buffer)
            self.buffer.clear()
            return out
        try:
            return self.sock.recv(n)
        except ConnectionError:
            return b""

    def recv_all(self):
        """Everything until the peer closes."""
        out = b""
        while True:
            got = self.recv_raw()
            if not got:
                return out
            out += got

    # messages
    def read(self):
        """The next message, whatever it is."""
        while not self.ready_msgs:
            try:
                got = self.sock.recv(262144)
            except ConnectionError as e:
                raise Closed(f"receive: {e}") from e
            except (TimeoutError, ssl.SSLError) as e:
                raise WireError(f"no message came: {e}; {len(self.buffer)} bytes buffered") from e
            if not got:
                raise Closed(f"closed by the peer; {len(self.buffer)} bytes buffered")
            self.buffer += got
            self.ready_msgs = [decode(BACKEND, k, b) for k, b in split(self.buffer)]
        m = self.ready_msgs.pop(0)
        if m.type == "S":
            self.params[m.fields["name"]] = m.fields["value"]
        elif m.type == "K":
            self.pid, self.key = m.fields["pid"], m.fields["key"]
        elif m.type == "Z":
            self.status = m.fields["status"]
        return m

    def read_until(self, kinds="Z", count=1):
        """Messages up to and including the count-th of one of the given types."""
        out = []
        while count:
            out.append(self.read())
            count -= out[-1].type in kinds
        return out

    def read_to_end(self):
        """Messages until the peer closes."""
        out = []
        while True:
            try:
                out.append(self.read())
            except Closed:
                return out

    def quiet(self, seconds=0.1):
        """True when nothing arrives for so long.  Only for proving silence."""
        if self.ready_msgs:
            return False
        old = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            got = self.sock.recv(65536)
            self.buffer += got
            return False
        except TimeoutError:
            return True
        except ConnectionError:
            return False
        finally:
            self.sock.settimeout(old)

    # login
    def start_tls(self, context):
        self.send(ssl_request())
        answer = self.sock.recv(1)
        if answer != b"S":
            raise WireError(f"TLS refused: {answer!r}")
        self.sock = context.wrap_socket(self.sock, server_hostname=self.host)

    def start(self, user, secret="", db=None, version=PROTOCOL_30, **params):
        pairs = [("user", user)] + ([("database", db)] if db is not None else [])
        self.send(startup_packet(pairs + list(params.items()), version))
        return self.finish_login(user, secret)

    def finish_login(self, user, secret=""):
        """Answers what the server asks until it is ready; raises its refusal.  Returns messages."""
        login, out = Login(user, secret), []
        while True:
            m = self.read()
            out.append(m)
            if m.type == "E":
                raise ServerError(m.fields)
            if m.type == "R":
                reply = login.answer(m.fields)
                if reply:
                    self.send(reply)
            if m.type == "Z":
                return out

    # conveniences
    def ask(self, *chunks, until="Z", count=1):
        self.send(*chunks)
        return self.read_until(until, count)

    def query(self, sql):
        """Rows of a simple query as lists of str or None; raises the first error."""
        return rows_of(self.ask(query(sql)))

    def value(self, sql):
        rows = self.query(sql)
        return rows[0][0] if rows else None

    def extended(self, sql, params=()):
        return rows_of(self.ask(parse(sql), bind(params), describe("", "P"), execute(), sync()))

    def cancel(self):
        """Sends a cancel request for this connection on a second one and waits for its end."""
        c = RawClient(self.port, self.host, self.sock.gettimeout())
        c.send(cancel_request(self.pid, self.key))
        c.recv_all()
        c.abort()

    def close(self):
        """A polite end."""
        try:
            self.send(terminate())
        except (WireError, OSError):
            pass
        self.sock.close()

    def abort(self):
        """Drops the socket without a word."""
        self.sock.close()

    def reset(self):
        """Drops the socket with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def rows_of(msgs):
    for m in msgs:
        if m.type == "E":
            raise ServerError(m.fields)
    return [[None if v is None else v.decode("utf-8", "replace") for v in m.fields["values"]]
            for m in msgs if m.type == "D"]


def dicts_of(msgs):
    names = [c["name"] for m in msgs if m.type == "T" for c in m.fields["columns"]]
    return [dict(zip(names, row)) for row in rows_of(msgs)]


def errors_of(msgs):
    return [m.fields for m in msgs if m.type == "E"]


def types_of(msgs):
    """The message letters as one string: the shape of a reply."""
    return "".join(m.type for m in msgs)
