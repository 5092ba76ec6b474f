"""A node whose network misbehaves: a relay in a process of its own, in front of a server.

A process of its own, because the load of a test would share its one thread and make it slow.

with Faulty(host, port) as f: f.port leads to the server; f.reset() resets all connections, also new
ones; f.swallow() accepts them, reads what comes and never answers; f.heal() passes on again.  Those
that were reset or swallowed do not come back to life.
"""
import asyncio
import socket
import struct
import subprocess
import sys


class Faulty:
    def __init__(self, host, port):
        from . import procs         # the other process is no part of the package
        self.procs = procs
        self.popen = subprocess.Popen([sys.executable, __file__, host, str(port)], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True, preexec_fn=procs.die_with_parent)
        self.host, self.port = "127.0.0.1", int(self.popen.stdout.readline())
        procs.at_close(self.close)

    def _tell(self, word):
        self.popen.stdin.write(word + "\n")
        self.popen.stdin.flush()
        assert self.popen.stdout.readline().strip() == word

    def reset(self):
        self._tell("reset")

    def swallow(self):
        self._tell("swallow")

    def heal(self):
        self._tell("heal")

    def close(self):
        self.procs.forget(self.close)
        self.popen.kill()
        self.popen.wait()
        self.popen.stdin.close()
        self.popen.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


# ---- the other process -------------------------------------------------------------------------------

class Relay:
    def __init__(self, host, port):
        self.target, self.mode, self.open = (host, port), "heal", set()

    @staticmethod
    def _reset(writer):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    def set(self, mode):
        if mode == "reset" or self.mode == "swallow":
            for writer in list(self.open):
                self._reset(writer)
        self.mode = mode

    async def _pump(self, reader, writer):
        while data := await reader.read(65536):
            if self.mode == "heal":
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(self, reader, writer):
        if self.mode == "reset":
            self._reset(writer)
            return
        self.open.add(writer)
        try:
            if self.mode == "swallow":
                while await reader.read(65536):
                    pass
                return
            r, w = await asyncio.open_connection(*self.target)
            self.open.add(w)
            try:
                await asyncio.gather(self._pump(reader, w), self._pump(r, writer))
            finally:
                self.open.discard(w)
                w.transport.abort()
        except OSError:
            pass
        finally:
            self.open.discard(writer)
            writer.transport.abort()


async def main():
    relay = Relay(sys.argv[1], int(sys.argv[2]))
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while word := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        relay.set(word)
        print(word, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
