"""The alert rules and the dashboard in packaging/: they parse, each alert has its test, and every metric they
name is one that /metrics has.
"""
import json
import os
import re
import shutil
import subprocess

import pytest

from support import procs
from support.penstock import binary, is_pgbouncer

ROOT = os.path.dirname(procs.BUILD)
RULES = os.path.join(ROOT, "packaging/prometheus/penstock.rules.yml")
TESTS = os.path.join(ROOT, "packaging/prometheus/penstock.test.yml")
DASHBOARD = os.path.join(ROOT, "packaging/grafana/penstock.json")
OTHERS = {"up"}  # of Prometheus itself
WORDS = {"and", "or", "by", "on", "sum", "max", "rate", "le", "unless"}

pytestmark = pytest.mark.skipif(is_pgbouncer(), reason="about Penstock's own files")


def text_of(path):
    with open(path) as f:
        return f.read()


def metrics():
    """Every name under which a sample of /metrics may be found, with the labels it has."""
    p = subprocess.run([binary(), "--metrics"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                       timeout=20, check=True)
    names = {}
    for name, kind, labels in re.findall(r"^\| (\w+) \| (\w+) \| ([^|]*) \|", p.stdout, re.M):
        own = set(labels.replace(",", " ").split())
        names[name] = own
        if kind == "histogram":
            names.update({name + "_bucket": own | {"le"}, name + "_sum": own, name + "_count": own})
    names.pop("metric", None)
    return names


def rules():
    """(alert, expression) of each rule."""
    found = []
    for part in text_of(RULES).split("- alert: ")[1:]:
        expr = re.search(r"expr: (\|\n(?: {10}.*\n)+|.*\n)", part).group(1)
        found.append((part.split()[0], expr.lstrip("|").strip()))
    return found


def panels():
    """(title, expression) of each query of the dashboard."""
    board = json.loads(text_of(DASHBOARD))
    return [(p["title"], t["expr"]) for p in board["panels"] for t in p.get("targets", [])]


def used(expr):
    """Names of metrics in an expression, and the labels that are selected or grouped by."""
    bare = re.sub(r'"[^"]*"', '""', expr)
    groups = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare)
    picked = re.findall(r"\{([^}]*)\}", bare)
    labels = {w.strip() for g in groups for w in g.split(",")}
    labels |= {w for p in picked for w in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", p)}
    bare = re.sub(r"\b(?:by|on)\s*\([^)]*\)|\{[^}]*\}|\[[^]]*\]", " ", bare)
    names = {w for w in re.findall(r"\b[a-z_]\w*\b(?!\s*\()", bare) if w not in WORDS}
    return names, labels


@pytest.mark.parametrize("what,expr", rules() + panels())
def test_names_and_labels_are_those_of_the_metrics(what, expr):
    known = metrics()
    names, labels = used(expr)
    assert names, what
    assert names - set(known) - OTHERS == set()
    for name in names - OTHERS:
        assert labels - {"instance", "job"} - set().union(*(known[n] for n in names - OTHERS)) == set(), name


def test_every_alert_has_a_test_that_it_fires_and_one_that_it_does_not():
    tests = text_of(TESTS)
    for alert, _ in rules():
        assert f"eval_time: 20m, alertname: {alert}}}" in tests, alert
        assert re.search(rf"alertname: {alert}\n +exp_alerts:\n +- exp_labels", tests), alert


def test_dashboard_is_whole():
    board = json.loads(text_of(DASHBOARD))
    ids = [p["id"] for p in board["panels"]]
    assert len(ids) == len(set(ids)) and board["uid"] == "penstock"
    spots = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]}
    assert len(spots) == len(ids)
    variables = {v["name"] for v in board["templating"]["list"]}
    for _, expr in panels():
        assert set(re.findall(r"\$(\w+)", expr)) - {"__rate_interval"} <= variables


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_rules_tests_and_queries(tmp_path):
    for args in (["check", "rules", RULES], ["test", "rules", TESTS]):
        p = subprocess.run(["promtool", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=60)
        assert p.returncode == 0, p.stdout
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for i, (_, expr) in enumerate(panels()):
        expr = expr.replace("$__rate_interval", "5m")
        lines += [f"  - record: query:{i}", f"    expr: {json.dumps(expr)}"]
    made = tmp_path / "dashboard.yml"
    made.write_text("\n".join(lines) + "\n")
    p = subprocess.run(["promtool", "check", "rules", str(made)], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=60)
    assert p.returncode == 0, p.stdout
