"""What an index of packages or charts shows of the project."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Final

import yaml

from support.kube import ROOT

OF_APPLICATIONS: Final = (
    "archive", "cli", "client-nats", "consumer", "redis", "relay", "tracing"
)  # fmt: skip
"""Extras that an application's own environment may have; `dev` starts servers."""


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


def test_what_windows_cannot_install_is_left_out_there() -> None:
    """The library is imported by applications, which are written on any machine."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    wheels = {
        one["name"]: [wheel["url"] for wheel in one.get("wheels", ())] for one in lock["package"]
    }
    [ours] = [one for one in lock["package"] if one["name"] == "outbox-operator"]
    wanted = [
        (extra, one["name"])
        for extra, all_ in ours["optional-dependencies"].items()
        for one in all_
        if "sys_platform != 'win32'" not in one.get("marker", "")
    ]
    assert ("consumer", "asyncpg") in wanted
    lacking = [
        (extra, name)
        for extra, name in wanted
        if extra in OF_APPLICATIONS
        and not any(url.endswith(("-none-any.whl", "-win_amd64.whl")) for url in wheels[name])
    ]
    assert lacking == []


def test_the_library_needs_no_module_that_windows_has_not() -> None:
    lacks = ("fcntl", "grp", "pwd", "resource", "termios", "uvloop")
    code = (
        f"import sys\nfor name in {lacks}: sys.modules[name] = None\n"
        "import outbox_operator.client, outbox_operator.testing, outbox_operator.testing.plugin\n"
        "from outbox_operator.consumer import Consumer, Handlers\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
