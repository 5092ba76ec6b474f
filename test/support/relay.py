"""A TCP relay that remembers how each connection through it began."""
import socket
import threading


class Relay:
    """Listens on a free port of localhost, or at `at`, and passes everything on to (host, port).

    firsts: the first bytes of each connection, as the connecting side sent them, in order of arrival.
    silent: new connections are accepted and nothing is passed on."""

    def __init__(self, host, port, at=("127.0.0.1", 0)):
        self.target, self.firsts, self.silent = (host, port), [], False
        self.lock, self.open = threading.Lock(), []
        self.listener = socket.create_server(at, backlog=512)
        self.host, self.port = self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.open.append(sock)
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        try:
            first = sock.recv(65536)
            with self.lock:
                self.firsts.append(first)
            if self.silent:
                return
            self.pass_on(first)
            other = socket.create_connection(self.target, 10)
            self.open.append(other)
            other.sendall(first)
            threading.Thread(target=self._pump, args=(other, sock), daemon=True).start()
            self._pump(sock, other)
        except OSError:
            sock.close()

    def pass_on(self, first):
        """Called before a connection that begins so is passed on; may wait."""

    @staticmethod
    def _pump(source, sink):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for s in (sink, source):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def drop(self):
        """Ends all connections there are."""
        for s in self.open:
            self._close(s)

    @staticmethod
    def _close(sock):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._close(self.listener)
        self.drop()
