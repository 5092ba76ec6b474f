"""Container file and Kubernetes manifests: clean for their linters, valid against the platform's schemas, and at one
with the program: configuration, ports, probes, metrics, times."""
import os
import re
import sys

import pytest
import yaml

from conftest import ROOT, run, text_of
from support.penstock import binary

FOLDER = os.path.join(ROOT, "packaging", "kubernetes")
FILES = sorted(os.listdir(FOLDER))
BIN = os.path.dirname(sys.executable)


def documents(name):
    return list(yaml.safe_load_all(text_of("packaging/kubernetes", name)))


def every(kind):
    return [d for f in FILES for d in documents(f) if d["kind"] == kind]


def workloads():
    return every("Deployment") + every("StatefulSet")


def pod(workload):
    return workload["spec"]["template"]["spec"]


def ini_of(name):
    return [d["data"]["penstock.ini"] for d in every("ConfigMap") if d["metadata"]["name"] == name][0]


def option(ini, key):
    return re.search(rf"^{key} = (\S+)", ini, re.M).group(1)


def test_container_file_is_clean():
    run(f"{BIN}/hadolint", f"{ROOT}/packaging/container/Containerfile")


def test_manifests_are_clean():
    run(f"{BIN}/yamllint", "--strict", "-c", f"{ROOT}/test/packages/yamllint.yaml", FOLDER)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_manifest_is_valid(name, version):
    said = run(f"{BIN}/kubernetes-validate", "--strict", "-k", version, os.path.join(FOLDER, name))
    assert said.count("passed") == len(documents(name))


@pytest.mark.parametrize("name", ["penstock", "penstock-peers"])
def test_configuration_is_good(name, tmp_path):
    users = tmp_path / "userlist.txt"
    users.write_text(every("Secret")[0]["stringData"]["userlist.txt"])
    (tmp_path / "peer.ini").write_text("peer_id = 2\n")
    ini = tmp_path / "penstock.ini"
    ini.write_text(ini_of(name).replace("/etc/penstock/", f"{tmp_path}/").replace("/run/penstock/peer.ini",
                                                                                  f"{tmp_path}/peer.ini"))
    assert "good" in run(binary(), "--check", ini)


def test_times_fit_into_each_other():
    for w in workloads():
        spec = pod(w)
        sleep = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
        for name in ("penstock", "penstock-peers"):
            drain = int(option(ini_of(name), "shutdown_timeout"))
            assert sleep + drain + 10 <= spec["terminationGracePeriodSeconds"]


def test_ports_paths_labels_and_version():
    version = re.search(r"^VERSION := (\S+)", text_of("Makefile"), re.M).group(1)
    metrics = text_of("docs/metrics.md")
    for w in workloads():
        c = pod(w)["containers"][0]
        assert c["image"] == f"penstock:{version}"
        ports = {p["name"]: p["containerPort"] for p in c["ports"]}
        for name in ("penstock", "penstock-peers"):
            assert int(option(ini_of(name), "listen_port")) == ports["postgresql"]
            assert option(ini_of(name), "http_listen").endswith(f":{ports['http']}")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert c[probe]["httpGet"]["path"] in metrics and c[probe]["httpGet"]["port"] in ports
        labels = w["spec"]["template"]["metadata"]["labels"]
        assert w["spec"]["selector"]["matchLabels"].items() <= labels.items()
        for s in every("Service"):
            assert s["spec"]["selector"].items() <= labels.items()
            assert {p["targetPort"] for p in s["spec"]["ports"]} <= set(ports)
        assert every("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert pod(w)["securityContext"]["runAsUser"] == 999
    text = text_of("packaging/container/Containerfile")
    assert "--uid 999" in text and "USER 999:999" in text
    assert {str(p) for p in ports.values()} <= set(re.search(r"^EXPOSE (.*)", text, re.M).group(1).split())


def test_autoscaler_asks_for_a_metric_that_is_there_and_for_no_more_than_the_peers():
    spec = every("HorizontalPodAutoscaler")[0]["spec"]
    metric = spec["metrics"][0]["pods"]["metric"]["name"]
    assert f"| {metric} | gauge |" in text_of("docs/metrics.md")
    peers = re.findall(r"^(\d+) = host=penstock-(\d+)\.penstock-processes", ini_of("penstock-peers"), re.M)
    assert [(int(a), int(b)) for a, b in peers] == [(n + 1, n) for n in range(spec["maxReplicas"])]
    assert every("StatefulSet")[0]["spec"]["serviceName"] == "penstock-processes"
