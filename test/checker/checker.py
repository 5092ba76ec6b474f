#!/usr/bin/env python3
"""The checker run: hundreds of clients that know what is theirs, while everything goes wrong.

Every client has rows marked with its number, settings of its own (SETTINGS) and a prepared statement
under a name that all share but with its own text.  Each request carries a token that the answer must
bring back.  Every second client is plain: it has no settings of its own, and most of what it does are
reads that may share servers (multiplex_depth), large ones among them that it reads slowly, and some
that take long for what their neighbours ask.  Meanwhile clients vanish at any message, cancel, run into query_timeout, and a killer
terminates servers.  Any of these is a violation and fails the run:

  foreign row        a row, token or prepared statement of another client
  leaked setting     another client's value;   lost setting: neither the client's own nor anyone's
  wrong data         a committed change missing, or one that was rolled back present
  foreign cancel     57014 for a client that neither cancelled nor ran past the limit
  unexpected error   an error or a hang-up that nobody caused
  pool size          more servers than pool_size, seen in pg_stat_activity or SHOW POOLS
  memory             the proxy's resident size still grows in the second half
  left behind        at the end a backend that is active or in a transaction, or a client still listed
  no progress        a client that finished nothing in the last third
Of the first of each kind the last operations of its client are shown, with the backends they ran on.

    checker.py [--seconds 60] [--clients 500] [--pool 20] [--mode transaction] [--seed N]
               [--calm 6] [--depth 16]
PENSTOCK_BIN=/usr/sbin/pgbouncer shows that it can fail: its transaction mode leaks settings.
"""
import argparse
import asyncio
import collections
import os
import random
import resource
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from reads import ROWS, SharedReads  # noqa: E402
from support import aio, procs  # noqa: E402
from support import pgwire as w  # noqa: E402
from support.cluster import PgCluster  # noqa: E402
from support.penstock import ADMIN, ADMIN_SECRET, Penstock, is_pgbouncer  # noqa: E402

DB, USER, SECRET = "check", "checker", "checker secret"
QUERY_TIMEOUT = 2
LOST = {"57P01", "57P02", "57P03", "08006", "08003", "08000", "08P01"}      # a killed server
ZONES = ["UTC", "Asia/Tokyo", "America/New_York", "Europe/Paris", "Australia/Perth"]

SCHEMA = f"""
CREATE TABLE data (owner int, slot int, n bigint NOT NULL, mark text NOT NULL,
                   PRIMARY KEY (owner, slot)) WITH (fillfactor = 50);
GRANT ALL ON data TO {USER};
"""


def is_plain(me):
    return me % 2 == 1


def settings_of(me):
    """Values as current_setting() shows them; odd numbers, so that no unit is shortened."""
    return {"app.me": f"client {me}", "work_mem": f"{1025 + 2 * me}kB",
            "search_path": f"c{me}, public", "statement_timeout": f"{20001 + 2 * me}ms",
            "TimeZone": ZONES[me % len(ZONES)], "application_name": f"checker {me}"}


class Report:
    def __init__(self):
        self.violations = collections.Counter()
        self.examples = collections.defaultdict(list)
        self.counts = collections.Counter()
        self.started = time.monotonic()

    def bad(self, kind, text, history=()):
        self.violations[kind] += 1
        if len(self.examples[kind]) < 5:
            self.examples[kind].append(f"{self.now():6.2f} s: {text}")
        if self.violations[kind] == 1:
            self.examples[kind] += [f"  {line}" for line in history]

    def now(self):
        return time.monotonic() - self.started

    def count(self, what, by=1):
        self.counts[what] += by


class Gone(Exception):
    """This client's connection is over; make a new one."""


class Client(SharedReads):
    def __init__(self, me, run):
        self.me, self.run, self.report = me, run, run.report
        self.rng = random.Random(run.args.seed * 100_003 + me)
        self.conn, self.serial, self.progress = None, 0, 0.0
        self.want = {}                                  # settings as they must be
        self.slots = {i: {0} for i in range(ROWS)}      # possible values of each row
        self.cancelled_until = 0.0                      # our own cancel may still arrive
        self.prepared = self.common = False
        self.history = collections.deque(maxlen=40)     # what it has sent and got

    def bad(self, kind, text):
        self.report.bad(kind, f"client {self.me}{text}", self.history)

    def note(self, text):
        self.history.append(f"{self.report.now():6.2f} s {text}")

    # ---- connection ---------------------------------------------------------------------------------
    async def loop(self):
        while not self.run.over:
            try:
                await self.connect()
                while not self.run.over:
                    await asyncio.sleep(self.rng.random() * self.run.pause)
                    await self.step()
                    self.progress = time.monotonic()
                    self.report.count("operations")
            except Gone:
                self.report.count("reconnects")
            except (w.WireError, OSError, asyncio.TimeoutError) as e:
                self.hung_up(e)
            except w.ServerError as e:
                self.refused(e)
            finally:
                if self.conn:
                    self.conn.abort()
                    self.conn = None

    async def connect(self):
        me, mine = self.me, settings_of(self.me)
        if is_plain(me):
            await self.connect_plain()
            return
        async with self.run.gate:
            self.conn = await aio.AioConn.open(
                self.run.proxy.host, self.run.proxy.port, USER, SECRET, DB,
                application_name=mine["application_name"], TimeZone=mine["TimeZone"])
        self.note("logged in")
        self.prepared, self.want = False, mine
        sets = [f"SET app.me = '{mine['app.me']}'", f"SET work_mem = '{mine['work_mem']}'",
                f"SELECT set_config('statement_timeout', '{mine['statement_timeout']}', false)",
                f"SET search_path TO c{me}, public"]
        if self.rng.random() < 0.5:
            await self.ask("; ".join(sets))
        else:
            for s in sets:
                await self.ask(s)
        self.report.count("logins")

    async def connect_plain(self):
        async with self.run.gate:
            self.conn = await aio.AioConn.open(self.run.proxy.host, self.run.proxy.port, USER, SECRET, DB)
        self.note("logged in")
        self.prepared, self.common, self.want = False, False, self.run.defaults
        self.report.count("logins")

    def hung_up(self, e):
        """The connection broke without this client wanting it."""
        if self.run.kill_explains() or is_pgbouncer():
            self.report.count("connections lost with a killed server")
        else:
            self.bad("unexpected error", f": {type(e).__name__} {e}")

    def refused(self, e):
        if e.code in LOST and (self.run.kill_explains() or is_pgbouncer()):
            self.report.count("connections lost with a killed server")
        else:
            self.bad("unexpected error", f": {e}")

    # ---- asking -------------------------------------------------------------------------------------
    def token(self):
        self.serial += 1
        return f"{self.me}-{self.serial}"

    async def ask(self, sql):
        self.note(sql)
        return self.rows(await asyncio.wait_for(self.conn.request(w.query(sql)), 60))

    def rows(self, msgs):
        """Rows of a reply.  Errors somebody else caused end the connection or the step."""
        fields = aio.error(msgs)
        if fields is None:
            return [aio.row_values(b) for k, b in msgs if k == "D"]
        code = fields.get("C")
        self.note(f"-> {fields.get('S')} {code} {fields.get('M')}")
        if code == "57014" and time.monotonic() > self.cancelled_until:
            self.bad("foreign cancel", f": {fields.get('M')}")
        raise w.ServerError(fields)

    def check_token(self, token, rows, where):
        for row in rows:
            if row[0] != token:
                self.bad("foreign row", f", {where}: wanted {token}, got {row}")
                raise Gone

    def check_rows(self, rows, where):
        """Rows (owner, slot, n, mark) must be ours and hold one of the values they can have."""
        seen = set()
        for owner, slot, n, mark in rows:
            if owner != str(self.me) or mark != f"mark {self.me}":
                self.bad("foreign row", f", {where}: {[owner, slot, n, mark]}")
                raise Gone
            seen.add(int(slot))
            if int(n) not in self.slots[int(slot)]:
                self.bad("wrong data", f", {where}: row {slot} is {n}, "
                                       f"can be {sorted(self.slots[int(slot)])}")
            self.slots[int(slot)] = {int(n)}
        return seen

    # ---- what a client does -------------------------------------------------------------------------
    async def step(self):
        dice = self.rng.random()
        for share, action in PLAIN_ACTIONS if is_plain(self.me) else ACTIONS:
            dice -= share
            if dice < 0:
                break
        self.note(action.__name__)
        try:
            await action(self)
            self.report.count(action.__name__.replace("do_", ""))
        except w.ServerError as e:
            await self.after_error(e)

    async def after_error(self, e):
        """A killed server may cost a request; a client that lives on must be in order."""
        expected = e.code == "57014" or (e.code in LOST and self.run.kill_explains())
        if not expected and not is_pgbouncer():
            self.bad("unexpected error", f": {e}")
        if e.fields.get("S") == "FATAL" or self.conn.lost or is_pgbouncer():
            raise Gone
        await self.ask("ROLLBACK")

    async def do_settings(self):
        names = list(self.want)
        rows = await self.ask("SELECT pg_backend_pid(), "
                              + ", ".join(f"current_setting('{n}', true)" for n in names))
        self.note(f"-> backend {rows[0][0]}")
        wrong = [(n, got) for n, got in zip(names, rows[0][1:]) if (got or "") != self.want[n]]
        if wrong:
            name, got = wrong[0]
            other = got and any(c.isdigit() for c in got) and got != "0" and name != "TimeZone"
            self.bad("leaked setting" if other else "lost setting",
                     "".join(f": {n} is {got!r}, must be {self.want[n]!r}" for n, got in wrong))
            raise Gone

    async def do_read(self):
        token = self.token()
        rows = await self.ask(f"SELECT '{token}', owner, slot, n, mark FROM data WHERE owner = {self.me}")
        self.check_token(token, rows, "read")
        if len(self.check_rows([r[1:] for r in rows], "read")) != ROWS:
            self.bad("wrong data", f": {len(rows)} of {ROWS} rows")

    async def do_read_prepared(self):
        """The name is every client's, the text only ours."""
        token, head = self.token(), b""
        if not self.prepared:
            head = w.parse(f"SELECT $1::text, 'text of {self.me}', owner, slot, n, mark FROM data "
                           f"WHERE owner = {self.me}", self.name())
        data = head + w.bind([token], self.name()) + w.execute() + w.sync()
        rows = self.rows(await asyncio.wait_for(self.conn.request(data), 60))
        self.prepared = self.name() != ""
        self.check_token(token, rows, "prepared read")
        for row in rows:
            if row[1] != f"text of {self.me}":
                self.bad("foreign row", f": its statement answered {row}")
        self.check_rows([r[2:] for r in rows], "prepared read")

    def name(self):
        return "" if is_pgbouncer() else "mine"

    async def do_close_prepared(self):
        if self.prepared:
            self.rows(await self.conn.request(w.close(self.name()) + w.sync()))
            self.prepared = False

    async def do_pipeline(self):
        """Several requests in one write, an error among them; answers in order."""
        tokens, data, fail = [self.token() for _ in range(4)], b"", self.rng.randrange(4)
        for i, token in enumerate(tokens):
            sql = "SELECT $1::text" if i != fail else "SELECT $1::text, 1/(1 - length('x'))"
            data += w.parse(sql) + w.bind([token]) + w.execute() + w.sync()
        msgs = await asyncio.wait_for(self.conn.request(data, len(tokens)), 60)
        parts = [[]]
        for m in msgs:
            parts[-1].append(m)
            if m[0] == "Z":
                parts.append([])
        for i, part in enumerate(parts[:4]):
            fields = aio.error(part)
            if i == fail and fields and fields.get("C") == "22012":
                continue
            self.check_token(tokens[i], self.rows(part), "pipeline")

    async def do_write(self):
        slot, before = self.rng.randrange(ROWS), None
        before = self.slots[slot]
        self.slots[slot] = before | {n + 1 for n in before}
        rows = await self.ask(f"UPDATE data SET n = n + 1 WHERE owner = {self.me} AND slot = {slot} "
                              "RETURNING owner, slot, n, mark")
        self.slots[slot] = {n + 1 for n in before}
        self.check_rows(rows, "write")

    async def do_transaction(self):
        """Two rows change together or not at all; a setting of the transaction ends with it."""
        a, b = self.rng.sample(range(ROWS), 2)
        old, commit = (self.slots[a], self.slots[b]), self.rng.random() < 0.6
        await self.ask("BEGIN")
        await self.ask("SET LOCAL app.me = 'inside'; SET LOCAL lock_timeout = 1234")
        for slot in (a, b):
            await self.ask(f"UPDATE data SET n = n + 10 WHERE owner = {self.me} AND slot = {slot}")
        if (await self.ask("SELECT current_setting('app.me')"))[0][0] != "inside":
            self.bad("lost setting", ": SET LOCAL did not hold")
        if commit:
            for slot, was in zip((a, b), old):
                self.slots[slot] = was | {n + 10 for n in was}
        await self.ask("COMMIT" if commit else "ROLLBACK")
        if commit:
            for slot, was in zip((a, b), old):
                self.slots[slot] = {n + 10 for n in was}

    async def do_change_setting(self):
        """SET in a transaction that commits or not, and outside."""
        value = f"{1025 + 2 * self.me + 2000 * self.rng.randrange(1, 9)}kB"
        how = self.rng.randrange(3)
        if how == 0:
            await self.ask(f"SET work_mem = '{value}'")
        else:
            await self.ask("BEGIN")
            await self.ask(f"SET work_mem = '{value}'")
            await self.ask("COMMIT" if how == 1 else "ROLLBACK")
        if how < 2:
            self.want = {**self.want, "work_mem": value}

    async def do_cancel(self):
        """Cancels its own sleeping query; nobody else may feel it."""
        self.cancelled_until = time.monotonic() + 60
        self.conn.post(w.query(f"SELECT pg_sleep({QUERY_TIMEOUT * 0.6})"))
        await asyncio.sleep(self.rng.random() * 0.05)
        await aio.cancel(self.run.proxy.host, self.run.proxy.port, self.conn)
        msgs = await asyncio.wait_for(self.conn.rest(), 60)
        self.cancelled_until = time.monotonic() + 0.5
        if (aio.error(msgs) or {}).get("C") == "57014":
            self.report.count("cancels that hit")
        else:
            self.rows(msgs)

    async def do_timeout(self):
        """Past query_timeout: 57014, and the connection works on."""
        self.cancelled_until = time.monotonic() + 60
        msgs = await asyncio.wait_for(
            self.conn.request(w.query(f"SELECT pg_sleep({QUERY_TIMEOUT + 8})")), 60)
        self.cancelled_until = time.monotonic() + 0.1
        fields = aio.error(msgs)
        if not fields:
            self.bad("unexpected error", ": query_timeout did not strike")
        elif fields.get("C") != "57014":
            self.rows(msgs)
        await self.do_settings()

    async def do_vanish(self):
        """Leaves at any message: after part of a request, or after some of its reply."""
        how, rng = self.rng.randrange(6), self.rng
        if how == 0:
            data = w.query(f"SELECT owner, slot, n, mark FROM data WHERE owner = {self.me}")
            self.conn.transport.write(data[:rng.randrange(1, len(data))])
        elif how == 1:
            await self.ask("BEGIN")
            await self.ask(f"UPDATE data SET n = n + 1000000 WHERE owner = {self.me}")
        else:
            self.conn.post([
                w.query("SELECT repeat('v', 500) FROM generate_series(1, 2000)"),
                w.parse("SELECT g FROM generate_series(1, 50) g") + w.bind() + w.describe("", "P")
                + w.execute("", 10) + w.sync(),
                w.query(f"SELECT pg_sleep({QUERY_TIMEOUT * 0.5})"),
                w.query("COPY (SELECT repeat('c', 90) FROM generate_series(1, 5000)) TO STDOUT"),
            ][how - 2])
            try:
                await asyncio.wait_for(self.conn.some(rng.randrange(0, 60)), 0.05)
            except asyncio.TimeoutError:
                pass
        self.report.count("vanished")
        raise Gone


ACTIONS = [(0.20, Client.do_settings), (0.22, Client.do_read), (0.18, Client.do_read_prepared),
           (0.02, Client.do_close_prepared), (0.06, Client.do_pipeline), (0.12, Client.do_write),
           (0.08, Client.do_transaction), (0.04, Client.do_change_setting), (0.03, Client.do_cancel),
           (0.004, Client.do_timeout), (1, Client.do_vanish)]
PLAIN_ACTIONS = [(0.06, Client.do_settings), (0.50, Client.do_burst), (0.06, Client.do_read_prepared),
                 (0.01, Client.do_close_prepared), (0.04, Client.do_large), (0.04, Client.do_pipeline),
                 (0.10, Client.do_write), (0.05, Client.do_transaction), (0.05, Client.do_cancel_read),
                 (0.02, Client.do_cancel), (0.004, Client.do_timeout), (1, Client.do_vanish)]


class Run:
    def __init__(self, args, pg, proxy):
        self.args, self.pg, self.proxy = args, pg, proxy
        self.report, self.over = Report(), False
        self.gate = asyncio.Semaphore(32)
        self.pause = 0.5 * args.clients / 500
        self.last_kill, self.killed = 0.0, set()
        self.peak, self.over_pool, self.rss = 0, 0, []

    def kill_explains(self):
        """Was a server killed shortly ago?  Waiting clients and slow replies take their time."""
        return time.monotonic() - self.last_kill < 3

    async def go(self):
        self.admin = await aio.AioConn.open(self.pg.sockets, self.pg.port, "postgres", "", DB)
        self.console = await aio.AioConn.open(self.proxy.host, self.proxy.port, ADMIN, ADMIN_SECRET,
                                              "pgbouncer")
        self.defaults = {n: await self.admin.query(f"SELECT current_setting('{n}', true)")
                         for n in settings_of(0)}
        self.defaults = {n: rows[0][0] or "" for n, rows in self.defaults.items()}
        clients = [Client(i, self) for i in range(self.args.clients)]
        tasks = [asyncio.ensure_future(c.loop()) for c in clients]
        watch = [asyncio.ensure_future(f()) for f in (self.killer, self.sampler, self.memory)]
        end = time.monotonic() + self.args.seconds
        while time.monotonic() < end:
            await asyncio.sleep(0.2)
            for t in tasks + watch:
                if t.done():
                    t.result()
            if not self.proxy.alive():
                raise RuntimeError("the proxy ended:\n" + self.proxy.log_text()[-4000:])
        self.over = True
        for t in watch:
            t.cancel()
        _, late = await asyncio.wait(tasks, timeout=QUERY_TIMEOUT + 20)
        for t in late:
            t.cancel()
        await asyncio.gather(*tasks, *watch, return_exceptions=True)
        if late:
            self.report.bad("no progress", f"{len(late)} clients hang at the end")
        limit = max(15.0, self.args.seconds / 3)
        stuck = [c.me for c in clients if c.progress < end - limit]
        if stuck:
            self.report.bad("no progress", f"{len(stuck)} clients did nothing for {limit:.0f} s: "
                                           f"{stuck[:10]}")
        self.judge_memory()
        await self.left_behind()
        await self.count_sharing()

    async def count_sharing(self):
        """What the proxy says of its sharing, among the counts."""
        for row in await self.show("STATS_TOTALS"):
            if row["database"] == DB:
                for what in ("shared", "repeated", "unshared"):
                    self.report.count(f"{what} by the proxy", int(row.get(f"{what}_count", 0)))

    async def show(self, what):
        """Rows of a console view as dicts."""
        msgs = await self.console.request(w.query(f"SHOW {what}"))
        names = [c["name"] for k, b in msgs if k == "T"
                 for c in w.decode(w.BACKEND, k, b).fields["columns"]]
        return [dict(zip(names, row)) for row in aio.rows(msgs)]

    async def killer(self):
        rng = random.Random(self.args.seed)
        await asyncio.sleep(1)
        while True:                 # in bursts with quiet between, so that other errors stand out
            for _ in range(3):
                rows = await self.admin.query(
                    "SELECT pid FROM pg_stat_activity WHERE usename = '" + USER + "'")
                if rows:
                    pid = rng.choice(rows)[0]
                    self.last_kill = time.monotonic()
                    self.killed.add(pid)
                    await self.admin.query(f"SELECT pg_terminate_backend({pid})")
                    self.report.count("servers killed")
                await asyncio.sleep(0.3)
            await asyncio.sleep(self.args.calm)

    async def sampler(self):
        """A backend that is on its way out still shows for a moment, and SHOW POOLS asks one worker after
        the other while servers move between them: only a lasting excess counts."""
        watcher = await aio.AioConn.open(self.pg.sockets, self.pg.port, "postgres", "", DB)
        streak = shown = 0
        while True:
            rows = await watcher.query(f"SELECT pid FROM pg_stat_activity WHERE usename = '{USER}'")
            count = len([1 for (pid,) in rows if pid not in self.killed])
            self.peak = max(self.peak, count)
            streak = streak + 1 if count > self.args.pool else 0
            if streak == 10:
                self.report.bad("pool size", f"{count} servers for a second, pool_size {self.args.pool}")
            servers = await self.pool_servers()
            shown = shown + 1 if servers > self.args.pool else 0
            if shown == 5:
                self.report.bad("pool size", f"SHOW POOLS has {servers} servers")
            self.report.count("samples")
            await asyncio.sleep(0.1)

    async def pool_servers(self):
        total = 0
        for pool in await self.show("POOLS"):
            if pool["database"] == DB:
                total += sum(int(pool[k]) for k in ("sv_active", "sv_idle", "sv_used", "sv_tested"))
        return total

    async def memory(self):
        while True:
            self.rss.append(procs.rss_kb(self.proxy.pid))
            await asyncio.sleep(self.args.seconds / 120)

    def judge_memory(self):
        n = len(self.rss)
        if n < 40:
            return
        mean = lambda part: sum(part) / len(part)  # noqa: E731
        early, late = mean(self.rss[n // 3:n // 2]), mean(self.rss[-n // 6:])
        self.report.counts["memory KiB in the middle"] = int(early)
        self.report.counts["memory KiB at the end"] = int(late)
        if os.environ.get("PENSTOCK_VARIANT"):
            return              # sanitizers keep freed memory
        if late - early > max(4096, early * 0.15):
            self.report.bad("memory", f"{early:.0f} KiB in the middle, {late:.0f} KiB at the end")

    async def left_behind(self):
        """What is not gone some seconds after the last client has left."""
        end = time.monotonic() + 8
        while True:
            busy = await self.admin.query(
                "SELECT pid, state, wait_event, left(query, 60) FROM pg_stat_activity WHERE usename = '"
                + USER + "' AND state <> 'idle'")
            still = await self.listed_clients()
            if time.monotonic() > end or not busy + still:
                break
            await asyncio.sleep(0.1)
        for row in busy:
            self.report.bad("left behind", f"backend {row}")
        for row in still:
            self.report.bad("left behind", f"client {row}")

    async def listed_clients(self):
        msgs = await self.console.request(w.query("SHOW CLIENTS"))
        names = [c["name"] for k, b in msgs if k == "T"
                 for c in w.decode(w.BACKEND, k, b).fields["columns"]]
        return [r for r in aio.rows(msgs) if r[names.index("user")] == USER]


def summary(run, args):
    r = run.report
    print(f"checker: {args.clients} clients, {args.seconds} s, pool of {args.pool} in {args.mode} mode, "
          f"seed {args.seed}; at most {run.peak} servers seen")
    for what, count in sorted(r.counts.items()):
        print(f"  {what}: {count}")
    if r.violations:
        print("  the proxy's log ends with:\n    " + "\n    ".join(run.proxy.log_text()[-3000:].splitlines()))
    for kind, count in r.violations.items():
        print(f"  VIOLATION {kind}: {count}")
        for text in r.examples[kind]:
            print(f"    {text}")
    print("checker: " + ("FAILED" if r.violations else "no violation"), flush=True)


def need(report, **least):
    """A run in which nothing happened proves nothing."""
    for what, number in least.items():
        if report.counts[what.replace("_", " ")] < number:
            report.bad("nothing proved", f"{what}: {report.counts[what.replace('_', ' ')]} < {number}")


def main():
    p = argparse.ArgumentParser(description="see the head of this file")
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--clients", type=int, default=500)
    p.add_argument("--pool", type=int, default=20)
    p.add_argument("--mode", default="transaction")
    p.add_argument("--depth", type=int, default=int(os.environ.get("PENSTOCK_DEPTH", 16)))
    p.add_argument("--calm", type=float, default=6, help="seconds between bursts of killed servers")
    p.add_argument("--seed", type=int, default=int(os.environ.get("CHECKER_SEED", time.time())))
    args = p.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    procs.install()
    with PgCluster(version=int(os.environ.get("PENSTOCK_PG", "15"))) as pg:
        pg.role(USER, SECRET)
        pg.database(DB)
        pg.sql(SCHEMA, DB)
        pg.sql(f"INSERT INTO data SELECT c, s, 0, 'mark ' || c FROM generate_series(0, {args.clients - 1})"
               f" c, generate_series(0, {ROWS - 1}) s", DB)
        secret = pg.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")
        with Penstock(cluster=pg, mode=args.mode, pool_size=args.pool, users={USER: secret},
                      config={"query_timeout": QUERY_TIMEOUT, "multiplex_depth": args.depth,
                              "ignore_startup_parameters": "extra_float_digits"}) as proxy:
            run = Run(args, pg, proxy)
            asyncio.run(run.go())
            scale = args.seconds * args.clients / 30000
            need(run.report, operations=int(5000 * scale), vanished=int(50 * scale),
                 servers_killed=int(args.seconds / 20), cancels_that_hit=int(20 * scale),
                 settings=int(500 * scale))
            if args.depth > 1 and args.mode == "transaction" and not is_pgbouncer():
                need(run.report, shared_by_the_proxy=1, repeated_by_the_proxy=1, unshared_by_the_proxy=1)
            summary(run, args)
    return 1 if run.report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
