"""What goes wrong while cache_checker.py runs: backends, proxies and Redis, one thing after the other.

Each method is one accident, from its beginning to its repair; they block, so they run beside the event loop.
"""
import os
import random
import signal
import time

from support.pgwire import ServerError


class Trouble:
    """proxies: of support.penstock; redis: of support.redis, or None; numbers(proxy): called before one is killed."""

    def __init__(self, pg, proxies, redis, user, keys, killed=lambda proxy: None):
        self.pg, self.proxies, self.redis, self.user, self.keys = pg, proxies, redis, user, keys
        self.killed, self.happened = killed, {}

    COMMON = ("terminate", "flush", "flush_key", "reload")
    REDIS = ("flushall", "delete", "no_scripts", "cut", "slow", "stop", "restart", "refuse", "replica", "stop_proxy",
             "kill_proxy")
    # What a killed process was writing is not served for minutes: there would be little to check afterwards.
    LASTING = ("kill_proxy",)
    # After these an answer may be older than one that was shown before its write was acknowledged (decision 016).
    LOSE_KEYS = ("flushall", "delete", "restart")

    def one(self, names):
        name = random.choice(names)
        getattr(self, name)()
        self.happened[name] = self.happened.get(name, 0) + 1
        self.end_prepared()

    def end_prepared(self):
        """Whose COMMIT PREPARED was refused, or lost: it would keep its rows locked for ever."""
        for name, db in self.pg.sql("SELECT gid, database FROM pg_prepared_xacts WHERE now() - prepared > '1 s'"):
            try:
                self.pg.sql(f"ROLLBACK PREPARED '{name}'", db)
            except ServerError:
                pass            # somebody is at it

    @staticmethod
    def _pause(longest):
        time.sleep(random.random() * longest)

    # ---- the database and the console
    def terminate(self):
        self.pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = "
                    f"'{self.user}' AND application_name = '' ORDER BY random() LIMIT 1")

    def _command(self, text):
        with random.choice(self.proxies).console() as con:
            try:
                con.query(text)
            except ServerError:
                pass            # Redis is away, and that was said

    def flush(self):
        self._command("CACHE FLUSH")

    def flush_key(self):
        self._command(f"CACHE FLUSH ck:{random.randrange(self.keys)}")

    def reload(self):
        self._command("RELOAD")

    # ---- Redis
    def flushall(self):
        self.redis("FLUSHALL")

    def delete(self):
        for _ in range(20):
            self.redis("DEL", f"ck:{random.randrange(self.keys)}")

    def no_scripts(self):
        self.redis("SCRIPT", "FLUSH")

    def cut(self):
        self.redis("CLIENT", "KILL", "TYPE", "normal")

    def slow(self):
        for _ in range(20):
            self.redis("CLIENT", "PAUSE", random.randrange(1, 30))
            self._pause(0.03)

    def stop(self):
        self.redis.freeze()
        try:
            self._pause(0.6)
        finally:
            self.redis.thaw()

    def restart(self):
        self.redis.kill()
        self._pause(0.5)
        self.redis.start()

    # It answers, and takes no writes.
    REFUSALS = ((("ACL", "SETUSER", "default", "-@scripting"), ("ACL", "SETUSER", "default", "+@all")),
                (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")))

    def refuse(self):
        begin, end = random.choice(self.REFUSALS)
        self.redis(*begin)
        try:
            self._pause(1)
        finally:
            self.redis(*end)

    def replica(self):
        self.redis("REPLICAOF", self.redis.host, "1")
        try:
            self._pause(1)
        finally:
            self.redis("REPLICAOF", "NO", "ONE")

    # ---- proxies
    def stop_proxy(self):
        pid = random.choice(self.proxies).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            self._pause(0.5)
        finally:
            os.kill(pid, signal.SIGCONT)

    def kill_proxy(self):
        """Half of the time while Redis is stopped: commits are over then, and cannot be cleared any more."""
        proxy, hold = random.choice(self.proxies), random.random() < 0.5
        self.killed(proxy)
        if hold:
            self.redis.freeze()
        try:
            self._pause(0.05)
            proxy.kill()
        finally:
            if hold:
                self.redis.thaw()
        self._pause(0.3)
        proxy.start()
