"""The chart of a release brings what a stranger looks for in it."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import yaml
from release import chart
from release.stamp import Release

from support.kube import ROOT


def test_licence_readme_and_image_by_digest(tmp_path: Path) -> None:
    release = Release("0.1.0", "c0ffee", 1_700_000_000, "registry.example/outbox-operator")
    sources, output = tmp_path / "sources", tmp_path / "output"
    shutil.copytree(ROOT / chart.CHART, sources / chart.CHART)
    for name in ("LICENSE", "README.md"):
        shutil.copyfile(ROOT / name, sources / name)
    chart.package(release, sources, f"sha256:{'a' * 64}", output)
    with tarfile.open(output / "outbox-operator-0.1.0.tgz") as tar:
        found = {
            entry.name.partition("/")[2]: read.read().decode()
            for entry in tar
            if (read := tar.extractfile(entry))
        }
    assert "Apache License" in found["LICENSE"]
    assert found["README.md"].startswith("# outbox-operator")
    image = yaml.safe_load(found["values.yaml"])["image"]
    assert (image["repository"], image["digest"]) == (release.repository, f"sha256:{'a' * 64}")
