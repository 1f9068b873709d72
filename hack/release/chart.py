"""The chart of a release."""

from __future__ import annotations

import shutil
from pathlib import Path

from release import stamp
from release.programs import program, run
from release.stamp import Release

CHART = "charts/outbox-operator"


def package(release: Release, sources: Path, digest: str, output: Path) -> None:
    """The chart, whose image is this release's by digest, with what a registry shows of it."""
    values = sources / CHART / "values.yaml"
    values.write_text(stamp.values(values.read_text(), release, digest))
    for name in ("LICENSE", "README.md"):
        shutil.copyfile(sources / name, sources / CHART / name)
    run(release, program("helm"), "package", str(sources / CHART), "--destination", str(output))
