"""test_cache_scripts.py - the result cache's Lua programs in a real Redis, one after the other."""

import os
import re
import socket
import subprocess
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = os.environ.get("PENSTOCK_SOURCES", ROOT)     # those of a mutant
F, G = "00112233445566aa", "00112233445566bb"  # two variants of an entry
LONG = 60000


def kinds():
    """{name: number} of enum cache_cmd_kind."""
    with open(f"{ROOT}/cache/cache_lease.h", encoding="utf-8") as f:
        body = re.search(r"enum cache_cmd_kind \{(.*?)\};", f.read(), re.S).group(1)
    names = re.findall(r"^    CACHE_CMD_([A-Z_]+),", body, re.M)
    return {name: i for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    program = str(tmp_path_factory.mktemp("scripts") / "print")
    subprocess.run([os.environ.get("CC", "cc").split()[0], "-std=c11", "-I", SOURCES, "-o", program,
                    f"{ROOT}/test/support/print_cache_scripts.c", f"{SOURCES}/cache/cache_script.c"],
                   check=True, timeout=60)
    out = subprocess.run([program], check=True, capture_output=True, timeout=10).stdout.split(b"\0")
    by_number = dict(zip(map(int, out[0:-1:2]), out[1::2]))
    return {name: by_number[n] for name, n in kinds().items() if n in by_number}


class Redis:
    """A connection; calls are commands, errors come back as exceptions."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")

    def read(self):
        line = self.file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest.decode()
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode("latin-1")
        return [self.read() for _ in range(int(rest))]

    def __call__(self, *args):
        raw = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        self.sock.sendall(b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in raw))
        return self.read()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis")
    path = str(folder / "s")
    process = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(folder)],
                               stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.02)
    yield Redis(path)
    process.terminate()
    process.wait(20)


@pytest.fixture
def run(server, scripts):
    server("FLUSHALL")

    def call(name, keys, *args):
        return server("EVAL", scripts[name], len(keys), *keys, *args)
    call.redis = server
    return call


def take(run, nonce="a1", field=F, ms=LONG, flag=0):
    return run("TAKE_ENTRY", ["k:1"], field, nonce, ms, flag)


def store(run, nonce="a1", field=F, value="V", ttl=LONG):
    return run("STORE", ["k:1"], field, nonce, ttl, value)


def test_a_miss_gives_one_lease(run):
    assert take(run) == [1, 0]
    assert take(run, "b2") == [0, 0]
    assert take(run, "b2", field=G) == [1, 0]
    assert store(run, "b2") == 0
    assert store(run) == 1
    assert take(run, "b2") == [0, 0, "V"]
    assert store(run) == 0
    assert LONG - 5000 < run.redis("PTTL", "k:1") <= LONG


def test_a_value_that_does_not_count_can_be_replaced(run):
    take(run)
    store(run)
    assert take(run, "b2", flag=1) == [1, 0]
    assert store(run, "b2", value="W") == 1
    assert take(run) == [0, 0, "W"]


def test_a_lease_ends_with_its_time(run):
    assert take(run, ms=1) == [1, 0]
    time.sleep(0.01)
    assert take(run, "b2") == [1, 0]
    assert store(run) == 0
    assert store(run, "b2") == 1


def test_a_write_closes_the_entry_and_voids_leases(run):
    take(run)
    take(run, "b2", field=G)
    store(run)
    assert run("BEGIN", ["k:1"], "c3", LONG) == 1
    assert run.redis("HKEYS", "k:1") == ["!w"]
    assert take(run) == [0, 1]
    assert store(run, "b2", field=G) == 0
    assert run("END", ["k:1"], "c3") == 1
    assert run.redis("EXISTS", "k:1") == 0
    assert store(run, "b2", field=G) == 0
    assert take(run) == [1, 0]


def test_two_writes_close_it_until_both_have_ended(run):
    run("BEGIN", ["k:1"], "c3", LONG)
    run("BEGIN", ["k:1"], "d4", LONG)
    run("END", ["k:1"], "c3")
    assert take(run) == [0, 1]
    assert run.redis("PTTL", "k:1") > LONG - 5000
    run("END", ["k:1"], "d4")
    assert take(run) == [1, 0]


def test_an_intent_ends_with_its_deadline(run):
    run("BEGIN", ["k:1"], "c3", 1)
    run("BEGIN", ["k:1"], "d4", LONG)
    time.sleep(0.01)
    run("END", ["k:1"], "d4")
    assert run.redis("EXISTS", "k:1") == 0
    run("BEGIN", ["k:1"], "c3", 1)
    time.sleep(0.01)
    assert take(run) == [1, 0]
    assert run.redis("HGET", "k:1", "!w") is None


def test_an_end_drops_what_was_stored_when_the_intent_was_lost(run):
    run("BEGIN", ["k:1"], "c3", LONG)
    run.redis("DEL", "k:1")
    take(run)
    store(run)
    take(run, "b2", field=G)
    run("END", ["k:1"], "c3")
    assert run.redis("EXISTS", "k:1") == 0
    assert store(run, "b2", field=G) == 0


def test_variants_share_the_life_of_the_first(run):
    take(run)
    store(run, ttl=1000)
    take(run, "b2", field=G, ms=10)
    assert store(run, "b2", field=G, ttl=LONG) == 1
    assert run.redis("PTTL", "k:1") <= 1100
    take(run, "c3", flag=1)
    assert store(run, "c3", ttl=500) == 1
    assert run.redis("PTTL", "k:1") <= 500


def test_a_lease_is_given_back_by_who_has_it(run):
    take(run)
    assert run("GIVE", ["k:1"], F, "ffff") == 0 and take(run, "b2") == [0, 0]
    assert run("GIVE", ["k:1"], F, "a1") == 1
    assert take(run, "b2") == [1, 0] and store(run) == 0


def test_a_foreign_key_is_left_alone(run):
    run.redis("SET", "k:1", "theirs")
    for call in (lambda: take(run), lambda: store(run), lambda: run("BEGIN", ["k:1"], "c3", LONG),
                 lambda: run("END", ["k:1"], "c3")):
        with pytest.raises(RuntimeError, match="WRONGTYPE"):
            call()
    assert run.redis("GET", "k:1") == "theirs"


def test_the_generation_of_a_rule_is_made_once_and_changes_with_writes(run):
    assert run("TAKE_RULE", ["r"], "f1") == ["f1", 0]
    assert run("TAKE_RULE", ["r"], "f2") == ["f1", 0]
    assert run("RULE_BEGIN", ["r"], "c3", LONG, "f3") == 1
    assert run("TAKE_RULE", ["r"], "f4") == ["f3", 1]
    assert run("RULE_END", ["r"], "c3", "f5") == 1
    assert run("TAKE_RULE", ["r"], "f6") == ["f5", 0]
    assert run.redis("HGET", "r", "!w") is None


def test_open_writes_of_a_rule_end_one_by_one_or_with_their_deadlines(run):
    run("RULE_BEGIN", ["r"], "c3", LONG, "f1")
    run("RULE_BEGIN", ["r"], "d4", 1, "f2")
    run("RULE_END", ["r"], "c3", "f3")
    time.sleep(0.01)
    assert run("TAKE_RULE", ["r"], "f4") == ["f3", 0]
    assert run.redis("HGET", "r", "!w") is None


def clock(run):
    sec, usec = run.redis("TIME")
    return int(sec) * 1000 + int(usec) // 1000


def renew(run, name, fresh, dirty=0, deadline=None, period=1000, incarnation="1c", known=0, defines=0):
    deadline = clock(run) + period if deadline is None else deadline
    return run("RENEW", ["world", "member:" + name], name, incarnation, deadline, fresh, dirty, period, known, defines)[:3]


def test_the_world_is_made_by_the_first_and_grows(run):
    assert renew(run, "one", "e1") == ["e1", "one", 1]
    assert renew(run, "one", "e2") == ["e1", "one", 1]
    assert renew(run, "two", "e3") == ["e3", "one,two", 1]
    assert run.redis("EXISTS", "member:one", "member:two") == 2
    assert renew(run, "one", "e4") == ["e3", "one,two", 1]
    assert renew(run, "one", "e5", dirty=1) == ["e5", "one,two", 1]
    assert run("LEAVE", ["world", "member:one"], "one", "e6", 0) == 1        # what it left unrecorded is void
    assert renew(run, "two", "e7") == ["e6", "two", 1]


def census(run):
    return run("CENSUS", ["world"], "member", "5e")


def forget(run, name, fresh="f0"):
    return run("FORGET", ["world"], "member", "5e", name, fresh)


def join(run, name, fresh, **kw):
    """As renew, on the server 5e."""
    deadline = clock(run) + kw.get("period", 1000)
    return run("RENEW", ["world", f"member:{name}:5e"], name, "1c", deadline, fresh, 0, 1000, 0, 0)[:3]


def test_members_and_who_of_them_is_there(run):
    assert census(run) == ""
    join(run, "one/aa", "e1")
    join(run, "two/aa", "e2")
    assert census(run) == "one/aa=1,two/aa=1"
    run.redis("DEL", "member:two/aa:5e")
    assert census(run) == "one/aa=1,two/aa=0"


@pytest.mark.parametrize("name", ["two", "two/aa"])
def test_a_member_that_is_gone_can_be_forgotten(run, name):
    for n, member in enumerate(("one/aa", "two/aa", "atwo/aa")):
        join(run, member, f"e{n}")
    assert forget(run, name) == 2 and forget(run, "nobody") == 0 and forget(run, "wo") == 0
    assert run.redis("HMGET", "world", "e", "m") == ["e2", "one/aa,two/aa,atwo/aa"]
    run.redis("DEL", "member:two/aa:5e")
    assert forget(run, name) == 1
    assert run.redis("HMGET", "world", "e", "m") == ["f0", "one/aa,atwo/aa"]        # what it left unrecorded is void
    assert forget(run, name) == 0
    assert join(run, "two/aa", "e9")[:2] == ["e9", "one/aa,atwo/aa,two/aa"]        # it was not gone for good


def test_with_other_rules_a_member_takes_its_own_place(run):
    renew(run, "one/aa", "e1")
    renew(run, "two/aa", "e2")
    assert renew(run, "one/bb", "e3") == ["e3", "two/aa,one/bb", 1]
    assert renew(run, "one", "e4")[1] == "two/aa,one"


def test_a_name_that_lives_is_not_given_away_with_other_rules_either(run):
    renew(run, "one/aa", "e1", deadline=clock(run) + 30)
    with pytest.raises(RuntimeError, match="TAKEN"):
        renew(run, "one/bb", "e2", incarnation="2d")
    assert renew(run, "one/bb", "e3") == ["e3", "one/bb", 1]        # the same process after a reload


def test_a_name_that_lives_is_not_given_away(run):
    renew(run, "one", "e1", deadline=clock(run) + 30)
    with pytest.raises(RuntimeError, match="TAKEN"):
        renew(run, "one", "e2", incarnation="2d", dirty=1)
    assert run.redis("HGET", "world", "e") == "e1"
    time.sleep(0.04)
    assert renew(run, "one", "e2", incarnation="2d") == ["e1", "one", 1]


def test_definitions_that_somebody_did_not_know_of_change_the_epoch(run):
    renew(run, "one", "e1")
    renew(run, "two", "e2")
    assert renew(run, "one", "e3", defines=1)[0] == "e3" and run.redis("HGET", "world", "d") == "1"
    assert renew(run, "one", "e4", known=1)[0] == "e3"
    assert renew(run, "two", "e5")[0] == "e5"
    assert renew(run, "two", "e6", known=1)[0] == "e5"


def test_quarantine_ends(run):
    renew(run, "one", "e1", period=5)
    time.sleep(0.02)
    assert renew(run, "one", "e1", period=5) == ["e1", "one", 0]
    assert run.redis("HGET", "world", "q") is None


def test_a_late_renewal_revives_nothing(run):
    renew(run, "one", "e1", deadline=clock(run) - 1)
    assert run.redis("EXISTS", "member:one") == 0


def test_presence_ends_at_its_deadline(run):
    renew(run, "one", "e1", deadline=clock(run) + 20)
    assert run.redis("EXISTS", "member:one") == 1
    time.sleep(0.03)
    assert run.redis("EXISTS", "member:one") == 0


def test_answer_of_mode_ttl_does_not_shorten_a_mark(run):
    run("BEGIN", ["k:1"], "c3", LONG)
    run("KEEP", ["k:1"], F, 50, "V")
    time.sleep(0.1)
    assert take(run) == [0, 1]        # the write is still open


def test_lease_does_not_prolong_an_answer(run):
    run("KEEP", ["k:1"], F, 100, "V")
    for n in range(4):
        take(run, nonce=f"a{n}", field=G, ms=300)
        run("GIVE", ["k:1"], G, f"a{n}")
        time.sleep(0.05)
    assert run.redis("HGET", "k:1", F) is None
