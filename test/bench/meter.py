"""The instruments: CPU time of a process, its memory, one pgbench run, a login storm, callgrind, strace.

Nothing here knows what is compared with what; bench.py does.
"""
import glob
import json
import os
import re
import select
import shutil
import signal
import statistics
import subprocess
import time

from support import procs

import rigs

PROGRESS = re.compile(r"progress: ([\d.]+) s, ([\d.]+) tps, lat ([\d.]+) ms")
DONE = re.compile(r"number of transactions actually processed: (\d+)")


# The proxies offer TLS, and libpq would take it.
PLAIN = {**os.environ, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}


class Failed(Exception):
    """A measurement that could not be made; the report says so and goes on."""


def cpu_ns(pids):
    """User and system time of all threads, from the scheduler, in nanoseconds."""
    total = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            try:
                with open(path) as f:
                    total += int(f.read().split()[0])
            except (OSError, IndexError):
                pass
    return total


def pss_kb(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            total += int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1))
    return total


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


# ---- pgbench ----------------------------------------------------------------------------------------

READS = ("-S",)


def pgbench_argv(rig, mode, clients, jobs, scripts=READS):
    return ["pgbench", "-h", rig.host, "-p", str(rig.port), "-U", rigs.LOAD, "-n", *scripts,
            "-M", mode, "-c", str(clients), "-j", str(min(jobs, clients))]


def _check(rig, done, err):
    found = DONE.search(done)
    if not found or int(found.group(1)) == 0 or "aborted" in err:
        lines = [x for x in err.splitlines() if "progress" not in x]
        raise Failed(f"{rig.name}: pgbench: " + " | ".join(lines[:3] + lines[-3:])[:600])
    return int(found.group(1))


def load(rig, mode, clients, jobs, seconds, warm=1, scripts=READS, sampling=0.5):
    """One run: tps, cpu (microseconds of the rig per transaction), latencies, what was shared.

    pgbench -P 1 says each second how many transactions there were; the CPU time is read when such a
    line comes.  The line after `warm` seconds opens the window, so that logins, a cold pool and the
    search for the width to share at stay outside.  -T counts from before the logins, which a
    thousand clients can take all of; so it is long, and the alarm that ends a run is sent from here.
    Latencies (quantiles()) are those of the first script; "second" holds those of the next one.
    """
    where = procs.temp_dir("penstock-bench-")
    argv = pgbench_argv(rig, mode, clients, jobs, scripts) + [
        "-T", "600", "-P", "1", "--log", f"--sampling-rate={1.0 if clients < 4 else sampling}",
        f"--log-prefix={where}/log"]
    shares = Shares(rig)
    run = subprocess.Popen([*argv, rigs.DB], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, bufsize=1, env=PLAIN, preexec_fn=procs.die_with_parent)
    try:
        marks, err = _marks(run, rig, warm, seconds, shares)
        out = run.stdout.read()
        run.wait(10)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
        shares.close()
    try:
        _check(rig, out, err)
        if len(marks) <= seconds:
            raise Failed(f"{rig.name}: {len(marks)} progress lines in place of {seconds + 1}")
        (t0, c0, _), (t1, c1, _) = marks[0], marks[-1]
        # tps of the lines after the first; each stands for the second before it
        tps = statistics.mean(m[2] for m in marks[1:])
        first, second = _latencies(where, t1 - t0)
        return {"tps": tps, "cpu": (c1 - c0) / 1000 / ((t1 - t0) * tps), **quantiles(first),
                "second": quantiles(second), "shares": shares.between()}
    finally:
        shutil.rmtree(where, ignore_errors=True)


def _marks(run, rig, warm, seconds, shares):
    """(time, cpu, tps) at the progress lines of the window, and the whole of stderr."""
    marks, err, lines = [], [], 0
    end = time.monotonic() + warm + 3 * seconds + 60
    while True:
        ready, _, _ = select.select([run.stderr], [], [], max(0, end - time.monotonic()))
        if not ready:
            raise Failed(f"{rig.name}: pgbench hangs: {''.join(err)[-300:]}")
        line = run.stderr.readline()
        if not line:
            return marks, "".join(err)
        err.append(line)
        found = PROGRESS.search(line)
        lines += bool(found)
        if found and lines >= warm and len(marks) <= seconds:
            marks.append((time.monotonic(), cpu_ns(rig.pids()), float(found.group(2))))
            if len(marks) == 1:
                shares.begin()
            if len(marks) > seconds:
                shares.end()
                run.send_signal(signal.SIGALRM)


def _latencies(where, window):
    """Milliseconds, sorted, of what ended in the last `window` seconds: first script, and others."""
    rows = []
    for path in glob.glob(f"{where}/log.*"):
        with open(path) as f:
            for line in f:
                x = line.split()
                if len(x) >= 6 and x[2].isdigit():
                    rows.append((int(x[4]) + int(x[5]) / 1e6, int(x[2]) / 1000, x[3] == "0"))
    last = max((r[0] for r in rows), default=0)
    recent = sorted((ms, first) for at, ms, first in rows if at > last - window)
    return [ms for ms, first in recent if first], [ms for ms, first in recent if not first]


def quantiles(ms):
    """p50, p99, p999 and max of sorted numbers; None each when there are none."""
    at = lambda per_mille: ms[min(len(ms) - 1, len(ms) * per_mille // 1000)] if ms else None  # noqa: E731
    return {"p50": at(500), "p99": at(990), "p999": at(999), "max": at(1000)}


class Shares:
    """What a proxy that shares its servers says of it, between begin() and end(); of others, nothing."""
    COUNTED = ("query_count", "shared_count", "repeated_count", "unshared_count")

    def __init__(self, rig):
        self.first = self.last = self.pool = None
        self.console = None
        if getattr(rig, "shares", False):
            self.console = rig.console(rigs.LOAD, "")

    def _totals(self):
        for row in self.console.query("SHOW STATS_TOTALS"):
            if row["database"] == rigs.DB:
                return {k: int(row[k]) for k in self.COUNTED}
        return dict.fromkeys(self.COUNTED, 0)

    def begin(self):
        self.first = self._totals() if self.console else None

    def end(self):
        if self.console:
            self.last = self._totals()
            self.pool = [p for p in self.console.query("SHOW POOLS") if p["database"] == rigs.DB]

    def between(self):
        """ratio: part of the requests that were sent behind another one; counts of repeated and
        unshared; and as the window closed: width, the servers to share, servers shared and what
        was in flight on all servers."""
        if not self.first or not self.last:
            return None
        d = {k: self.last[k] - self.first[k] for k in self.COUNTED}
        at_end = lambda what: sum(int(p[what]) for p in self.pool)  # noqa: E731
        return {"ratio": d["shared_count"] / max(1, d["query_count"]),
                "repeated": d["repeated_count"], "unshared": d["unshared_count"],
                "width": at_end("share_width"), "servers": at_end("sv_shared"),
                "in_flight": at_end("in_flight")}

    def close(self):
        if self.console:
            self.console.close()


def exactly(rig, mode, clients, jobs, each, timeout=300):
    """Runs `each` transactions per client; returns how many were made in all."""
    done = subprocess.run([*pgbench_argv(rig, mode, clients, jobs), "-t", str(each), rigs.DB],
                          capture_output=True, text=True, timeout=timeout, env=PLAIN,
                          preexec_fn=procs.die_with_parent)
    return _check(rig, done.stdout, done.stderr)


# ---- logins and idle clients ------------------------------------------------------------------------

def _swarm(rig, how, at_once, amount, tls):
    return [f"{rigs.OUT}/swarm", how, str(rig.port), rigs.LOGIN, rigs.SECRET, rigs.DB, str(at_once),
            str(amount), *(["tls"] if tls else [])]


def storm(rig, seconds, at_once, tls):
    """Logins per second, the rig's CPU microseconds per login, and the storm's own."""
    before = cpu_ns(rig.pids())
    done = subprocess.run(_swarm(rig, "storm", at_once, seconds, tls), capture_output=True, text=True,
                          timeout=seconds + 60, preexec_fn=procs.die_with_parent)
    used = cpu_ns(rig.pids()) - before
    if done.returncode:
        raise Failed(f"{rig.name}: swarm: {done.stderr[-300:]}")
    got = json.loads(done.stdout)
    if got["errors"] or got["stuck"] or not got["logins"]:
        raise Failed(f"{rig.name}: {got['errors']} of the logins failed, {got['stuck']} got stuck, "
                     f"{got['logins']} went well: {got['error']}")
    return {"rate": got["logins"] / got["seconds"], "cpu": used / 1000 / got["logins"],
            "p50": got["p50_ms"], "p99": got["p99_ms"], "own": got["cpu"] * 1e6 / got["logins"]}


def logins(rig, count, at_once=32):
    """Makes `count` SCRAM logins, each followed by its end."""
    done = subprocess.run(_swarm(rig, "logins", at_once, count, False), capture_output=True,
                          text=True, timeout=300, preexec_fn=procs.die_with_parent)
    got = json.loads(done.stdout) if done.returncode == 0 else {"logins": 0, "error": done.stderr}
    if got["logins"] != count:
        raise Failed(f"{rig.name}: {got['logins']} of {count} logins went well: {got['error'][-300:]}")
    return count


def _expect(run, word, limit):
    ready, _, _ = select.select([run.stdout], [], [], limit)
    line = run.stdout.readline() if ready else "(nothing in time)"
    if line.strip() != word:
        raise Failed(f"swarm said {line.strip()!r} for {word!r}: "
                     + (run.stderr.read()[-300:] if run.poll() is not None else ""))


def idle_memory(rig, clients, tls):
    """Bytes of proportional memory per idle client: fresh after login, and after a query each."""
    storm(rig, 1, 20, tls)                      # code paths, pool and caches are warm
    before = pss_kb(rig.pids())
    run = subprocess.Popen(_swarm(rig, "hold", 32, clients, tls), stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
                           preexec_fn=procs.die_with_parent)
    try:
        _expect(run, "ready", 120)
        time.sleep(0.5)                         # the proxy closes what the last turn left
        fresh = pss_kb(rig.pids())
        run.stdin.write("query\n")
        _expect(run, "queried", 120)
        time.sleep(0.5)
        used = pss_kb(rig.pids())
    finally:
        run.kill()
        run.communicate()
    return {"fresh": (fresh - before) * 1024 / clients, "used": (used - before) * 1024 / clients,
            "base": before}


# ---- instructions and system calls ------------------------------------------------------------------

def callgrind(make_rig, work, few, many, keep=None):
    """User-space instructions per unit of work: two runs of different length, one from the other.

    work(rig, amount) returns how many units it made.  What both runs do alike (start, logins,
    warming up, end) falls out.  keep: where the profiles are left.
    """
    points = []
    for each in (few, many):
        folder = procs.temp_dir("penstock-bench-")
        rig = make_rig(wrap=["valgrind", "--tool=callgrind", "--quiet", "--dump-line=no",
                             f"--callgrind-out-file={folder}/out"])
        try:
            made = work(rig, each)
        finally:
            rig.stop()
        procs.wait_for(lambda: os.path.exists(f"{folder}/out"), 20, "callgrind's output")
        with open(f"{folder}/out") as f:
            found = re.findall(r"^(?:totals|summary): (\d+)", f.read(), re.M)
        if not found:
            raise Failed(f"{rig.name}: callgrind left no totals")
        points.append((made, int(found[-1])))
        if keep:
            shutil.copy(f"{folder}/out", f"{keep}.{each}")
        shutil.rmtree(folder, ignore_errors=True)
    (n0, i0), (n1, i1) = points
    return (i1 - i0) / (n1 - n0)


def _strace(rig, mode, clients, each):
    folder = procs.temp_dir("penstock-bench-")
    pids = [x for pid in rig.pids() for x in ("-p", str(pid))]
    trace = subprocess.Popen(["strace", "-c", "-f", "-o", f"{folder}/out", *pids],
                             stderr=subprocess.PIPE, preexec_fn=procs.die_with_parent)
    try:
        procs.wait_for(lambda: _traced(rig.pids()) or trace.poll() is not None, 10, "strace to attach")
        made = exactly(rig, mode, clients, 1, each)
    finally:
        trace.send_signal(signal.SIGINT)
        said = trace.communicate(timeout=20)[1].decode(errors="replace")
    counts = {}
    if os.path.exists(f"{folder}/out"):
        with open(f"{folder}/out") as f:
            for line in f:
                x = line.split()
                if len(x) >= 5 and x[0].replace(".", "").isdigit() and x[-1] != "total":
                    counts[x[-1]] = int(x[3])
    shutil.rmtree(folder, ignore_errors=True)
    if not counts:
        raise Failed(f"strace: {said[-300:]}")
    return made, counts


def _traced(pids):
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/status"):
            with open(path) as f:
                if "TracerPid:\t0" in f.read():
                    return False
    return True


RECEIVE = {"read", "readv", "recv", "recvfrom", "recvmsg"}
SEND = {"write", "writev", "send", "sendto", "sendmsg", "sendmmsg"}
WAIT = {"epoll_wait", "epoll_pwait", "epoll_pwait2"}


def syscalls(rig, mode, clients, few, many):
    """System calls per warm transaction by name group, the same way as callgrind()."""
    exactly(rig, mode, clients, 1, few)
    (n0, a), (n1, b) = (_strace(rig, mode, clients, n) for n in (few, many))
    per = {k: (b.get(k, 0) - a.get(k, 0)) / (n1 - n0) for k in set(a) | set(b)}
    total = lambda names: sum(v for k, v in per.items() if k in names)  # noqa: E731
    rest = {k: v for k, v in per.items() if k not in RECEIVE | SEND | WAIT and abs(v) >= 0.005}
    return {"reads": total(RECEIVE), "writes": total(SEND), "waits": total(WAIT), "rest": rest}
