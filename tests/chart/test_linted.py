"""What others' programs say of the chart: helm's lint, kubeconform, kube-score."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.chart import KUBE_VERSION, Helm, Manifest, find_program
from support.chart_values import EVERYTHING, NAMESPACED, PER_NAMESPACE, VARIANTS
from support.fences import fences
from support.kube import ROOT
from support.schemas import write_schemas

EGRESS = [{"ports": [{"port": 443}]}]
NOT_ASKED_FOR = {
    "container-ephemeral-storage-request-and-limit": "it writes /tmp alone, which has a limit",
    "container-image-pull-policy": "versions do not change under their tag",
    "deployment-has-host-podantiaffinity": "topologySpreadConstraints say it",
}
YQ = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[3]))))"


@pytest.mark.parametrize("values", VARIANTS)
def test_helm_has_nothing_to_say(helm: Helm, values: Manifest) -> None:
    helm.lint(values)


def test_every_object_is_as_the_api_server_has_it(helm: Helm, tmp_path: Path) -> None:
    variants = [helm.render(values) for values in (EVERYTHING, PER_NAMESPACE, NAMESPACED)]
    objects = [one for variant in variants for one in variant]
    write_schemas(tmp_path, {one["kind"] for one in objects})
    answer = conform(objects, tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    deployment = next(one for one in objects if one["kind"] == "Deployment")
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    answer = conform([wrong], tmp_path)
    assert answer.returncode == 1
    assert "replica" in answer.stdout


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_nothing_critical_is_left_out(helm: Helm, values: Manifest) -> None:
    told = {**values, "networkPolicy": {"egress": EGRESS}}
    ignored = [part for name in NOT_ASKED_FOR for part in ("--ignore-test", name)]
    answer = run(
        "kube-score",
        "score",
        *ignored,
        # A limit would slow the operator down until it cannot renew its Lease.
        "--ignore-container-cpu-limit",
        "--exit-one-on-warning",
        *("--output-format", "ci", "-"),
        objects=helm.render(told),
    )
    said = [line for line in answer.stdout.splitlines() if line.startswith(("[CRIT", "[WARN"))]
    assert said == []
    assert answer.returncode == 0, answer.stderr


@pytest.mark.thorough
def test_manifests_are_looked_at_without_a_cluster_as_the_page_says(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "crds", tmp_path / "crds")
    (tmp_path / "shop").mkdir()
    # Two programs have its name; the page means the other one than Debian has.
    yq = tmp_path / "yq"
    yq.write_text(f"#!{sys.executable}\n{YQ}")
    yq.chmod(0o755)
    [looked] = [one for one in fences("docs/how-to/gitops.md", "sh") if "kubeconform" in one]
    manifest = (ROOT / "examples/smallest/pipeline.yaml").read_text()
    said = []
    for text in (manifest, manifest.replace("subject:", "subjcet:")):
        (tmp_path / "shop/pipeline.yaml").write_text(text)
        folders = (tmp_path, Path(find_program("kubeconform")).parent, os.environ["PATH"])
        done = subprocess.run(
            ["/bin/bash", "-e", "-c", looked], cwd=tmp_path, capture_output=True, text=True,
            env={"PATH": ":".join(map(str, folders))}, check=False, timeout=120,
        )  # fmt: skip
        said.append((done.returncode, done.stdout + done.stderr))
    assert [code for code, _ in said] == [0, 1], said
    assert "Valid: 1" in said[0][1]
    assert "subjcet" in said[1][1]


def conform(objects: list[Manifest], schemas: Path) -> subprocess.CompletedProcess[str]:
    return run(
        "kubeconform",
        *("-kubernetes-version", KUBE_VERSION),
        *("-schema-location", f"{schemas}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"),
        # Defined by the Prometheus operator.
        *("-skip", "ServiceMonitor,PodMonitor,PrometheusRule"),
        objects=objects,
    )


def run(program: str, *arguments: str, objects: list[Manifest]) -> subprocess.CompletedProcess[str]:
    """A program that reads objects from its standard input."""
    return subprocess.run(
        [find_program(program), *arguments],
        input=yaml.safe_dump_all(objects),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
