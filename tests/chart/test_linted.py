"""What others' programs say of the chart: helm's lint, kubeconform, kube-score."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from support.chart import KUBE_VERSION, Helm, Manifest, find_program
from support.chart_values import EVERYTHING, NAMESPACED, PER_NAMESPACE, VARIANTS
from support.schemas import write_schemas

EGRESS = [{"ports": [{"port": 443}]}]
NOT_ASKED_FOR = {
    "container-ephemeral-storage-request-and-limit": "it writes /tmp alone, which has a limit",
    "container-image-pull-policy": "versions do not change under their tag",
    "deployment-has-host-podantiaffinity": "topologySpreadConstraints say it",
}


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
