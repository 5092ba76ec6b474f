"""docs/errors.md against the program: every cause with its word, SQLSTATE and text, and nothing else."""
import os
import re

import pytest

from support import procs
from support.penstock import is_pgbouncer

ROOT = os.path.dirname(procs.BUILD)

pytestmark = pytest.mark.skipif(is_pgbouncer(), reason="about Penstock's own files")


def text_of(name):
    with open(os.path.join(ROOT, name)) as f:
        return f.read()


def declared():
    """The enum's members."""
    body = re.search(r"enum cause \{(.*?)\};", text_of("protocol/wire.h"), re.S).group(1)
    return set(re.findall(r"\bC_[A-Z_]+", re.sub(r"/\*.*?\*/", "", body, flags=re.S)))


def words():
    """Member to the word in logs and metrics."""
    return dict(re.findall(r'\[(C_\w+)\] = "(\w+)"', text_of("protocol/wire.c")))


def texts():
    """Member to (SQLSTATE, default text)."""
    found = re.findall(r'\{(C_\w+),\s*"(\w{5})",\s*((?:"[^"]*"\s*)+)\}', text_of("protocol/pg/pg_error.c"))
    return {c: (code, "".join(re.findall(r'"([^"]*)"', text))) for c, code, text in found}


def page():
    return [tuple(cells) for cells in re.findall(r"^\| (\w+) \| (\w{5}) \| ([^|]*) \| [^|]+ \|$",
                                                 text_of("docs/errors.md"), re.M)]


def test_page_has_every_cause_with_its_code_and_text():
    want = {(words()[c], *texts()[c]) for c in declared()}
    assert len(want) == len(declared()) > 25
    assert set(page()) == want


def test_no_cause_stands_twice():
    assert len({row[0] for row in page()}) == len(page())
