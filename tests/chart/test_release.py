"""The chart of a release brings what a stranger looks for in it."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import yaml
from release import chart
from release.stamp import Release

from support.kube import ROOT

RELEASE = Release("0.1.0", "c0ffee", 1_700_000_000, "registry.example/outbox-operator")


def packaged(folder: Path) -> Path:
    """The chart of a release, of files that were written a moment ago."""
    sources, output = folder / "sources", folder / "output"
    shutil.copytree(ROOT / chart.CHART, sources / chart.CHART, copy_function=shutil.copyfile)
    for name in ("LICENSE", "README.md"):
        shutil.copyfile(ROOT / name, sources / name)
    chart.package(RELEASE, sources, f"sha256:{'a' * 64}", output)
    return output / "outbox-operator-0.1.0.tgz"


def test_a_release_that_is_made_again_has_the_same_chart(tmp_path: Path) -> None:
    made = packaged(tmp_path / "a")
    with tarfile.open(made) as tar:
        assert {entry.mtime for entry in tar} == {RELEASE.epoch}
    assert packaged(tmp_path / "b").read_bytes() == made.read_bytes()


def test_licence_readme_and_image_by_digest(tmp_path: Path) -> None:
    with tarfile.open(packaged(tmp_path)) as tar:
        found = {
            entry.name.partition("/")[2]: read.read().decode()
            for entry in tar
            if (read := tar.extractfile(entry))
        }
    assert "Apache License" in found["LICENSE"]
    assert found["README.md"].startswith("# outbox-operator")
    image = yaml.safe_load(found["values.yaml"])["image"]
    assert (image["repository"], image["digest"]) == (RELEASE.repository, f"sha256:{'a' * 64}")
