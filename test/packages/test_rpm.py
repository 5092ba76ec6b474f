"""The RPM package, as far as a system of another kind can try it: rpmlint, files, scripts, dependencies, and an
installation into a folder."""
import os
import re
import subprocess

import pytest

from conftest import ROOT, SLOW, run, text_of

pytestmark = [pytest.mark.full, pytest.mark.timeout(2 * SLOW)]


@pytest.fixture(scope="module")
def rpm():
    run("make", "-C", ROOT, "rpm", timeout=2 * SLOW)
    folder = os.path.join(ROOT, "build", "rpm")
    found = [f for f in os.listdir(folder) if f.endswith(".rpm") and not f.endswith(".src.rpm") and "debug" not in f]
    assert len(found) == 1, found
    return os.path.join(folder, found[0])


def query(rpm, *args):
    return run("rpm", "-qp", *args, rpm).splitlines()


def test_rpmlint_finds_nothing(rpm):
    said = run("rpmlint", "--config", f"{ROOT}/packaging/rpm/rpmlint.toml", rpm,
               f"{ROOT}/packaging/rpm/penstock.spec")
    assert "0 errors, 0 warnings" in said, said


def test_files_modes_and_configuration(rpm):
    files = {x.split()[8]: x.split() for x in query(rpm, "-lv")}
    for name, mode, group in (("/usr/bin/penstock", "-rwxr-xr-x", "root"),
                              ("/etc/penstock/penstock.ini", "-rw-r-----", "penstock"),
                              ("/etc/penstock/userlist.txt", "-rw-r-----", "penstock"),
                              ("/usr/lib/systemd/system/penstock.service", "-rw-r--r--", "root"),
                              ("/usr/lib/sysusers.d/penstock.conf", "-rw-r--r--", "root"),
                              ("/var/log/penstock", "drwxr-x---", "penstock")):
        assert (files[name][0], files[name][3]) == (mode, group), files[name]
    assert sorted(query(rpm, "-c")) == ["/etc/logrotate.d/penstock", "/etc/penstock/penstock.ini",
                                        "/etc/penstock/userlist.txt"]
    flags = dict(x.rsplit(" ", 1) for x in query(rpm, "--qf", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]"))
    assert flags["/etc/penstock/penstock.ini"] == "cn"          # an upgrade keeps it
    needs = " ".join(query(rpm, "--requires"))
    for library in ("libev", "libssl", "libinih", "libpg_query", "libmicrohttpd"):
        assert library in needs, needs
    assert not query(rpm, "--conflicts")


def test_version_is_that_of_the_program(rpm):
    version = re.search(r"^VERSION := (\S+)", text_of("Makefile"), re.M).group(1)
    assert query(rpm, "--qf", "%{VERSION}") == [version]
    assert f"penstock_version {version}" in text_of("packaging/rpm/penstock.spec")


def test_scripts_are_shell(rpm):
    for tag in ("PREIN", "POSTIN", "PREUN", "POSTUN"):
        script = "\n".join(query(rpm, "--qf", f"%{{{tag}}}"))
        assert script and script != "(none)"
        p = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, timeout=10)
        assert (p.returncode, p.stderr) == (0, ""), (tag, p.stderr)


def test_installation_into_a_folder(rpm, tmp_path):
    base = ["rpm", "--root", tmp_path, "--nodeps", "--noscripts"]
    run(*base, "-i", rpm)
    assert run("rpm", "--root", tmp_path, "-q", "penstock").startswith("penstock-")
    assert run(f"{tmp_path}/usr/bin/penstock", "--version").startswith("penstock ")
    ini = tmp_path / "etc/penstock/penstock.ini"
    own = ini.read_text() + "\n; our own line\n"
    ini.write_text(own)
    run(*base, "-U", "--force", rpm)
    assert ini.read_text() == own
    run(*base, "-e", "penstock")
    assert not (tmp_path / "usr/bin/penstock").exists()
    assert (tmp_path / "etc/penstock/penstock.ini.rpmsave").read_text() == own
