"""What being watched costs: per transaction with the HTTP port open, and a scrape of many pools.

Called by bench.py.  The port alone makes pools keep histograms, so `http_listen` set or not is the whole
difference on the data path, beside the statistics of statements.  Instructions of the port are counted by
callgrind, because they are far below what times can show.  CPU, user and system, is that of two proxies that
take turns, without either and with both: the median of the ratios of many short pairs.
"""
import contextlib
import http.client
import subprocess
import time

from support import procs

import meter
import rigs

POOLS = 1000


class Port:
    """A free port for HTTP; text is what the configuration gets."""

    def __init__(self):
        self.lock = procs.Port()
        self.text = f"http_listen = {self.lock.number}\n"

    def get(self, path="/metrics"):
        con = http.client.HTTPConnection("127.0.0.1", self.lock.number, timeout=60)
        try:
            con.request("GET", path)
            answer = con.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise meter.Failed(f"{path}: {answer.status}")
            return body
        finally:
            con.close()

    def release(self):
        self.lock.release()


def instructions(pg, servers, mode, few, many, keep=None):
    """Per transaction, without and with the port."""
    work = lambda rig, n: meter.exactly(rig, mode, 64, 1, n)  # noqa: E731
    port = Port()
    try:
        return {name: meter.callgrind(
            lambda more=more, **kw: rigs.penstock(pg, servers, more=more, **kw), work, few, many,
            keep and f"{keep}.{name}") for name, more in (("off", ""), ("on", port.text))}
    finally:
        port.release()


def cpu(pg, servers, mode, jobs, pairs, seconds, say):
    """[(without, with)]: microseconds of the proxy's CPU per transaction, 64 clients."""
    port, up, made = Port(), {}, []
    try:
        for name, more in (("off", "track_statements = 0\n"), ("on", "track_statements = 1\n" + port.text)):
            up[name] = rigs.penstock(pg, servers, more=more)
        for turn in range(pairs):
            got = {name: meter.load(up[name], mode, 64, jobs, seconds)["cpu"]
                   for name in (("off", "on") if turn % 2 else ("on", "off"))}
            made.append((got["off"], got["on"]))
            say(f"watched, {mode}: {got['off']:.2f} us without, {got['on']:.2f} us with")
    finally:
        for rig in up.values():
            rig.stop()
        port.release()
    return made


@contextlib.contextmanager
def _load(rig, seconds):
    run = subprocess.Popen([*meter.pgbench_argv(rig, "simple", 64, 1), "-T", str(seconds), rigs.DB],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=meter.PLAIN,
                           preexec_fn=procs.die_with_parent)
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def scrapes(pg, seconds):
    """A scrape of POOLS pools while pgbench works: its time in ms (the middle one and the worst), its size.

    Each pool is an entry of its own for the one database, with a client that has run a query.
    """
    port = Port()
    names = [f"db{i}" for i in range(POOLS)]
    more = port.text + "server_idle_timeout = 1\n[databases]\n" + "".join(
        f"{n} = host={pg.host} port={pg.port} dbname={rigs.DB} pool_size=1\n" for n in names)
    rig = rigs.shared(pg, 20, workers=2, more=more)
    held, took = [], []
    try:
        for name in names:
            held.append(rig.connect(rigs.LOAD, "", name))
            held[-1].query("SELECT 1")
        with _load(rig, seconds + 60):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                began = time.monotonic()
                body = port.get()
                took.append((time.monotonic() - began) * 1000)
                time.sleep(0.1)
        return {"ms": meter.median(took), "worst": max(took), "bytes": len(body),
                "pools": body.count(b"\npenstock_pool_servers_limit{"), "scrapes": len(took)}
    finally:
        for c in held:
            c.abort()
        rig.stop()
        port.release()
