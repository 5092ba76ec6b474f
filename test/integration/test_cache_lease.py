"""test_cache_lease.py - the lease protocol between processes and a real Redis, under faults.

Players (test/support/lease_player.c) are proxies without clients: they run the program's own steps, scripts and
connection, and a database made of shared memory, and count every read that returned less than what had been
acknowledged when it began.  LEASE_SECONDS makes it longer.  Two mutants show that it can fail.
"""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECONDS = float(os.environ.get("LEASE_SECONDS", "3"))
SOURCES = ("cache/cache_link.c", "cache/cache_lease.c", "cache/cache_member.c", "cache/cache_redis.c",
           "cache/cache_redis_reply.c", "cache/cache_redis_answer.c", "cache/cache_refusal.c", "cache/cache_script.c",
           "cache/cache_entry.c", "protocol/auth/digest.c")

# file, what is there, what is put there, the faults that bring it to light
MUTANTS = {
    "stores need no lease": (
        "cache/cache_script.c",
        '    "if not v[2] or string.match(v[2],\'^(%x+)=\')~=ARGV[2] then return 0 end\\n"\n', "", ()),
    "generations do not count": (
        "cache/cache_lease.c", "e->stamp == r->generation &&", "", ()),
}


def build(folder, change=None):
    """The player, made of the sources as they are or with one change."""
    sources = [f"{ROOT}/{name}" for name in SOURCES]
    if change:
        name, old, new, _ = change
        with open(f"{ROOT}/{name}", encoding="utf-8") as f:
            text = f.read()
        assert text.count(old) == 1
        copy = str(folder / os.path.basename(name))
        with open(copy, "w", encoding="utf-8") as f:
            f.write(text.replace(old, new))
        sources[SOURCES.index(name)] = copy
    base = [f"{ROOT}/base/{n}" for n in sorted(os.listdir(f"{ROOT}/base")) if n.endswith(".c")]
    program = str(folder / "player")
    subprocess.run([os.environ.get("CC", "cc").split()[0], "-std=c11", "-O1", "-I", ROOT, "-D_GNU_SOURCE", "-pthread",
                    "-o", program, f"{ROOT}/test/support/lease_player.c", *sources, *base,
                    "-lcrypto", "-lhiredis", "-lm"], check=True, timeout=120)
    return program


class Stage:
    """A Redis and some players."""

    def __init__(self, folder, program, policy, seconds, percent=2):
        self.folder, self.program, self.policy, self.percent = folder, program, policy, percent
        self.end = time.monotonic() + seconds
        self.path = str(folder / "redis")
        self.redis = None
        self.start_redis()
        self.players = {name: self.player(name) for name in ("one", "two", "three")}

    def start_redis(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.redis = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "",
                                       "--dir", str(self.folder)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not os.path.exists(self.path) and time.monotonic() < deadline:
            time.sleep(0.01)

    def player(self, name):
        left = max(0.1, self.end - time.monotonic())
        return subprocess.Popen([self.program, self.path, str(self.folder / "rows"), name, self.policy, f"{left:.2f}",
                                 str(self.percent)], stdout=subprocess.PIPE, text=True)

    def command(self, *args):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(self.path)
            s.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a.encode()) for a in args))
            return s.recv(65536)

    def pause(self, process, seconds):
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    def fault(self, kind, dice):
        if kind == "del":
            for _ in range(20):
                self.command("DEL", f"k:{dice.randrange(40)}")
        elif kind == "flush":
            self.command("FLUSHALL")
        elif kind == "scripts":
            self.command("SCRIPT", "FLUSH")
        elif kind == "cut":
            self.command("CLIENT", "KILL", "TYPE", "normal")
        elif kind == "stop redis":
            self.pause(self.redis, 0.3)
        elif kind == "stop player":
            self.pause(self.players[dice.choice(list(self.players))], 0.3)
        elif kind == "restart redis":
            self.redis.kill()
            self.redis.wait(20)
            self.start_redis()
        elif kind == "kill player":
            name = dice.choice(list(self.players))
            self.players[name].kill()
            self.players[name].communicate(timeout=20)
            self.players[name] = self.player(name)

    def finish(self):
        """The sum of what the players counted."""
        total = {}
        for p in self.players.values():
            out, _ = p.communicate(timeout=60)
            assert p.returncode == 0
            for key, value in json.loads(out).items():
                if key != "why":
                    total[key] = total.get(key, 0) + value
        return total

    def close(self):
        for p in [*self.players.values(), self.redis]:
            if p.poll() is None:
                p.kill()
            p.wait(20)


def play(folder, program, policy, faults, seconds):
    stage = Stage(folder, program, policy, seconds)
    dice = random.Random(7)
    try:
        while faults and time.monotonic() < stage.end - 1:
            time.sleep(0.2)
            stage.fault(dice.choice(faults), dice)
        return stage.finish()
    finally:
        stage.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    return build(tmp_path_factory.mktemp("player"))


FAULTS = {
    "none": (),
    "keys": ("del",),
    "redis": ("flush", "scripts", "cut", "stop redis", "restart redis"),
    "players": ("stop player", "kill player", "cut"),
}


@pytest.mark.parametrize("policy", ["hold", "refuse"])
@pytest.mark.parametrize("faults", FAULTS, ids=list(FAULTS))
def test_no_read_is_older_than_an_acknowledged_write(program, tmp_path, policy, faults):
    total = play(tmp_path, program, policy, FAULTS[faults], SECONDS)
    print(re.sub(r"[{}'\"]", "", json.dumps(total)))
    assert total["stale"] == 0
    assert total["reads"] > 500 and total["writes"] > 10
    if faults == "none":
        assert total["hits"] > 50 and total["fills"] > 50


@pytest.mark.parametrize("name", MUTANTS)
def test_a_missing_rule_is_noticed(tmp_path, program, name):
    del program
    mutant = build(tmp_path, MUTANTS[name])
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        if play(folder, mutant, "hold", MUTANTS[name][3], 4)["stale"] > 0:
            return
    pytest.fail(f"{name}: not one stale read in five runs")
