"""What the checker's plain clients do most: reads that may share servers with those of others.

Mixed into checker.Client, whose connection, random numbers and judgements these use.
"""
import asyncio
import time

from support import aio
from support import pgwire as w

ROWS = 5                # of each client


class SharedReads:
    async def do_burst(self):
        """Short reads one after the other, in each way that the protocol has."""
        for _ in range(self.rng.randrange(1, 12)):
            await self.rng.choice((self.do_read, self.do_read_unnamed, self.do_read_common, self.do_uneven))()
            self.report.count("short reads")

    async def do_read_unnamed(self):
        await self.read_common("", True)

    async def do_read_common(self):
        """One text under one name for all plain clients."""
        await self.read_common(self.name() and "common", not self.common)
        self.common = self.name() != ""

    async def read_common(self, name, parse):
        token, data = self.token(), b""
        if parse:
            data = w.close(name) if name else b""       # an error may have come behind the naming
            data += w.parse("SELECT $1::text, owner, slot, n, mark FROM data WHERE owner = $2::int", name)
        data += w.bind([token, str(self.me)], name) + w.describe("", "P") + w.execute() + w.sync()
        rows = self.rows(await asyncio.wait_for(self.conn.request(data), 60))
        self.check_token(token, rows, "common read")
        if len(self.check_rows([r[1:] for r in rows], "common read")) != ROWS:
            self.bad("wrong data", f": {len(rows)} of {ROWS} rows")

    def uneven(self, token, n):
        return (f"SELECT '{token}', owner, slot, n, mark, (SELECT count(*) FROM generate_series(1, 100) a,"
                f" generate_series(1, {n}) b) FROM data WHERE owner = {self.me}")

    async def do_uneven(self):
        """Short but for one in two hundred, of the same digest."""
        token, n = self.token(), self.rng.choice((1, 10) if self.rng.random() < 0.995 else (10000,))
        rows = await self.ask(self.uneven(token, n))
        self.check_token(token, rows, "uneven read")
        if len(self.check_rows([r[1:5] for r in rows], "uneven read")) != ROWS or rows[0][5] != str(100 * n):
            self.bad("wrong data", f": uneven read of {n} got {rows}")

    async def do_large(self):
        """Many rows, mostly read at once; sometimes more than fit any buffer, and slowly."""
        slow, token = self.rng.random() < 0.2, self.token()
        n = self.rng.randrange(3000, 6000) if slow else self.rng.randrange(1, 40)
        if slow:
            self.conn.transport.pause_reading()
        self.conn.post(w.query(f"SELECT '{token}', g, repeat('x', 1000) FROM generate_series(1, {n}) g"))
        if slow:
            await asyncio.sleep(self.rng.random() * 0.4)
            self.conn.transport.resume_reading()
            self.report.count("slow reads")
        rows = self.rows(await asyncio.wait_for(self.conn.rest(), 60))
        self.check_token(token, rows, "large read")
        if [r[1] for r in rows] != [str(g) for g in range(1, n + 1)]:
            self.bad("wrong data", f": large read of {n} rows got {len(rows)}")

    async def do_cancel_read(self):
        """Cancels a read of its own that others share a server with."""
        self.cancelled_until, token = time.monotonic() + 60, self.token()
        self.conn.post(w.query(self.uneven(token, self.rng.choice((1, 10000)))))
        await asyncio.sleep(self.rng.random() * 0.03)
        await aio.cancel(self.run.proxy.host, self.run.proxy.port, self.conn)
        msgs = await asyncio.wait_for(self.conn.rest(), 60)
        self.cancelled_until = time.monotonic() + 0.5
        if (aio.error(msgs) or {}).get("C") == "57014":
            self.report.count("cancels that hit reads")
        else:
            self.check_token(token, self.rows(msgs), "cancelled read")
