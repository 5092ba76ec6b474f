"""Certificates made with openssl for one run, and helpers to log in with libpq (through psycopg).

Certs() makes two authorities, `ca` and `evil`, in a directory of the unprivileged user; pair() adds a
certificate with its key.  Keys are elliptic curves unless told otherwise, because they cost no time.
"""
import os
import subprocess

from . import procs

LOCAL = "DNS:localhost,IP:127.0.0.1"


class Certs:
    def __init__(self):
        self.dir = procs.temp_dir("penstock-")
        os.chmod(self.dir, 0o755)
        for ca in ("ca", "evil"):
            self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                          "-nodes", "-days", "30", "-subj", f"/CN=test {ca}", "-keyout",
                          f"{ca}.key", "-out", f"{ca}.crt")
        self.ca, self.evil = self.path("ca.crt"), self.path("evil.crt")

    def path(self, name):
        return os.path.join(self.dir, name)

    def _openssl(self, *args):
        done = subprocess.run(["openssl", *args], cwd=self.dir, capture_output=True, text=True,
                              timeout=30)
        assert done.returncode == 0, done.stderr

    def pair(self, name, cn, ca="ca", san=None, rsa=False, days="30"):
        """Makes name.crt and name.key and returns their paths."""
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        more = ["-addext", f"subjectAltName={san}"] if san else []
        self._openssl("req", "-newkey", *kind, "-nodes", "-subj", f"/CN={cn}", "-keyout",
                      f"{name}.key", "-out", f"{name}.csr", *more)
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey",
                      f"{ca}.key", "-CAcreateserial", "-days", days, "-copy_extensions", "copy",
                      "-out", f"{name}.crt")
        os.chmod(self.path(f"{name}.key"), 0o600)
        procs.give(self.path(f"{name}.key"))
        return self.path(f"{name}.crt"), self.path(f"{name}.key")

    def serial(self, name):
        """The serial number as Python's getpeercert() writes it."""
        done = subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", self.path(f"{name}.crt")],
                              capture_output=True, text=True, timeout=30)
        return done.stdout.strip().split("=")[1]


def client_keys(certs, name):
    """libpq's parameters to show a client certificate."""
    return {"sslcert": certs.path(f"{name}.crt"), "sslkey": certs.path(f"{name}.key")}
