#!/usr/bin/env python3
"""run.py - proves that the tests notice when a safety rule is broken.  Called by `make mutants`.

usage: run.py [--discover] [NAME...]

Each line of table.py and its neighbours breaks one rule.  It is applied to a copy of the sources in build/mutants, built
without link-time optimisation, and the tests that it names are run: all of them must fail.  One that
passes lets the mutant survive; that is a missing test.  Before anything is broken all named tests must
pass, so that a wrong name is noticed.  Exit code 0 only when every mutant was killed.

Tests are named `unit_program: test`, or `wire/test_x.py: test` for pytest.  --discover runs all core
unit tests on each mutant instead and prints which fail: for writing a new line of the table.
"""
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

from mutants.table import MUTANTS  # noqa: E402
from mutants.table_answers import MUTANTS as ANSWERS_MUTANTS  # noqa: E402
from mutants.table_cache import MUTANTS as CACHE_MUTANTS  # noqa: E402
from mutants.table_cluster import MUTANTS as CLUSTER_MUTANTS  # noqa: E402
from mutants.table_http import MUTANTS as HTTP_MUTANTS  # noqa: E402
from mutants.table_notes import MUTANTS as NOTES_MUTANTS  # noqa: E402
from support import procs  # noqa: E402

TREE = os.path.join(ROOT, "build", "mutants")
FOLDERS = ("base", "protocol", "router", "cache", "proxy", "test/unit")
MAKE = ["make", "-j2", "--no-print-directory", "LTO=0", "OPT=-O1"]
UNIT_SECONDS, PYTEST_SECONDS = 30, 120


def put(path, data):
    """Writes only what differs, so that make builds only that."""
    try:
        with open(path, "rb") as f:
            if f.read() == data:
                return
    except OSError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def copy_tree():
    wanted = {"Makefile", "test/integration/route_table.inc"}  # a unit test includes it
    for folder in FOLDERS:
        for base, _, files in os.walk(os.path.join(ROOT, folder)):
            wanted |= {os.path.relpath(os.path.join(base, f), ROOT) for f in files
                       if f.endswith((".c", ".h", ".html", ".sh"))}
    for folder in FOLDERS:
        for base, _, files in os.walk(os.path.join(TREE, folder)):
            for f in files:
                if os.path.relpath(os.path.join(base, f), TREE) not in wanted:
                    os.unlink(os.path.join(base, f))
    for path in wanted:
        with open(os.path.join(ROOT, path), "rb") as f:
            put(os.path.join(TREE, path), f.read())


def run(argv, limit, **kw):
    """(exit code or None after the limit, output); nothing that it started outlives it."""
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                         stderr=subprocess.STDOUT, start_new_session=True, errors="replace",
                         preexec_fn=procs.die_with_parent, **kw)
    try:
        out, _ = p.communicate(timeout=limit)
        return p.returncode, out
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, 9)
        return None, p.communicate()[0]


def target_of(test):
    where = test.split(":")[0]
    return "build/penstock" if "/" in where else f"build/unit/test_{where}"


def build(targets):
    code, out = run([*MAKE, *sorted(set(targets))], 900, cwd=TREE)
    return code == 0, out


def unit(program):
    """Names of the tests of one program that passed."""
    env = {**os.environ, "MALLOC_PERTURB_": "165"}      # what was freed is no longer what it was
    _, out = run([os.path.join(TREE, f"build/unit/test_{program}")], UNIT_SECONDS, cwd=TREE, env=env)
    return set(re.findall(r"^\[       OK \] (\w+)", out, re.M)), \
        set(re.findall(r"^\[ RUN      \] (\w+)", out, re.M))


def pytest(where, name):
    venv = os.path.join(ROOT, "build", "venv", "bin", "python")
    env = {**os.environ, "PENSTOCK_BIN": os.path.join(TREE, "build", "penstock"), "FULL": "1",
           "PENSTOCK_SOURCES": TREE}
    code, _ = run([venv if os.path.exists(venv) else sys.executable, "-m", "pytest", "-q", "-x",
                   "-p", "no:cacheprovider", os.path.join(ROOT, "test", where), "-k", name],
                  PYTEST_SECONDS, cwd=ROOT, env=env)
    return code == 0 if code in (0, 1, None) else None


def passing(tests):
    """Those of tests that pass; None when one is not there."""
    out, programs = [], {}
    for test in tests:
        where, name = (part.strip() for part in test.split(":", 1))
        if "/" in where:
            ok = pytest(where, name)
            if ok is None:
                return None
        else:
            if where not in programs:
                programs[where] = unit(where)[0]
            ok = name in programs[where]
        if ok:
            out.append(test)
    return out


def mutate(m):
    """Applies m; its file's old content, or None when the text to replace is not there just once."""
    path = os.path.join(TREE, m.file)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if text.count(m.old) != 1 or m.old == m.new:
        return None
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace(m.old, m.new))
    return text


def restore(m, text):
    with open(os.path.join(TREE, m.file), "w", encoding="utf-8") as f:
        f.write(text)


def core_programs():
    return sorted(f[5:-2] for f in os.listdir(os.path.join(ROOT, "test/unit"))
                  if re.match(r"test_(core|scram|pg|hba|md5|secret|userlist|proxy|listen).*\.c$", f))


def discover(m):
    programs = core_programs()
    ok, out = build([f"build/unit/test_{p}" for p in programs])
    if not ok:
        return "does not build: " + out[-800:]
    failed = []
    for p in programs:
        passed, began = unit(p)
        failed += [f"{p}: {name}" for name in sorted(began - passed)]
    return "\n        ".join(["fails:"] + failed) if failed else "SURVIVES all core unit tests"


def attempt(m):
    """None when m was killed, else why not."""
    text = mutate(m)
    if text is None:
        return "its text is not found exactly once in " + m.file
    try:
        if "--discover" in sys.argv:
            print(f"  {m.name}: {discover(m)}", flush=True)
            return None
        ok, out = build(map(target_of, m.tests))
        if not ok:
            return "does not build: " + out[-800:]
        left = passing(m.tests)
        return f"passes {', '.join(left)}" if left else None
    finally:
        restore(m, text)


def main():
    names = [a for a in sys.argv[1:] if not a.startswith("-")]
    tables = MUTANTS + CACHE_MUTANTS + ANSWERS_MUTANTS + CLUSTER_MUTANTS + NOTES_MUTANTS + HTTP_MUTANTS
    chosen = [m for m in tables if not names or m.name in names]
    procs.install()
    copy_tree()
    if shutil.which("ccache"):
        MAKE.append("CC=ccache gcc")
    if "--discover" not in sys.argv:
        tests = list(dict.fromkeys(t for m in chosen for t in m.tests))
        ok, out = build(map(target_of, tests))
        if not ok:
            print(out[-3000:])
            return 2
        good = passing(tests)
        bad = tests if good is None else [t for t in tests if t not in good]
        if bad:
            print("these do not pass before anything is broken:", *bad, sep="\n  ")
            return 2
    survived = []
    for m in chosen:
        began = time.monotonic()
        why = attempt(m)
        if "--discover" not in sys.argv:
            print(f"  {m.name:42} {'killed' if why is None else 'SURVIVED: ' + why}"
                  f"  ({time.monotonic() - began:.1f} s)", flush=True)
        if why is not None:
            survived.append(m.name)
    print(f"mutants: {len(chosen) - len(survived)} killed, {len(survived)} survived", flush=True)
    return 1 if survived or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
