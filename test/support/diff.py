"""The same wire messages sent directly and through the proxy must be answered by equal messages.

A Script is a list of steps; a step is bytes to send and how many messages of which types end its
reply.  run() plays it on a logged-in RawClient; compare() plays it on two and reports the first
difference, after the named normalisers have replaced what may differ: each takes a Msg and returns
its comparable form.  What is not named here must be equal to the byte.
"""
import re

from .pgwire import Closed, Msg, WireError

MODES = ("session", "transaction", "statement")


class Step:
    def __init__(self, data, until="Z", count=1, cuts=()):
        """until "" sends without waiting; cuts: offsets at which data is sent in pieces."""
        self.data = data if isinstance(data, bytes) else b"".join(data)
        self.until, self.count, self.cuts = until, count, cuts


class Script:
    def __init__(self, name, *steps, modes=MODES, normalise=(), setup=(), closes=False):
        """setup: statements run by the superuser in the database first; closes: the peer hangs up."""
        self.name, self.modes, self.normalise = name, modes, tuple(normalise)
        self.steps = [s if isinstance(s, Step) else Step(s) for s in steps]
        self.setup, self.closes = setup, closes


# ---- normalisers ------------------------------------------------------------------------------------

def _fields(msg, **changes):
    return Msg(msg.type, {**msg.fields, **changes}, None)


def _text(msg, pattern, by):
    """Replaces pattern in row values and in error texts."""
    sub = lambda s: re.sub(pattern, by, s)  # noqa: E731
    if msg.type in "EN":
        return Msg(msg.type, {k: sub(v) for k, v in msg.fields.items()}, None)
    if msg.type == "D":
        return _fields(msg, values=[None if v is None else
                                    sub(v.decode("latin1")).encode("latin1")
                                    for v in msg.fields["values"]])
    return msg


def backend_key(msg):
    """Every connection has its own pid and key."""
    return _fields(msg, pid="PID", key="KEY") if msg.type == "K" else msg


def notification_pid(msg):
    return _fields(msg, pid="PID") if msg.type == "A" else msg


def pids_in_text(msg):
    return _text(msg, r"\b(process|Process|PID|pid) \d+", r"\1 N")


def clock_values(msg):
    """Timestamps in rows, for statements that ask for the time."""
    return _text(msg, r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?([+-]\d\d)?", "TIME")


def oids(msg):
    """Object numbers of tables made by the script itself, in row descriptions."""
    if msg.type != "T":
        return msg
    return _fields(msg, columns=[{**c, "table": bool(c["table"])} for c in msg.fields["columns"]])


def numbers(msg):
    return _text(msg, r"\d+", "N")


NORMALISERS = {f.__name__: f for f in
               (backend_key, notification_pid, pids_in_text, clock_values, oids, numbers)}
ALWAYS = ("backend_key", "notification_pid", "pids_in_text")


def normal(msg, names=()):
    for name in (*ALWAYS, *names):
        msg = NORMALISERS[name](msg)
    return (msg.type, msg.fields)


# ---- running ----------------------------------------------------------------------------------------

def run(client, script):
    """List of steps, each a list of messages; the word "closed" or an error text may end it."""
    out = []
    for step in script.steps:
        got = []
        out.append(got)
        try:
            if step.cuts:
                client.send_split(step.data, *step.cuts)
            else:
                client.send(step.data)
            left = step.count
            while step.until and left:
                got.append(client.read())
                left -= got[-1].type in step.until
        except Closed:
            got.append("closed")
            return out
        except WireError as e:
            got.append(f"stuck: {e}")
            return out
    return out


def normal_run(client, script):
    return [[m if isinstance(m, str) else normal(m, script.normalise) for m in step]
            for step in run(client, script)]


def show(msg):
    return msg if isinstance(msg, str) else f"{msg[0]} {msg[1]}"


def difference(want, got):
    """Text of the first difference, or None."""
    for i, (a, b) in enumerate(zip(want, got)):
        for j in range(max(len(a), len(b))):
            x = a[j] if j < len(a) else "(nothing)"
            y = b[j] if j < len(b) else "(nothing)"
            if x != y:
                return (f"step {i + 1}, message {j + 1}:\n  direct: {show(x)}\n  proxy:  {show(y)}\n"
                        f"  direct has {_shape(a)}, the proxy {_shape(b)}")
    if len(want) != len(got):
        return f"direct made {len(want)} steps, the proxy {len(got)}"
    return None


def _shape(step):
    return "".join(m if isinstance(m, str) else m[0] for m in step)


def compare(script, direct, proxied):
    """Plays the script on both clients; AssertionError names the first difference."""
    want = normal_run(direct, script)
    text = [m for step in want for m in step if isinstance(m, str)]
    assert script.closes or not text, f"{script.name}: PostgreSQL itself answered {text} in {want}"
    found = difference(want, normal_run(proxied, script))
    assert not found, f"{script.name}: {found}"
