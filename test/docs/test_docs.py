"""The samples, the manual and what the program says of itself are the same.

The program prints the sample file and the table of options from its schema; the files in etc/ and docs/ are
that output.  When a test here fails after a change of an option: build/penstock --sample > etc/penstock.ini,
python3 docs/gen_manual.py.
"""
import importlib.util
import os
import re
import shutil
import subprocess

import pytest

from support import procs
from support.penstock import binary, is_pgbouncer

ROOT = os.path.dirname(procs.BUILD)

pytestmark = pytest.mark.skipif(is_pgbouncer(), reason="about Penstock's own files")


def text_of(name):
    with open(os.path.join(ROOT, name)) as f:
        return f.read()


def run(*argv):
    return subprocess.run([binary(), *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=20)


def printed(option):
    p = run(option)
    assert (p.returncode, p.stderr) == (0, "")
    return p.stdout


def generator():
    spec = importlib.util.spec_from_file_location("gen_manual", os.path.join(ROOT, "docs", "gen_manual.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def manual_keys():
    main = printed("--manual").split("### [databases] and [users]")[0]
    return set(re.findall(r"^\| ([a-z_0-9]+) \|", main, re.M)) - {"key"}


def sample_keys():
    main = printed("--sample").split("[penstock]\n")[1]
    return set(re.findall(r"^;([a-z_0-9]+) =", main, re.M))


def test_sample_is_what_the_program_prints():
    assert text_of("etc/penstock.ini") == printed("--sample")


@pytest.mark.parametrize("name", ["docs/configuration.md", "docs/penstock.ini.5", "docs/metrics.md"])
def test_manual_is_what_the_program_prints(name):
    assert text_of(name) == generator().outputs(binary())[name]


def test_manual_and_sample_have_the_same_options():
    assert len(manual_keys()) > 100
    assert manual_keys() - sample_keys() == {"service_name"}        # an alias, not listed
    assert sample_keys() <= manual_keys()


def test_every_option_is_in_the_manual_page():
    page = text_of("docs/penstock.ini.5")
    missing = [k for k in manual_keys() if f"\\fB{k}\\fR" not in page]
    assert not missing


@pytest.mark.parametrize("name", ["etc/penstock.ini", "etc/minimal.ini", "etc/cache.ini"])
def test_sample_is_a_good_configuration(name):
    p = run("--check", os.path.join(ROOT, name))
    assert p.returncode == 0, p.stderr


def test_sample_with_everything_switched_on_is_a_good_configuration(tmp_path):
    """Every default is a value that the option takes; protocol defaults and lone words stay off."""
    text = re.sub(r"^;([a-z_0-9*]+ = .+|\[cluster .+\])$", r"\1", printed("--sample"), flags=re.M)
    assert text.count("\n;") < printed("--sample").count("\n;")
    path = tmp_path / "all.ini"
    path.write_text(text)
    p = run("--check", str(path))
    assert p.returncode == 0, p.stderr


def test_readme_configuration_is_good(tmp_path):
    block = re.search(r"With a file:\n\n((?:    .*\n)+)", text_of("README.md")).group(1)
    path = tmp_path / "readme.ini"
    path.write_text(re.sub(r"^    ", "", block, flags=re.M))
    (tmp_path / "userlist.txt").write_text('"app" "secret"\n')
    p = run("--check", str(path))
    assert p.returncode == 0, p.stderr


@pytest.mark.parametrize("name", ["penstock.1", "penstock.ini.5"])
def test_manual_page_renders_without_warnings(name):
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    p = subprocess.run([groff, "-man", "-ww", "-z", os.path.join(ROOT, "docs", name)], timeout=20,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (p.returncode, p.stdout) == (0, "")


def test_every_flag_is_in_help_and_manual_page():
    flags = {f for tool in ([], ["ctl"], ["top"])
             for f in re.findall(r"--[a-z]+", run(*tool, "--help").stdout)}
    page = text_of("docs/penstock.1").replace("\\-", "-")
    assert {"--check", "--manual", "--sample", "--user"} <= flags
    assert flags == set(re.findall(r"--[a-z]+", page))
    assert printed("--help").count("\n") <= 24


def test_links_between_documents_lead_somewhere():
    broken = []
    for folder in (".", "docs", "docs/adr"):
        for name in os.listdir(os.path.join(ROOT, folder)):
            if not name.endswith(".md"):
                continue
            for link in re.findall(r"\]\(([^)#]+)\)", text_of(os.path.join(folder, name))):
                if "://" not in link and not os.path.exists(os.path.join(ROOT, folder, link)):
                    broken.append(f"{folder}/{name}: {link}")
    assert not broken


def test_make_targets_that_the_readme_names_exist():
    named = set(re.findall(r"`make ([a-z-]+)", text_of("README.md")))
    named |= set(re.findall(r"^    make ([a-z-]+)", text_of("README.md"), re.M))
    there = set(re.findall(r"^([a-z][a-z -]*):", text_of("Makefile"), re.M))
    targets = {word for line in there for word in line.split()}
    assert {"demo", "check"} <= named <= targets


def tests_named():
    """(where, name) of each test in docs/behaviours.md."""
    return re.findall(r"`((?:wire|integration|drivers|unit)/[\w.]+): ([^`]+)`", text_of("docs/behaviours.md"))


def test_every_behaviour_names_tests_that_exist():
    rows = re.findall(r"^\| (\d+) \| .* \| (.+) \|$", text_of("docs/behaviours.md"), re.M)
    numbers = [int(n) for n, _ in rows]
    assert numbers == [n for n in range(1, 141) if not 106 <= n <= 120]
    assert all(held == "later" or "`" in held for _, held in rows)
    texts, missing = {}, []
    for where, name in tests_named():
        text = texts.setdefault(where, text_of(f"test/{where}"))
        begin = {"wire/scripts.py": f'Script("{name}"'}.get(where, f"{name}(")
        if begin not in text:
            missing.append(f"{where}: {name}")
    assert not missing, missing
