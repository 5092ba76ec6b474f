"""Penstock under test: writes its ini, runs it as an unprivileged user, watches how it ends.

PENSTOCK_BIN names the binary (default build/penstock).  With a binary called pgbouncer the same tests
run against PgBouncer, which is how this harness proves itself; settings that only Penstock knows are
left out then.  PENSTOCK_WORKERS sets `workers`,
PENSTOCK_DEPTH `multiplex_depth` (default 16).  stop() fails the test when the exit code is not 0 or
the log holds a sanitizer report or a failed CHECK.
"""
import os
import re
import shutil
import signal

from . import procs
from .pgwire import RawClient, ServerError, WireError, dicts_of

ADMIN, ADMIN_SECRET = "console_admin", "console secret"
STATS, STATS_SECRET = "console_stats", "stats secret"
PENSTOCK_ONLY = {"workers", "multiplex_depth", "max_prepared_statements", "transaction_timeout",
                 "max_user_client_connections", "max_db_client_connections", "max_waiting",
                 "track_extra_parameters", "query_wait_notify", "scram_iterations"}
BAD_LOG = re.compile(r"CHECK failed|ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|"
                     r"Assertion .* failed|SUMMARY: \w+Sanitizer", re.I)


def binary():
    return os.environ.get("PENSTOCK_BIN") or os.path.join(procs.BUILD, "penstock")


def is_pgbouncer():
    return os.path.basename(binary()) == "pgbouncer"


def quote(value):
    return "'" + str(value).replace("'", "''") + "'"


class Penstock:
    def __init__(self, databases=None, mode="transaction", pool_size=20, users=None, config=None,
                 cluster=None, user_options=None, extra="", auth_type="scram-sha-256", start=True,
                 raw_ini=None, env=None, check_on_stop=True, args=()):
        """databases: name -> dict of connection keys; with cluster, None means `*` on that cluster.
        users: name -> secret, written to userlist.txt; config: keys of the main section;
        user_options: lines of [users]; extra: text after everything; raw_ini: the whole file."""
        self.dir = procs.temp_dir("penstock-")
        self.port_lock = procs.Port()
        self.port, self.host = self.port_lock.number, "127.0.0.1"
        self.ini, self.userlist = f"{self.dir}/penstock.ini", f"{self.dir}/userlist.txt"
        self.log = f"{self.dir}/log"
        self.check_on_stop, self.child, self.args = check_on_stop, None, list(args)
        self.env = {**os.environ, **(env or {})}
        self.env.setdefault("ASAN_OPTIONS", "exitcode=99:abort_on_error=0")
        suppressions = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tsan.supp")
        self.env["TSAN_OPTIONS"] = f"{self.env.get('TSAN_OPTIONS', '')}:suppressions={suppressions}"
        self.env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1:exitcode=99")
        self.env.setdefault("TSAN_OPTIONS", "exitcode=66:second_deadlock_stack=1")
        if databases is None and cluster is not None:
            databases = {"*": {"host": cluster.host, "port": cluster.port}}
        self.databases, self.users = dict(databases or {}), dict(users or {})
        self.user_options, self.extra, self.raw_ini = dict(user_options or {}), extra, raw_ini
        self.users.setdefault(ADMIN, ADMIN_SECRET)
        self.users.setdefault(STATS, STATS_SECRET)
        self.config = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": self.dir,
            "auth_type": auth_type, "auth_file": self.userlist, "admin_users": ADMIN,
            "stats_users": STATS, "pool_mode": mode, "default_pool_size": pool_size,
            "max_client_conn": 2000, "server_login_retry": 0.2, "query_wait_timeout": 30,
            "log_connections": 0, "log_disconnections": 0, "max_prepared_statements": 200,
            "server_tls_sslmode": "disable", "workers": os.environ.get("PENSTOCK_WORKERS", "1"),
            "multiplex_depth": os.environ.get("PENSTOCK_DEPTH", "16"), **(config or {})}
        self.write()
        self.program = self._program()
        if start:
            self.start()

    def _program(self):
        path = binary()
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path} is not built; run make, or set PENSTOCK_BIN")
        if procs.reachable(path):
            return path
        copy = os.path.join(self.dir, os.path.basename(path))
        shutil.copy(path, copy)
        os.chmod(copy, 0o755)
        return copy

    def write(self):
        """Writes ini and userlist from the dicts; change them and call reload()."""
        drop = PENSTOCK_ONLY if is_pgbouncer() else ()
        lines = ["[databases]"]
        for name, keys in self.databases.items():
            lines.append(f"{name} = " + " ".join(f"{k}={quote(v)}" for k, v in keys.items()))
        if self.user_options and not is_pgbouncer():
            lines += ["[users]"] + [f"{k} = {v}" for k, v in self.user_options.items()]
        lines += ["[pgbouncer]"] + [f"{k} = {v}" for k, v in self.config.items()
                                    if k not in drop and v is not None]
        self._write(self.ini, self.raw_ini or "\n".join(lines) + "\n" + self.extra)
        esc = lambda s: '"' + str(s).replace('"', '""') + '"'  # noqa: E731
        self._write(self.userlist, "".join(f"{esc(u)} {esc(s)}\n" for u, s in self.users.items()))

    def _write(self, path, text):
        with open(path + ".new", "w") as f:
            f.write(text)
        procs.give(path + ".new")
        os.replace(path + ".new", path)

    # life
    def start(self, timeout=20):
        self.child = procs.Child([self.program, *self.args, self.ini], log=self.log, env=self.env)
        procs.at_close(self.kill)
        procs.wait_for(self._answers, timeout, lambda: "the proxy:\n" + self.log_text()[-3000:])
        return self

    def _answers(self):
        if self.child.poll() is not None:
            raise RuntimeError(f"the proxy ended with {self.child.poll()}:\n{self.log_text()[-3000:]}")
        try:
            RawClient(self.port, self.host, 2).abort()
            return True
        except OSError:
            return False

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child is not None and self.child.poll() is None

    def stop(self, signo=None, timeout=15):
        """Ends it at once and checks how it ended."""
        if not self.child:
            return None
        child, self.child = self.child, None
        procs.forget(self.kill)
        try:
            if child.poll() is None:
                child.send_signal(signo or (signal.SIGTERM if is_pgbouncer() else signal.SIGQUIT))
            code = child.wait(timeout)
        finally:
            child.kill()
        if self.check_on_stop:
            self.check_log()
            assert code is not None, "the proxy did not stop:\n" + self.log_text()[-3000:]
            fine = (0, 1) if is_pgbouncer() else (0,)
            assert code in fine, f"the proxy ended with {code}:\n{self.log_text()[-3000:]}"
        return code

    def check_log(self):
        text = self.log_text()
        bad = BAD_LOG.search(text)
        assert not bad, f"the log holds {bad.group(0)!r}:\n{text[max(0, bad.start() - 500):][:6000]}"

    def kill(self):
        procs.forget(self.kill)
        if self.child:
            self.child.kill()
            self.child = None

    def close(self):
        try:
            self.stop()
        finally:
            self.port_lock.release()
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exc):
        if kind:                # do not hide the test's own failure, but show what the proxy said
            tail = self.log_text()[-3000:]
            if tail:
                print("log of the proxy:\n" + tail)
            self.check_on_stop = False
        self.close()

    def log_text(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def wait_log(self, text, timeout=10):
        return procs.wait_for(lambda: text in self.log_text(), timeout,
                              lambda: f"{text!r} in the log:\n{self.log_text()[-2000:]}")

    # use
    def connect(self, user, secret, db, **params):
        return RawClient.login(self.port, user, secret, db, host=params.pop("host", self.host), **params)

    def console(self, user=ADMIN, secret=ADMIN_SECRET, db="pgbouncer"):
        return Console(self.port, user, secret, db, self.host)

    def show(self, what):
        with self.console() as con:
            return con.query(f"SHOW {what}")

    def pool(self, db, user=None):
        """The row of SHOW POOLS for db with its numbers as int; None when there is no such pool."""
        for row in self.show("POOLS"):
            if row["database"] == db and user in (None, row["user"]):
                return {k: int(v) if v and v.isdigit() else v for k, v in row.items()}
        return None

    def reload(self):
        """Writes the files again and reloads through the console, which reports errors."""
        self.write()
        with self.console() as con:
            con.run("RELOAD")

    def hup(self):
        self.write()
        self.child.send_signal(signal.SIGHUP)


class Console:
    """The admin console over the simple protocol."""

    def __init__(self, port, user, secret, db, host):
        self.client = RawClient.login(port, user, secret, db, host=host, timeout=30)

    def run(self, command):
        """All messages of a command; raises its error."""
        from .pgwire import query
        msgs = self.client.ask(query(command))
        for m in msgs:
            if m.type == "E":
                raise ServerError(m.fields)
        return msgs

    def query(self, command):
        """Rows as dicts of str or None."""
        return dicts_of(self.run(command))

    def close(self):
        self.client.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


__all__ = ["Penstock", "Console", "binary", "is_pgbouncer", "WireError"]
