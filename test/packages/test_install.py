"""The Debian package in clean systems: installed by apt into what debootstrap makes, started, asked, upgraded under a
client, removed, purged.  Debian 12 gets the package of this machine; on Debian 13 it is built, for libraries
there have other names.  Needs root, because of chroot."""
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

from conftest import ROOT, package, run
from support import procs
from support.common import DB, SECRET, USER
from support.pgwire import RawClient
from support.procs import wait_for

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800),
              pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
QUIET = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


class System:
    """A folder with a Debian in it."""

    def __init__(self, release, packages=()):
        mirrors = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages")
        mirror = [x.split()[0] for x in mirrors.splitlines() if x.split()[0].rstrip("/").endswith("/debian")][0]
        self.root = tempfile.mkdtemp(prefix=f"penstock-{os.getpid()}-{release}", dir="/var/tmp")
        self.mounted = False
        procs.at_close(self.close)
        os.chmod(self.root, 0o755)
        run("debootstrap", "--variant=minbase", *(["--include=" + ",".join(packages)] if packages else []), release,
            self.root, mirror, timeout=900, env=QUIET)
        shutil.copy("/etc/resolv.conf", f"{self.root}/etc/resolv.conf")
        run("mount", "-t", "proc", "proc", f"{self.root}/proc")
        self.mounted = True

    def run(self, *argv, timeout=600):
        return run("chroot", self.root, *argv, timeout=timeout, env=QUIET)

    def install(self, deb):
        shutil.copy(deb, f"{self.root}/tmp/")
        return self.run("apt-get", "-q", "-y", "--no-install-recommends", "install",
                        f"/tmp/{os.path.basename(deb)}")

    def start(self, log):
        """As the unit does, without systemd."""
        self.run("install", "-d", "-o", "penstock", "-g", "penstock", "/run/penstock")
        return procs.Child(["chroot", self.root, "setpriv", "--reuid=penstock", "--regid=penstock", "--clear-groups",
                            "/usr/bin/penstock", "/etc/penstock/penstock.ini"], log=log, as_root=True, cwd="/")

    def close(self):
        procs.forget(self.close)
        if self.mounted:
            subprocess.run(["umount", f"{self.root}/proc"], check=False)
        if not os.path.ismount(f"{self.root}/proc"):
            shutil.rmtree(self.root, ignore_errors=True)


@pytest.fixture
def system():
    made = []

    def make(*args):
        made.append(System(*args))
        return made[-1]

    yield make
    for s in made:
        s.close()


def next_version(deb, folder):
    """The same package again with a higher version and a program that is another file."""
    tree = f"{folder}/next"
    run("dpkg-deb", "-R", deb, tree)
    control = f"{tree}/DEBIAN/control"
    with open(control) as f:
        text = f.read()
    old = re.search(r"^Version: (.*)$", text, re.M).group(1)
    with open(control, "w") as f:
        f.write(text.replace(f"Version: {old}", f"Version: {old}.1"))
    out = f"{folder}/penstock_next.deb"
    run("dpkg-deb", "--root-owner-group", "-b", tree, out)
    return out


def configure(s, pg, port):
    ini = f"{s.root}/etc/penstock/penstock.ini"
    with open(ini) as f:
        text = f.read()
    assert "listen_port = 6432" in text and "port=5432" in text
    with open(ini, "w") as f:
        f.write(text.replace("listen_port = 6432", f"listen_port = {port}").replace("port=5432", f"port={pg.port}"))
    with open(f"{s.root}/etc/penstock/userlist.txt", "a") as f:
        f.write(f'"{USER}" "{SECRET}"\n')


def live(s, deb, pg, tmp_path):
    said = s.install(deb)
    assert "Setting up penstock" in said
    assert "penstock" in s.run("id", "penstock")
    for name in ("penstock.ini", "userlist.txt"):
        assert s.run("stat", "-c", "%a %U %G", f"/etc/penstock/{name}").split() == ["640", "root", "penstock"]
    port = procs.Port()
    configure(s, pg, port.number)
    log = f"{tmp_path}/log"
    child = s.start(log)
    wait_for(lambda: os.path.exists(f"{s.root}/run/penstock/.s.PGSQL.{port.number}") or child.poll() is not None, 15)
    with RawClient.login(port.number, USER, SECRET, DB) as c:
        assert c.value("SELECT 40 + 2") == "42"
        c.query("BEGIN")
        with open(f"{s.root}/etc/penstock/penstock.ini") as f:
            mine = f.read()
        s.install(next_version(deb, tmp_path))
        with open(f"{s.root}/etc/penstock/penstock.ini") as f:
            assert f.read() == mine
        assert s.run("stat", "-c", "%a %G", "/etc/penstock/userlist.txt").split() == ["640", "penstock"]
        before = procs.descendants()
        child.send_signal(signal.SIGHUP)                    # what the package does under systemd
        wait_for(lambda: "has taken over" in child.text(), 15, child.text)
        heir = [d["pid"] for d in procs.descendants()
                if d["name"] == "penstock" and d["pid"] not in [b["pid"] for b in before]]
        assert len(heir) == 1
        with RawClient.login(port.number, USER, SECRET, DB) as new:
            assert new.value("SELECT 1") == "1"
        assert c.value("SELECT 2") == "2"
        c.query("COMMIT")
    assert child.wait(10) == 0
    os.kill(heir[0], signal.SIGTERM)
    wait_for(lambda: heir[0] not in [d["pid"] for d in procs.descendants()], 40, "the new process to end")
    procs.reap()
    s.run("dpkg", "--remove", "penstock")
    assert not os.path.exists(f"{s.root}/usr/bin/penstock")
    assert os.path.exists(f"{s.root}/etc/penstock/penstock.ini")
    s.run("dpkg", "--purge", "penstock")
    for path in ("etc/penstock", "etc/logrotate.d/penstock", "var/log/penstock", "run/penstock"):
        assert not os.path.exists(f"{s.root}/{path}"), path
    port.release()


def test_debian_12(system, deb, pg, tmp_path):
    live(system("bookworm"), package(deb), pg, tmp_path)


def test_debian_13(system, pg, tmp_path):
    s = system("trixie", ["build-essential", "debhelper", "ca-certificates"])
    run(f"{ROOT}/packaging/tarball.sh", "0", f"{s.root}/root/source.tar.gz")
    s.run("tar", "-C", "/root", "-xf", "/root/source.tar.gz")
    s.run("apt-get", "-q", "-y", "--no-install-recommends", "build-dep", "/root/penstock-0/packaging/deb", timeout=900)
    s.run("sh", "-c", "cd /root/penstock-0 && DEB_BUILD_OPTIONS=nocheck make deb", timeout=1200)
    found = f"{s.root}/root/penstock-0/build/deb"
    live(s, package(found), pg, tmp_path)
