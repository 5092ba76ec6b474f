"""Packages are built once for a run, by the same targets that people use."""
import os
import subprocess

import pytest

from support import procs

ROOT = procs.ROOT
SLOW = 420


def run(*argv, timeout=60, **kw):
    """Its output; a failure shows it."""
    p = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=timeout, **kw)
    assert p.returncode == 0, f"{argv}: {p.returncode}\n{p.stdout[-4000:]}"
    return p.stdout


def text_of(*names):
    with open(os.path.join(ROOT, *names)) as f:
        return f.read()


@pytest.fixture(scope="session")
def deb():
    """The folder with what `make deb` leaves; the unit tests have had their own run."""
    run("make", "-C", ROOT, "deb", timeout=SLOW,
        env={**os.environ, "DEB_BUILD_OPTIONS": f"nocheck parallel={os.cpu_count()}"})
    return os.path.join(ROOT, "build", "deb")


@pytest.fixture(scope="session")
def extracted(deb, tmp_path_factory):
    """The files of the package, as they would be below /."""
    root = tmp_path_factory.mktemp("root")
    run("dpkg-deb", "-x", package(deb), root)
    return str(root)


def package(folder, end=".deb"):
    found = [f for f in os.listdir(folder) if f.startswith("penstock_") and f.endswith(end)]
    assert len(found) == 1, found
    return os.path.join(folder, found[0])
