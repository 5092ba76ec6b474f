"""`penstock ctl` for scripts and `penstock top` in a terminal, against a running proxy."""
import csv
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from support.common import DB, SECRET, USER
from support.penstock import ADMIN, ADMIN_SECRET, STATS, STATS_SECRET, binary
from support.procs import wait_for

pytestmark = pytest.mark.penstock_only

DONE, REFUSED, USAGE, AWAY = 0, 1, 2, 3
WIDTH, HEIGHT = 80, 24


def environment(secret=ADMIN_SECRET, **more):
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, "PGPASSWORD": secret,
            "PGPASSFILE": "/nonexistent", "LC_ALL": "C.UTF-8", **more}


def target(p, user=ADMIN):
    return ["-h", p.host, "-p", str(p.port), "-U", user, "-d", "pgbouncer"]


def ctl(*args, env=None, stdin=subprocess.DEVNULL):
    return subprocess.run([binary(), "ctl", *args], stdin=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=20, env=env or environment())


# ---- ctl ---------------------------------------------------------------------------------------


def test_answers_as_table_csv_and_json(pg, proxy):
    p = proxy(pg)
    with p.connect(USER, SECRET, DB) as c:
        c.query("SELECT 1")
        table = ctl(*target(p), "SHOW", "POOLS")
        assert (table.returncode, table.stderr) == (DONE, "")
        head, rule, *rows = table.stdout.splitlines()
        assert head.split()[:3] == ["database", "|", "user"] and set(rule) == {"-", "+"}
        assert rows[-1] == f"({len(rows) - 1} rows)" and any(DB in r and USER in r for r in rows)
        assert len({r.find("|") for r in [head, *rows[:-1]]}) == 1
        objects = json.loads(ctl(*target(p), "--format=json", "show pools;").stdout)
        mine, = [o for o in objects if o["database"] == DB]
        assert mine["cl_active"] == 1 and mine["pool_mode"] == "transaction"
        rows = list(csv.DictReader(io.StringIO(ctl(*target(p), "-f", "csv", "SHOW CLIENTS").stdout)))
        assert [r["user"] for r in rows if r["database"] == DB] == [USER]


def test_commands_act_and_refusals_are_an_exit_status(pg, proxy):
    p = proxy(pg)
    assert ctl(*target(p), "SET", "query_timeout", "=", "7").returncode == DONE
    assert "7" in [r["value"] for r in p.show("CONFIG") if r["key"] == "query_timeout"]
    bad = ctl(*target(p), "FROB")
    assert (bad.returncode, bad.stdout) == (REFUSED, "")
    assert bad.stderr == "penstock ctl: invalid command 'FROB', use SHOW HELP;\n"
    denied = ctl(*target(p, STATS), "RELOAD", env=environment(STATS_SECRET))
    assert denied.returncode == REFUSED and "admin access needed" in denied.stderr
    helped = ctl(*target(p), "SHOW", "HELP")
    assert helped.returncode == DONE and "RESET STATEMENTS" in helped.stderr


def test_no_connection_is_an_exit_status(pg, proxy):
    p = proxy(pg)
    wrong = ctl(*target(p), "SHOW POOLS", env=environment("no such secret"))
    assert wrong.returncode == AWAY and "password authentication failed" in wrong.stderr
    assert ctl(*target(p), "SHUTDOWN").returncode == DONE
    wait_for(lambda: not p.alive())
    gone = ctl(*target(p), "SHOW POOLS")
    assert (gone.returncode, gone.stdout) == (AWAY, "") and str(p.port) in gone.stderr


@pytest.mark.parametrize("args", [[], ["-f", "xml", "SHOW POOLS"], ["--nothing"], ["-h"], [""]])
def test_wrong_arguments_are_told(args):
    p = ctl(*args)
    assert (p.returncode, p.stdout) == (USAGE, "") and p.stderr


def test_help_is_no_mistake():
    p = ctl("--help")
    assert p.returncode == DONE and "Exit status" in p.stdout and p.stderr == ""


# ---- top ---------------------------------------------------------------------------------------


class Screen:
    """As much of a VT100 as ncurses uses when it is told that there is one."""

    SEQUENCE = re.compile(rb"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>78M]|[\x0e\x0f\x00\x07]")

    def __init__(self):
        self.rows = [[" "] * WIDTH for _ in range(HEIGHT)]
        self.x = self.y = 0
        self.pending = b""

    def lines(self):
        return ["".join(r).rstrip() for r in self.rows]

    def feed(self, data):
        data, self.pending = self.pending + data, b""
        at = 0
        while at < len(data):
            m = self.SEQUENCE.match(data, at)
            if m:
                at = m.end()
                if m.group(2):
                    self.control(m.group(1), m.group(2))
            elif data[at] == 0x1b:
                assert len(data) - at < 16, f"unknown sequence {data[at:at + 16]!r}"
                self.pending = data[at:]
                return
            else:
                self.plain(chr(data[at]))
                at += 1

    def plain(self, ch):
        if ch == "\r":
            self.x = 0
        elif ch == "\n":
            self.y = min(self.y + 1, HEIGHT - 1)
        elif ch == "\b":
            self.x = max(self.x - 1, 0)
        else:
            self.rows[self.y][min(self.x, WIDTH - 1)] = ch
            self.x += 1

    def control(self, args, kind):
        n = [int(a) if a.isdigit() else 0 for a in args.split(b";")]
        one = max(n[0], 1)
        if kind == b"H":
            self.y, self.x = one - 1, max(n[1] if len(n) > 1 else 1, 1) - 1
        elif kind == b"J":
            for y in range(self.y, HEIGHT):
                self.rows[y][self.x if y == self.y else 0:] = [" "] * (WIDTH - (self.x if y == self.y else 0))
        elif kind == b"K" and n[0] == 0:
            self.rows[self.y][self.x:] = [" "] * (WIDTH - self.x)
        elif kind == b"K":
            self.rows[self.y][:self.x + 1] = [" "] * (self.x + 1)
        elif kind in b"ABCD":
            dy, dx = {b"A": (-1, 0), b"B": (1, 0), b"C": (0, 1), b"D": (0, -1)}[kind]
            self.y, self.x = self.y + dy * one, self.x + dx * one
        else:
            assert kind in b"mrhl", f"unknown control {args!r} {kind!r}"


class Top:
    def __init__(self, args, env):
        self.screen = Screen()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(binary(), [binary(), "top", *args], env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def read(self, seconds=0.05):
        end = time.monotonic() + seconds
        while select.select([self.fd], [], [], max(end - time.monotonic(), 0))[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            self.screen.feed(data)

    def wait(self, condition):
        def holds():
            self.read()
            return condition(self.screen.lines())
        wait_for(holds, what=lambda: "\n".join(self.screen.lines()))

    def press(self, keys):
        os.write(self.fd, keys)

    def kill(self):
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            self.exit_status()

    def leave(self):
        self.press(b"q")
        return self.exit_status()

    def exit_status(self):
        def ended():
            self.read(0.02)
            return os.waitpid(self.pid, os.WNOHANG)
        pid, status = wait_for(lambda: (r := ended())[0] and r)
        os.close(self.fd)
        self.pid = None
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def top():
    tops = []

    def start(p, **env):
        tops.append(Top([*target(p), "-i", "0.2"], environment(TERM="vt100", **env)))
        return tops[-1]

    yield start
    for t in tops:
        t.kill()


def test_top_shows_pools_statements_and_clients(pg, proxy, top):
    p = proxy(pg)
    with p.connect(USER, SECRET, DB, application_name="an application") as c:
        for _ in range(50):
            c.query("SELECT 'a' || 1")
        c.query("BEGIN")
        t = top(p)
        t.wait(lambda s: any(line.startswith(DB) and USER in line for line in s[5:]))
        assert f"{p.host}:{p.port}" in t.screen.lines()[0]
        t.wait(lambda s: "requests/s" in s[2] and "servers 1 in use" in s[1])
        t.press(b"s")
        t.wait(lambda s: any("select $? || $?" in line and " 50 " in line for line in s[5:]))
        assert "*total" in t.screen.lines()[4]
        t.press(b">>>>>")
        t.wait(lambda s: "*call/s" in s[4])
        t.press(b"c")
        t.wait(lambda s: any("an app" in line and "transaction" in line for line in s[5:]))
        assert "clients 1, waiting 0" in t.screen.lines()[1]
        assert t.leave() == DONE
        c.query("COMMIT")


def test_top_survives_a_restart_of_the_proxy(pg, proxy, top):
    p = proxy(pg)
    t = top(p)
    t.wait(lambda s: "q quit" in s[3])
    p.stop()
    t.wait(lambda s: "q quit" not in s[3] and s[3])
    p.start()
    t.wait(lambda s: "q quit" in s[3])
    assert t.leave() == DONE


def test_top_needs_a_terminal_and_a_proxy(pg, proxy, top):
    p = proxy(pg)
    run = subprocess.run([binary(), "top", *target(p)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, timeout=20, env=environment(TERM="xterm"))
    assert (run.returncode, run.stdout) == (USAGE, "")
    assert run.stderr == "penstock top: this is no terminal; for scripts there is penstock ctl\n"
    unknown = top(p, TERMINFO="/nonexistent", TERMINFO_DIRS="/nonexistent", HOME="/nonexistent")
    unknown.press(b"q")
    assert unknown.exit_status() in (DONE, USAGE)  # some builds of ncurses know a VT100 by heart
    p.stop()
    assert top(p).exit_status() == AWAY


@pytest.mark.parametrize("args", [["-i", "never"], ["-i", "0"], ["SHOW POOLS"], ["-f", "csv"]])
def test_top_tells_wrong_arguments(args):
    run = subprocess.run([binary(), "top", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, timeout=20)
    assert (run.returncode, run.stdout) == (USAGE, "") and "Usage: penstock top" in run.stderr
