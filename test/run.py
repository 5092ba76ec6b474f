#!/usr/bin/env python3
"""Runs test suites and ends with one line: N passed, N failed, N skipped.

    run.py wire|integration|drivers|checker|unit|docs|packages ...   those suites
    run.py check       unit, docs, wire, integration, main drivers, packages, checker for 60 s
    run.py check-all   the same with FULL=1, with 1 and with 4 workers; wire, integration and the
                       checker also on PostgreSQL 18; and consistency
    run.py cluster     what of the integration suite shows most of the code for clusters; sanitizers
    run.py consistency replicas that lag and pause, 500,000 reads under each kind of consistency
                       (CONSISTENCY_READS); the integration suite has it for some seconds
    run.py soak        the checker for SOAK_SECONDS (3600), with 10 times the clients' work; that of the result
                       cache on Redis until it has seen a million reads and ten thousand writes; and consistency
    run.py wire -k name -x     what follows the suites goes to pytest

Unit tests run through `make unit`.  Each other suite is a pytest of its own with a limit; one that
dies without a report counts as a failure.  Skipped tests are named.  Exit code 0 only if nothing failed and something passed.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

TEST = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TEST)
sys.path.insert(0, TEST)

from support import procs  # noqa: E402

RESULTS = os.path.join(ROOT, "build", "test-results")
LIMITS = {"docs": 120, "wire": 420, "integration": 900, "drivers": 420, "drivers-all": 2400,
          "packages": 600, "packages-all": 2400, "consistency": 7200}
CHECK = ["unit", "docs", "wire", "integration", "drivers", "packages", "checker"]
READS = "500000"
SOAK_CACHE = ("--reads", "1000000", "--writes", "10000")
ONCE = ("unit", "packages")         # the number of workers makes no difference


class Totals:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def line(self):
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def python():
    venv = os.path.join(ROOT, "build", "venv", "bin", "python")
    return venv if os.path.exists(venv) else sys.executable


def command(argv, limit, env=None, quiet=False):
    """Runs argv in its own process group; returns (exit code or None after the limit, output)."""
    lines = []
    p = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         stdin=subprocess.DEVNULL, text=True, errors="replace", start_new_session=True,
                         preexec_fn=procs.die_with_parent)

    def kill():
        try:
            os.killpg(p.pid, signal.SIGTERM)
            p.wait(20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    procs.at_close(kill)
    late = []

    def on_alarm(_signo, _frame):
        late.append(True)
        kill()

    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(int(limit))
    try:
        for text in p.stdout:
            lines.append(text)
            if not quiet:
                sys.stdout.write(text)
                sys.stdout.flush()
        p.wait()
    finally:
        signal.alarm(0)
        kill()
        procs.forget(kill)
    return (None if late else p.returncode), "".join(lines)


def unit(totals):
    """make unit leaves `passed failed skipped` in build/unit/summary; names come from cmocka's lines."""
    summary = os.path.join(ROOT, "build", "unit", "summary")
    if os.path.exists(summary):
        os.unlink(summary)
    code, out = command(["make", "--no-print-directory", "unit"], 600, quiet=True)
    names = {what: dict.fromkeys(re.findall(rf"^\[  {what} \] (?:tests: )?([a-zA-Z_]\w+)", out, re.M))
             for what in ("FAILED ", "SKIPPED")}
    try:
        with open(summary) as f:
            passed, failed, skipped = (int(n) for n in f.read().split()[:3])
    except (OSError, ValueError):
        passed = failed = skipped = 0
        totals.failed.append(f"unit: make unit ended with {code} and no summary")
    for count, what, to in ((failed, "FAILED ", totals.failed), (skipped, "SKIPPED", totals.skipped)):
        known = [f"unit: {name}" for name in names[what]][:count]
        to += known + ["unit: see above"] * (count - len(known))
    totals.passed += passed
    if code != 0:
        print(out[-6000:])
        if not failed:
            totals.failed.append(f"unit: make unit ended with {code}")
    elif not passed:
        totals.failed.append("unit: no test ran")
    return f"{passed} passed, {failed} failed, {skipped} skipped"


def pytest(totals, suite, label, args, env, only=None):
    """All of a suite, or one file of it."""
    report = os.path.join(RESULTS, label.replace(" ", "-") + ".xml")
    if os.path.exists(report):
        os.unlink(report)
    folder = os.path.join(TEST, suite)
    found = [f for f in os.listdir(folder) if f.startswith("test_")] if os.path.isdir(folder) else []
    if not found:
        totals.skipped.append(f"{label}: no tests there yet")
        return "nothing there"
    limit = LIMITS[suite + "-all" if env.get("FULL") and suite + "-all" in LIMITS else suite]
    limit = LIMITS["consistency"] if only else limit
    limit *= 2 if env.get("SLOW") else 1
    code, _ = command([python(), "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider",
                       "--tb=short", "--durations=5", f"--junitxml={report}", os.path.join(folder, only or ""), *args],
                      limit, env)
    try:
        cases = list(xml.parse(report).getroot().iter("testcase"))
    except (OSError, xml.ParseError):
        totals.failed.append(f"{label}: no report, pytest "
                             + ("took too long" if code is None else f"ended with {code}"))
        return "died"
    passed = failed = 0
    for case in cases:
        name = f"{label}: {case.get('classname', '').split('.')[-1]}.{case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
            totals.failed.append(name)
        elif skip is not None:
            totals.skipped.append(f"{name} ({skip.get('message', '')})")
        else:
            passed += 1
    totals.passed += passed
    if code not in (0, 5) and not failed:
        totals.failed.append(f"{label}: pytest ended with {code}")
    return f"{passed} passed, {failed} failed"


def checker(totals, label, seconds, env, much=()):
    """The checker, and for a third of its time each that of the result cache, in memory and in Redis (until so much
    is checked)."""
    said, third = [], max(20, seconds // 3)
    for name, limit, more in (("checker.py", seconds, ()), ("cache_checker.py", third, ()),
                              ("cache_checker.py", third, ("--store", "redis", *much))):
        code, _ = command([sys.executable, os.path.join(TEST, "checker", name), "--seconds", str(limit), *more],
                          limit + 120, env)
        what = " ".join([name, *more[:2]])
        if code == 0:
            totals.passed += 1
        else:
            totals.failed.append(f"{label}: {what} ({'took too long' if code is None else f'exit {code}'})")
        said.append(f"{what} {'passed' if code == 0 else 'failed'}")
    return ", ".join(said)


def run_suite(totals, suite, args, env, suffix=""):
    label = suite + suffix
    started = time.monotonic()
    print(f"--- {label}", flush=True)
    if suite == "unit":
        said = unit(totals)
    elif suite == "checker":
        said = checker(totals, label, int(env.get("CHECKER_SECONDS", "60")), env)
    elif suite == "cluster":
        said = pytest(totals, "integration", label, ["-m", "cluster", *args], env)
    elif suite == "consistency":
        more = {"CONSISTENCY_READS": READS, "CONSISTENCY_SECONDS": "30", "PENSTOCK_WORKERS": "4", **env}
        said = pytest(totals, "integration", label, ["-s", *args], more, "test_consistency.py")
    elif suite == "soak":
        said = checker(totals, label, int(env.get("SOAK_SECONDS", "3600")), env, SOAK_CACHE)
    else:
        said = pytest(totals, suite, label, args, env)
    print(f"--- {label}: {said}, {time.monotonic() - started:.1f} s", flush=True)


def plan(names, env):
    """(suite, environment, suffix of its name) for each run."""
    out = []
    for name in names:
        if name == "check":
            out += [(s, env, "") for s in CHECK]
        elif name == "check-all":
            for workers in ("1", "4"):
                more = {**env, "FULL": "1", "PENSTOCK_WORKERS": workers}
                out += [(s, more, f" with {workers} worker(s)")
                        for s in CHECK if workers == "1" or s not in ONCE]
            out += [(s, {**env, "PENSTOCK_PG": "18"}, " on PostgreSQL 18")
                    for s in ("wire", "integration", "checker")]
            out.append(("consistency", env, ""))
        elif name == "soak":
            out += [(name, env, ""), ("consistency", env, "")]
        else:
            out.append((name, env, ""))
    return out


def main():
    known = {"docs", "unit", "wire", "integration", "drivers", "packages", "checker", "check", "check-all",
             "soak", "cluster", "consistency"}
    names = [a for a in sys.argv[1:] if a in known]
    args = [a for a in sys.argv[1:] if a not in known]
    if not names:
        print(__doc__)
        return 2
    procs.install((signal.SIGTERM, signal.SIGHUP, signal.SIGINT))
    shutil.rmtree(RESULTS, ignore_errors=True)
    os.makedirs(RESULTS)
    totals, env = Totals(), dict(os.environ)
    for suite, suite_env, suffix in plan(names, env):
        run_suite(totals, suite, args, suite_env, suffix)
    print()
    for name in totals.skipped:
        print("skipped:", name)
    for name in totals.failed:
        print("failed:", name)
    print(totals.line(), flush=True)
    return 1 if totals.failed or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
