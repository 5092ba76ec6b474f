"""Child processes, temporary directories and ports that never outlive the run.

Every program the tests start goes through spawn().  Three nets catch it: an explicit stop, the atexit
and signal handlers installed here, and PR_SET_PDEATHSIG for the case that this process is killed.
The process is also made a subreaper, so that orphans of our children come back to us and
descendants() sees all of them: that is how the demo proves that nothing is left.
"""
import atexit
import ctypes
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
_libc = ctypes.CDLL(None, use_errno=True)
_closers = []
_installed = False


class Stopped(SystemExit):
    """Raised in the main thread by SIGTERM, SIGINT and SIGHUP, so that finally blocks run."""


def _on_signal(signo, _frame):
    raise Stopped(128 + signo)


def install(signals=(signal.SIGTERM, signal.SIGHUP)):
    """Idempotent.  Called by everything below; SIGINT is left to KeyboardInterrupt by default."""
    global _installed
    if _installed:
        return
    _installed = True
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for signo in signals:
        signal.signal(signo, _on_signal)
    atexit.register(close_all)
    _remove_stale()


def _remove_stale():
    """Directories of runs that were killed: their names hold the pid of the owner."""
    for name in os.listdir("/tmp"):
        found = re.fullmatch(r"penstock-(?:pg-)?(\d+)-\w+", name)
        if found and not os.path.exists(f"/proc/{found.group(1)}"):
            shutil.rmtree(os.path.join("/tmp", name), ignore_errors=True)


def at_close(fn):
    install()
    _closers.append(fn)
    return fn


def forget(fn):
    if fn in _closers:
        _closers.remove(fn)


def close_all():
    """Runs every registered closer once, newest first.  A second signal must not interrupt it."""
    old = {}
    try:
        for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            old[signo] = signal.signal(signo, signal.SIG_IGN)
    except ValueError:          # not the main thread
        pass
    while _closers:
        fn = _closers.pop()
        try:
            fn()
        except Exception as e:  # cleaning up must go on
            print(f"cleanup: {e!r}", file=sys.stderr)
    for signo, handler in old.items():
        signal.signal(signo, handler)


# ---- who runs it ------------------------------------------------------------------------------------

def unprivileged_user():
    """PostgreSQL refuses to run as root: as root, the account everything is started under."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("no unprivileged account found")


def temp_dir(prefix="penstock-"):
    """A directory of the unprivileged user, removed at the end.  Short, for Unix socket paths."""
    install()
    path = tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir="/tmp")
    user = unprivileged_user()
    if user:
        os.chown(path, user.pw_uid, user.pw_gid)

    def remove():
        shutil.rmtree(path, ignore_errors=True)

    at_close(remove)
    return path


def give(path):
    """Makes a file belong to the account that servers run under."""
    user = unprivileged_user()
    if user:
        os.chown(path, user.pw_uid, user.pw_gid)


def die_with_parent():
    """For preexec_fn: SIGTERM when the parent dies, however it dies."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


class Child:
    """A started program.  log is a file path that gets stdout and stderr."""

    def __init__(self, argv, log=None, env=None, cwd="/tmp", parent_death=signal.SIGKILL,
                 as_root=False, limit_nofile=None, pass_fds=()):
        install()
        self.argv, self.log = list(argv), log
        user = None if as_root else unprivileged_user()
        ids = {}
        if user:
            ids = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        parent = os.getpid()

        def in_child():         # after setuid, which would clear the death signal
            _libc.prctl(PR_SET_PDEATHSIG, int(parent_death), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            soft = min(hard, limit_nofile or hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        out = open(log, "ab") if log else subprocess.DEVNULL
        try:
            if log:
                give(log)
            self.popen = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=in_child, cwd=cwd, env=env,
                pass_fds=pass_fds, **ids)
        finally:
            if log:
                out.close()
        self.pid = self.popen.pid
        at_close(self.kill)

    def poll(self):
        return self.popen.poll()

    def send_signal(self, signo):
        if self.poll() is None:
            os.kill(self.pid, signo)

    def wait(self, timeout):
        """Exit code, or None when it still runs after timeout seconds."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, signo=signal.SIGTERM, timeout=15):
        self.send_signal(signo)
        code = self.wait(timeout)
        self.kill()
        return code

    def kill(self):
        """The whole process group, at once."""
        forget(self.kill)
        if self.poll() is None:
            try:
                os.killpg(self.pid, signal.SIGCONT)
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.popen.wait()

    def text(self):
        if not self.log:
            return ""
        with open(self.log, "r", errors="replace") as f:
            return f.read()


# ---- what is running --------------------------------------------------------------------------------

def _stat(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            s = f.read()
    except OSError:
        return None
    rest = s.rsplit(")", 1)[1].split()
    return {"pid": pid, "name": s[s.index("(") + 1:s.rindex(")")], "state": rest[0],
            "ppid": int(rest[1])}


def descendants(pid=None):
    """All processes below pid (default: this one), zombies left out."""
    pid = pid or os.getpid()
    kids = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            st = _stat(int(name))
            if st:
                kids.setdefault(st["ppid"], []).append(st)
    out, todo = [], [pid]
    while todo:
        for st in kids.get(todo.pop(), []):
            todo.append(st["pid"])
            if st["state"] != "Z":
                out.append(st)
    return out


def reap():
    """Collects orphans that the kernel handed to us; Popen children are left to Popen."""
    known = {fn.__self__.pid for fn in _closers if isinstance(getattr(fn, "__self__", None), Child)}
    for name in os.listdir("/proc"):
        st = _stat(int(name)) if name.isdigit() else None
        if st and st["ppid"] == os.getpid() and st["state"] == "Z" and st["pid"] not in known:
            try:
                os.waitpid(st["pid"], os.WNOHANG)
            except ChildProcessError:
                pass


def rss_kb(pid):
    """Resident memory of one process in KiB, 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


# ---- waiting and ports ------------------------------------------------------------------------------

def wait_for(condition, timeout=10.0, what=None, step=0.01):
    """Polls until condition() is true and returns its value; AssertionError when it never is."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            text = what() if callable(what) else what
            raise AssertionError(f"waited {timeout:g} s in vain for {text or condition}")
        time.sleep(step)


class Port:
    """A port nobody else gets.

    The socket stays bound and never listens: the kernel hands the number to no one else, while a
    server that sets SO_REUSEADDR, as all of ours do, can still bind it.
    """

    def __init__(self, host="127.0.0.1", family=socket.AF_INET):
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, 0))
        self.number = self.sock.getsockname()[1]

    def release(self):
        self.sock.close()


def reachable(path):
    """Can the unprivileged account read path?  A checkout under /root, for instance, it cannot."""
    if not unprivileged_user():
        return True
    path = os.path.realpath(path)
    while path != "/":
        if not os.stat(path).st_mode & (0o001 if os.path.isdir(path) else 0o004):
            return False
        path = os.path.dirname(path)
    return True
