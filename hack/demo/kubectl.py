"""kubectl against the demo's cluster, and kustomize with the images that were built here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl against the demo's cluster."""

    program: str
    kubeconfig: Path

    def environment(self) -> dict[str, str]:
        """Environment for kubectl and helm. The cluster is near: no proxy may get in between."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "NO_PROXY": "*", "no_proxy": "*"}

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Standard output of a command.

        Raises:
            DemoError: it failed, or took longer than `timeout` seconds.
        """
        command = [self.program, *arguments]
        try:
            done = subprocess.run(
                command,
                env=self.environment(),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"kubectl {' '.join(arguments)}: no answer in {timeout} s") from error
        if done.returncode:
            raise DemoError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


def overlay(example: str, images: Mapping[str, str]) -> Path:
    """Write a folder for `kubectl apply -k`: an example with other images.

    Args:
        example: Name of a folder of examples/.
        images: Name in the manifests -> name with tag.
    """
    lines = [
        "# Written by hack/demo: an example with the images that were built here.",
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        f"resources: [../../../examples/{example}]",
        *(["images:"] if images else []),
    ]
    for name, image in images.items():
        repository, _, tag = image.rpartition(":")
        lines.append(f"  - {{name: {name}, newName: {repository}, newTag: {tag}}}")
    folder = ROOT / "build" / "demo" / example
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    return folder
