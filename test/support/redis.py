"""A Redis server of the test's own, and the few words of its protocol that tests need."""
import shutil
import signal
import socket

from . import procs


class Redis:
    def __init__(self, *options):
        self.dir = procs.temp_dir("penstock-redis-")
        self.lock = procs.Port()
        self.port, self.host, self.child = self.lock.number, "127.0.0.1", None
        self.options = options
        self.start()

    def start(self):
        self.child = procs.Child(["redis-server", "--port", str(self.port), "--bind", self.host, "--save", "",
                                  "--dir", self.dir, *self.options], log=f"{self.dir}/log")
        procs.wait_for(self._answers, 10, lambda: "redis-server")
        return self

    def _answers(self):
        try:
            return self("PING", login=False) is not None
        except OSError:
            return False

    def __call__(self, *argv, login=True):
        """One command; errors come as text that begins with `-`."""
        with socket.create_connection((self.host, self.port), 5) as s:
            f = s.makefile("rwb")
            if login and "--requirepass" in self.options:
                self._say(f, "AUTH", self.options[self.options.index("--requirepass") + 1])
                self._hear(f)
            self._say(f, *argv)
            return self._hear(f)

    @staticmethod
    def _say(f, *argv):
        parts = [a if isinstance(a, bytes) else str(a).encode() for a in argv]
        f.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        f.flush()

    def _hear(self, f):
        line = f.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            if rest == b"-1":
                return None
            data = f.read(int(rest) + 2)[:-2]
            return data
        if kind == b"*":
            return [self._hear(f) for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        return (line if kind == b"-" else rest).decode()

    def kill(self):
        self.child.kill()

    def freeze(self):
        self.child.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.child.send_signal(signal.SIGCONT)

    def close(self):
        self.thaw()
        self.child.kill()
        self.lock.release()
        shutil.rmtree(self.dir, ignore_errors=True)
