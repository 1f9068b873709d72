"""The chart of a release."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from pathlib import Path

from release import stamp
from release.image import NAME
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
    _date(output / f"{NAME}-{release.chart_version}.tgz", release.epoch)


def _date(archive: Path, epoch: int) -> None:
    """Give all files of an archive one time: helm writes that of the day, and a release made again
    would have another chart of its version."""
    with tarfile.open(archive) as tar:
        files = [(entry, read.read()) for entry in tar if (read := tar.extractfile(entry))]
    with (
        archive.open("wb") as out,
        gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=epoch) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for entry, content in files:
            entry.mtime = epoch
            tar.addfile(entry, io.BytesIO(content))
