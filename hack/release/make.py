"""The steps of a release, one after the other; each leaves files in the output folder."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from localkube import binaries, state, ui
from localkube.buildah import Store
from localkube.layout import current_roots

from release import chart, image, provenance, sbom, stamp
from release.layout import Layout, join
from release.notes import notes
from release.packages import METADATA, python_package
from release.programs import run
from release.signing import STATEMENT, SUMS, Signer
from release.stamp import ROOT, Release

_SECONDS = 1800


def everything(
    release: Release,
    output: Path,
    scratch: Path,
    signer: Signer | None,
    platforms: Sequence[str],
    machines: Sequence[str] = image.ARCHITECTURES,
) -> None:
    """Make all files of a release.

    Args:
        release: what is released.
        output: an empty folder for what is made.
        scratch: another for what is needed on the way.
        signer: who signs; none: nothing is signed.
        platforms: of the plugin; none: all.
        machines: architectures of the image.

    Raises:
        ReleaseError, LocalkubeError, subprocess.CalledProcessError: a step failed.
    """
    sources = scratch / "sources"
    stamp.export(release, sources)
    with ui.step("wheel and sdist"):
        wheel = packages(release, sources, output)
    found = {}
    for machine in machines:
        with ui.step(f"image for {machine}"):
            found[machine] = image_of(release, sources, scratch / f"layout-{machine}", machine)
    digest = image_archive(release, found, output, scratch / "layout")
    with ui.step("chart"):
        chart.package(release, sources, digest, output)
    with ui.step("kubectl plugin"):
        plugin(release, wheel, output, platforms)
    with ui.step("bills of materials, notes, provenance, checksums"):
        for machine, layout in found.items():
            name = f"outbox-operator-{release.version}-image-{machine}.cdx.json"
            brought = sbom.packages(layout)
            text = sbom.document(release, release.repository, layout.digest, brought)
            (output / name).write_text(text)
        (output / f"outbox-operator-{release.version}-wheel.cdx.json").write_text(
            wheel_sbom(release, sources, wheel)
        )
        for name in ("README.md", stamp.SMALLEST):
            shutil.copy(sources / name, output)
        text = notes((sources / "CHANGELOG.md").read_text(), release.version)
        (output / "release-notes.md").write_text(stamp.links(text, release))
        (output / "image-digest.txt").write_text(f"{release.repository}@{digest}\n")
        seal(release, digest, output)
    if signer:
        with ui.step("signatures"):
            signer.sign_files(output)
    else:
        ui.say("  not signed: no KEY was given")


def packages(release: Release, sources: Path, output: Path) -> Path:
    """Wheel and source archive, looked through by what an index and its users look with."""
    uv = str(ROOT / "hack/uv")
    run(
        release, uv, "build", "--quiet", "--out-dir", str(output),
        "--build-constraints", str(sources / "hack/build.txt"), "--require-hashes", str(sources),
    )  # fmt: skip
    (output / ".gitignore").unlink(missing_ok=True)
    files = sorted(str(file) for file in output.iterdir())
    run(release, sys.executable, "-m", "twine", "check", "--strict", *files)
    [wheel] = output.glob("*.whl")
    run(release, sys.executable, "-m", "check_wheel_contents", str(wheel))
    return wheel


def image_of(release: Release, sources: Path, folder: Path, machine: str) -> Layout:
    """The image for an architecture, as a layout in a folder."""
    cache = current_roots().cache
    with state.locked(cache / "release.lock"):
        store = store_of(cache / "release", release.epoch)
        store.forget_unfinished()
        return image.build(release, sources, folder, store, machine)


def image_archive(release: Release, found: Mapping[str, Layout], output: Path, folder: Path) -> str:
    """The images of all architectures as one archive of an OCI layout; returns its digest."""
    digest = join(found, folder)
    name = f"outbox-operator-{release.version}-image.tar"
    with tarfile.open(output / name, "w") as tar:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            add(tar, file, str(file.relative_to(folder)), release.epoch)
    return digest


def store_of(folder: Path, epoch: int) -> Store:
    """The image store of commits of that time, alone: layers of another one carry that one's."""
    for other in folder.iterdir() if folder.exists() else []:
        if other.name != str(epoch):
            Store(other).clear()
            shutil.rmtree(other)
    return Store(folder / str(epoch))


def plugin(release: Release, wheel: Path, output: Path, platforms: Sequence[str]) -> None:
    """An archive for each platform, and krew's manifest of them."""
    where = f"{release.source}/releases/download/v{release.version}" if release.source else ""
    run(
        release, sys.executable, str(ROOT / "hack/plugin"), "--wheel", str(wheel),
        "--output", str(output), *(["--url", where] if where else []),
        *(f"--platform={one}" for one in platforms),
    )  # fmt: skip


def wheel_sbom(release: Release, sources: Path, wheel: Path) -> str:
    """What the wheel brings along with all its extras, at the versions that were tested.

    Licences are what the packages say of themselves where they are installed: beside this program.
    """
    uv = str(ROOT / "hack/uv")
    exported = run(
        release, uv, "export", "--quiet", "--frozen", "--all-extras", "--no-default-groups",
        "--format", "cyclonedx1.5", "--project", str(sources),
    )  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        [name] = [one for one in archive.namelist() if one.endswith(METADATA)]
        own = python_package(archive.read(name).decode())
    installed = [one.read_text("METADATA") for one in importlib.metadata.distributions()]
    known = [python_package(text) for text in installed if text]
    return sbom.of_wheel(release, exported, own, known)


def seal(release: Release, digest: str, output: Path) -> None:
    """Checksums of all files, and the statement of what they were made from."""
    names = sorted(file.name for file in output.iterdir())
    found = provenance.checksums(output, names)
    go = run(release, str(binaries.find_go(current_roots().cache)), "version").split()[2]
    tools = {
        "uv": run(release, str(ROOT / "hack/uv"), "--version").split()[1],
        "buildah": run(release, "buildah", "--version").split()[2],
        "mmdebstrap": run(release, "mmdebstrap", "--version").split()[1],
        "go": go,
    }
    (output / STATEMENT).write_text(provenance.statement(release, found, digest, tools))
    (output / SUMS).write_text(provenance.sums(provenance.checksums(output, [*names, STATEMENT])))


def add(tar: tarfile.TarFile, file: Path, name: str, epoch: int) -> None:
    """A file in an archive that is the same whoever makes it."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = file.stat().st_size, epoch
    entry.mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
    with file.open("rb") as content:
        tar.addfile(entry, content)
