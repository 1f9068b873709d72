"""Renders the chart with the real helm."""

from __future__ import annotations

import functools
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "outbox-operator"
LOCALKUBE = ROOT / "hack" / "localkube" / "localkube"
OLDER_CHART = ROOT / "tests" / "support" / "chart_3257158.tgz"
"""`helm package` of that commit's, the first with this API: a clone without history has it, too."""
KUBE_VERSION = "1.34.0"
"""Given to helm, because a `template` asks no server."""

Manifest = dict[str, Any]


class ChartRefusedError(Exception):
    """helm did not render; the text is what it said."""


@functools.cache
def find_program(name: str) -> Path:
    """A program of the local cluster's tools, built if it is missing.

    Raises:
        RuntimeError: It is neither there nor can be built; holds the reason.
    """
    found = subprocess.run(
        [LOCALKUBE, "path", name], capture_output=True, text=True, check=False, timeout=600
    )
    path = Path(found.stdout.strip() or "/nonexistent")
    if found.returncode or not path.is_file():
        raise RuntimeError(f"no {name}; run `make tools`. {LOCALKUBE.name} said: {found.stderr}")
    return path


def find_helm() -> Path:
    """The helm of the local cluster's tools; as `find_program`."""
    return find_program("helm")


@dataclass(frozen=True)
class Helm:
    """One helm program, pointed at our chart."""

    program: Path

    def render(
        self, values: Manifest | None = None, *, name: str = "outbox-operator", chart: Path = CHART
    ) -> list[Manifest]:
        """The objects of a release in namespace `outbox-system`. Raises ChartRefusedError."""
        text = self._run(
            [
                *("template", name, str(chart), "--namespace", "outbox-system"),
                *("--kube-version", KUBE_VERSION),
            ],
            values or {},
        )
        return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]

    def lint(self, values: Manifest) -> None:
        """`helm lint --strict`. Raises ChartRefusedError."""
        self._run(["lint", "--strict", str(CHART), "--kube-version", KUBE_VERSION], values)

    def notes(self, values: Manifest, scratch: Path) -> str:
        """What an installation says at its end.

        helm renders the notes only with a server at hand, so a copy of the chart below `scratch`
        is used that has them as an object.
        """
        copy = scratch / CHART.name
        shutil.copytree(CHART, copy)
        notes = (copy / "templates/NOTES.txt").read_text()
        (copy / "templates/notes.yaml").write_text(
            f'{{{{- define "notes" }}}}{notes}{{{{- end }}}}\n'
            'kind: Notes\ntext: {{ include "notes" . | quote }}\n'
        )
        objects = self.render(values, chart=copy)
        text = next(one["text"] for one in objects if one["kind"] == "Notes")
        assert isinstance(text, str)
        return text

    def _run(self, arguments: list[str], values: Manifest) -> str:
        return _output(self.program, tuple(arguments), yaml.safe_dump(values))


@functools.cache
def _output(program: Path, arguments: tuple[str, ...], values: str) -> str:
    """What helm prints; remembered, because many tests look at the same release."""
    done = subprocess.run(
        [str(program), *arguments, "--values", "-"],
        input=values,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        raise ChartRefusedError(done.stdout + done.stderr)
    return done.stdout


def of_kind(objects: list[Manifest], kind: str) -> list[Manifest]:
    """Those of a kind."""
    return [one for one in objects if one["kind"] == kind]


def deployment(objects: list[Manifest]) -> Manifest:
    """The operator's."""
    (found,) = of_kind(objects, "Deployment")
    return found


def pod(objects: list[Manifest]) -> Manifest:
    """What its pods are."""
    spec: Manifest = deployment(objects)["spec"]["template"]["spec"]
    return spec


def container(objects: list[Manifest]) -> Manifest:
    """The one of its pods."""
    (found,) = pod(objects)["containers"]
    assert isinstance(found, dict)
    return found


def environment(objects: list[Manifest]) -> dict[str, str]:
    """Variables of that container; those read from elsewhere are empty."""
    return {one["name"]: one.get("value", "") for one in container(objects)["env"]}
