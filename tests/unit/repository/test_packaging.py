"""What an index of packages or charts shows of the project."""

from __future__ import annotations

import sys
import tomllib

import yaml

from support.kube import ROOT


def test_classifiers_name_each_python_that_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: "
    named = {one.removeprefix(prefix) for one in project["classifiers"] if one.startswith(prefix)}
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in named
    assert {"3", "3 :: Only", "3.11", "3.12", "3.13"} <= named
    for audience in ("Developers", "System Administrators"):
        assert f"Intended Audience :: {audience}" in project["classifiers"]


def test_the_chart_names_the_kinds_that_it_brings() -> None:
    chart = yaml.safe_load((ROOT / "charts/outbox-operator/Chart.yaml").read_text())
    named = yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])
    crds = [yaml.safe_load(file.read_text()) for file in sorted((ROOT / "crds").glob("*.yaml"))]
    assert {(one["kind"], one["name"], one["version"]) for one in named} == {
        (crd["spec"]["names"]["kind"], crd["metadata"]["name"], version["name"])
        for crd in crds
        for version in crd["spec"]["versions"]
    }
