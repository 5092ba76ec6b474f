"""What the program asks of the kernel, in a run with logins, a reload and an upgrade, is what the unit allows."""
import os
import re
import signal

import pytest

from conftest import run, text_of
from support import procs
from support.common import DB, SECRET, USER
from support.procs import wait_for

pytestmark = [pytest.mark.full, pytest.mark.timeout(180)]


def members(name):
    """System calls of a set of systemd's, sets within it too."""
    out = set()
    for line in run("systemd-analyze", "syscall-filter", name).splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            out |= members(word)
        elif word and not word.startswith("#"):
            out.add(word)
    return out


def allowed():
    out = members("@default")
    for value in re.findall(r"^SystemCallFilter=(.*)$", text_of("packaging/systemd/penstock.service"), re.M):
        for name in value.lstrip("~").split():
            if value.startswith("~"):
                out -= members(name)
            else:
                out |= members(name)
    return out


def test_system_calls_are_those_that_the_unit_allows(pg, proxy):
    p = proxy(pg, start=False, config={"workers": 2, "pidfile": None})
    trace, wrapper = f"{p.dir}/trace", f"{p.dir}/traced"
    p.config["pidfile"], p.config["logfile"] = f"{p.dir}/pid", f"{p.dir}/own.log"
    p.write()
    name = os.path.basename(p.program)[:15]
    with open(wrapper, "w") as f:
        f.write(f"#!/bin/sh\nexec strace -f -qq -o {trace} {p.program} \"$@\"\n")
    os.chmod(wrapper, 0o755)
    p.program, p.check_on_stop = wrapper, False
    p.start(timeout=60)
    for host in (p.host, p.dir):
        with p.connect(USER, SECRET, DB, host=host) as c:
            assert c.value("SELECT 1") == "1"
    with p.console() as con:
        con.run("RELOAD")
        con.run("UPGRADE")
    running = [d["pid"] for d in procs.descendants() if d["name"] == name]
    wait_for(lambda: len([d for d in procs.descendants() if d["name"] == name]) == 1, 20, "the first to end")
    for pid in running:
        if os.path.exists(f"/proc/{pid}"):
            os.kill(pid, signal.SIGTERM)
    assert p.child.wait(30) == 0
    with open(trace) as f:
        calls = set(re.findall(r"^\d+ +(?:<\.\.\. )?([a-z_0-9]+)[( ]", f.read(), re.M))
    assert len(calls) > 30 and not calls - allowed(), sorted(calls - allowed())
