"""An event-loop client that costs little, for a thousand connections in one process.

AioConn.request() sends bytes and awaits the raw messages up to a number of idle markers; only type
and length are looked at on the way.  No pool, no retry: the demo's load and the checker decide.
"""
import asyncio
import struct

from . import pgwire as w


class AioConn(asyncio.Protocol):
    def __init__(self):
        self.buffer = bytearray()
        self.inbox, self.want, self.limit, self.waiter = [], 0, 0, None
        self.lost, self.transport = None, None
        self.pid, self.key, self.params = 0, b"", {}

    @classmethod
    async def open(cls, host, port, user, secret, db, timeout=30, **params):
        loop = asyncio.get_running_loop()
        if host.startswith("/"):
            _, c = await loop.create_unix_connection(cls, f"{host}/.s.PGSQL.{port}")
        else:
            _, c = await loop.create_connection(cls, host, port)
        try:
            await asyncio.wait_for(c._login(user, secret, db, params), timeout)
        except BaseException:
            c.abort()
            raise
        return c

    # asyncio.Protocol
    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        self.lost = w.Closed(f"closed by the peer ({exc})" if exc else "closed by the peer")
        self._fail(self.lost)

    def _fail(self, error):
        if self.waiter and not self.waiter.done():
            self.waiter.set_exception(error)

    def data_received(self, data):
        self.buffer += data
        try:
            msgs = w.split(self.buffer)
        except w.WireError as e:
            self._fail(e)
            self.transport.abort()
            return
        for kind, body in msgs:
            if kind == "S":
                name, value = body.split(b"\0")[:2]
                self.params[name.decode()] = value.decode("utf-8", "replace")
            elif kind == "Z":
                self.want -= 1
        self.inbox += msgs
        if self.waiter and not self.waiter.done() and (
                self.want <= 0 or (self.limit and len(self.inbox) >= self.limit)):
            self.waiter.set_result(None)

    # use
    async def _wait(self):
        if self.lost:
            raise self.lost
        self.waiter = asyncio.get_running_loop().create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def take(self):
        """The messages that have arrived and were not taken yet, as (type, body)."""
        out, self.inbox = self.inbox, []
        return out

    async def request(self, data, ready=1):
        """Sends data, returns the messages up to the ready-th idle marker."""
        if self.lost:
            raise self.lost
        self.want, self.limit = ready, 0
        self.transport.write(data)
        await self._wait()
        return self.take()

    async def some(self, count):
        """Waits until at least count messages are there or the reply is complete; takes none."""
        if self.want > 0 and len(self.inbox) < count:
            self.limit = count
            await self._wait()
            self.limit = 0

    async def rest(self):
        """The reply to a request whose start some() waited for."""
        if self.want > 0:
            await self._wait()
        return self.take()

    def post(self, data, ready=1):
        """Sends without waiting; rest() or some() wait."""
        if self.lost:
            raise self.lost
        self.want, self.limit = ready, 0
        self.transport.write(data)

    async def _login(self, user, secret, db, params):
        login, self.want = w.Login(user, secret), 1
        self.transport.write(w.startup_packet([("user", user), ("database", db), *params.items()]))
        while True:
            await self.some(1)
            for kind, body in self.take():
                if kind == "E":
                    raise w.ServerError(w.error_fields(body))
                if kind == "R":
                    reply = login.answer({"code": struct.unpack("!i", body[:4])[0], "data": body[4:]})
                    if reply:
                        self.transport.write(reply)
                elif kind == "K":
                    self.pid, self.key = struct.unpack("!i", body[:4])[0], body[4:]
                elif kind == "Z":
                    return

    async def query(self, sql):
        """Rows of a simple query, as lists of str or None; raises its error."""
        return rows(await self.request(w.query(sql)))

    def close(self):
        if self.transport and not self.lost:
            self.transport.write(w.terminate())
            self.transport.close()

    def abort(self):
        if self.transport:
            self.transport.abort()


class _Cancel(asyncio.Protocol):
    def __init__(self, done):
        self.done = done

    def connection_lost(self, exc):
        if not self.done.done():
            self.done.set_result(None)


async def cancel(host, port, conn, timeout=5):
    """Asks to cancel what conn runs and waits until the proxy has closed the request."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    transport, _ = await loop.create_connection(lambda: _Cancel(done), host, port)
    transport.write(w.cancel_request(conn.pid, conn.key))
    try:
        await asyncio.wait_for(done, timeout)
    finally:
        transport.abort()


def row_values(body):
    """Values of a DataRow as str or None."""
    out, at = [], 2
    for _ in range(int.from_bytes(body[:2], "big")):
        size = int.from_bytes(body[at:at + 4], "big", signed=True)
        at += 4
        if size < 0:
            out.append(None)
        else:
            out.append(body[at:at + size].decode("utf-8", "replace"))
            at += size
    return out


def error(msgs):
    """The first error's fields, or None."""
    for kind, body in msgs:
        if kind == "E":
            return w.error_fields(body)
    return None


def rows(msgs):
    fields = error(msgs)
    if fields:
        raise w.ServerError(fields)
    return [row_values(body) for kind, body in msgs if kind == "D"]
