"""The Debian package: clean for lintian, the files where they belong, the unit one that systemd takes, and
what it installs works."""
import os
import re
import subprocess

import pytest

from conftest import ROOT, SLOW, package, run, text_of

pytestmark = pytest.mark.timeout(SLOW + 60)
MODES = {"-rwxr-xr-x", "-rw-r--r--", "drwxr-xr-x"}


def version():
    return re.search(r"^VERSION := (\S+)", text_of("Makefile"), re.M).group(1)


def control(name):
    """Packages of a field in debian/control."""
    field = re.search(rf"^{name}:((?:.*\n)(?: .*\n)*)", text_of("packaging/deb/debian/control"), re.M).group(1)
    return {re.match(r"\s*([a-z0-9.+-]+)", x).group(1) for x in field.split(",") if x.strip()}


def test_lintian_has_nothing_to_say(deb):
    run("lintian", "--allow-root", "--fail-on", "error,warning", package(deb, ".changes"), timeout=SLOW)


def test_files_modes_and_configuration(deb):
    listing = run("dpkg-deb", "-c", package(deb)).splitlines()
    files = {line.split()[5].lstrip(".").rstrip("/"): line.split() for line in listing}
    assert {f[0] for f in files.values()} <= MODES and {f[1] for f in files.values()} == {"root/root"}
    for name in ("/usr/bin/penstock", "/etc/penstock/penstock.ini", "/etc/penstock/userlist.txt",
                 "/etc/logrotate.d/penstock", "/usr/lib/tmpfiles.d/penstock.conf",
                 "/usr/share/man/man1/penstock.1.gz", "/usr/share/man/man5/penstock.ini.5.gz",
                 "/usr/share/bash-completion/completions/penstock",
                 "/usr/share/doc/penstock/examples/penstock.ini",
                 "/usr/share/doc/penstock/examples/prometheus", "/usr/share/doc/penstock/examples/grafana"):
        assert name in files, name
    assert any(f.endswith("/lib/systemd/system/penstock.service") for f in files)
    conffiles = run("dpkg-deb", "-I", package(deb), "conffiles").split()
    assert sorted(conffiles) == ["/etc/logrotate.d/penstock", "/etc/penstock/penstock.ini",
                                 "/etc/penstock/userlist.txt"]
    fields = run("dpkg-deb", "-f", package(deb))
    assert "Conflicts" not in fields and f"Version: {version()}-1" in fields


def test_build_dependencies_are_those_of_the_build(deb):
    """Debhelper brings compiler and make; what `make` links must be named here too."""
    listed = re.search(r"^build='([^']*)'", text_of("test/support/deps.sh"), re.M).group(1).split()
    wanted = {p for p in listed if p.startswith("lib") and p != "libc6-dev"}
    assert len(wanted) > 5 and wanted <= control("Build-Depends")
    assert ("pkg-config" in listed) == ("pkgconf" in control("Build-Depends"))
    other = {"libssl": "openssl", "libinih": "inih", "libpg-query": "libpg_query", "libhiredis": "hiredis",
             "libncurses": "ncurses"}                   # what they are called elsewhere
    for name in wanted:
        stem = name.removesuffix("-dev")
        assert f"BuildRequires:  {other.get(stem, stem)}-devel" in text_of("packaging/rpm/penstock.spec"), name


def test_packages_name_one_version():
    first = text_of("packaging/deb/debian/changelog").splitlines()[0]
    assert first.startswith(f"penstock ({version()}-")


def test_source_archive_is_the_same_twice(tmp_path):
    for name in ("a", "b"):
        run(f"{ROOT}/packaging/tarball.sh", "1.2.3", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    names = run("tar", "-tf", tmp_path / "a").split("\n")
    assert "penstock-1.2.3/proxy/main.c" in names and "penstock-1.2.3/test/run.py" in names
    assert not [n for n in names if re.match(r"penstock-1\.2\.3/(build|\.git)/", n) or "__pycache__" in n]


def test_units_are_ones_that_systemd_takes(extracted, tmp_path):
    for name in ("penstock.service", "penstock.socket"):
        with open(f"{extracted}/lib/systemd/system/{name}") as f:
            text = f.read()
        (tmp_path / name).write_text(text.replace("/usr/bin/penstock", f"{extracted}/usr/bin/penstock"))
    said = run("systemd-analyze", "verify", "--man=no", tmp_path / "penstock.socket")
    assert "penstock" not in said, said
    score = run("systemd-analyze", "security", "--offline=yes", tmp_path / "penstock.service").splitlines()
    level = [x for x in score if "Overall exposure" in x][0]
    assert float(re.search(r": ([0-9.]+)", level).group(1)) < 2


def test_installed_configuration_is_good(extracted, tmp_path):
    text = text_of("packaging/etc/penstock.ini").replace("/etc/penstock", f"{extracted}/etc/penstock")
    ini = tmp_path / "penstock.ini"
    ini.write_text(text)
    assert "good" in run(f"{extracted}/usr/bin/penstock", "--check", ini)
    every = re.sub(r"^;([a-z_]+ = )", r"\1", text, flags=re.M)      # what is switched off there too
    assert every.count("\n;") < text.count("\n;")
    ini.write_text(every)
    run(f"{extracted}/usr/bin/penstock", "--check", ini)


def test_program_is_hardened(extracted):
    program = f"{extracted}/usr/bin/penstock"
    head = run("readelf", "-hldW", program)
    assert "Type:                              DYN" in head             # position independent
    assert "GNU_RELRO" in head and re.search(r"FLAGS.*(NOW|BIND_NOW)", head)
    stack = re.search(r"GNU_STACK.*", head).group(0)
    assert "RWE" not in stack and " RW " in stack


def complete(extracted, *words):
    script = (f"source {extracted}/usr/share/bash-completion/completions/penstock; "
              'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _penstock; printf "%s\\n" "${COMPREPLY[@]}"')
    p = subprocess.run(["bash", "-c", script, "bash", "penstock", *words], capture_output=True, text=True,
                       timeout=20, env={**os.environ, "PATH": f"{extracted}/usr/bin:{os.environ['PATH']}"})
    assert p.stderr == ""
    return p.stdout.split()


def test_completion_knows_options_users_and_files(extracted, tmp_path):
    assert {"--check", "--user", "--version"} <= set(complete(extracted, "--"))
    assert complete(extracted, "--ver") == ["--verbose", "--version"]
    assert "root" in complete(extracted, "--user", "ro")
    assert complete(extracted, "ct") == ["ctl"]
    assert complete(extracted, "ctl", "REL") == ["RELOAD"] and "--format" in complete(extracted, "ctl", "--")
    (tmp_path / "some.ini").write_text("")
    (tmp_path / "some.txt").write_text("")
    assert complete(extracted, f"{tmp_path}/so") == [f"{tmp_path}/some.ini"]
