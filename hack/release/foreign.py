"""A base image for another architecture, of Debian's packages for it, without running any of them.

Packages finish their installation by scripts, which a machine of another architecture cannot run.
But what scripts leave (accounts, links, certificates, byte code) is the same on all of them: it is
taken from the base image of this machine, and all else from the packages, which are the same ones.
"""

from __future__ import annotations

import fnmatch
import io
import os
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from localkube import processes
from localkube.buildah import LEFT_OUT, SUITE
from localkube.errors import LocalkubeError

from release.layout import Layout, machine
from release.packages import DPKG_STATUS, debian_packages
from release.stamp import ReleaseError

TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
"""Architecture -> what folders of its libraries are called."""
Files = dict[str, tuple[tarfile.TarInfo, bytes]]
"""Path -> entry and content."""

_DOC = "usr/share/doc"
_INFO = "var/lib/dpkg/info/"
_MERGED = ("bin", "sbin", "lib")
# About the machine, or of a package's own database, which is written anew.
_NATIVE = ("etc/ld.so.cache", f"{DPKG_STATUS}*", f"{_INFO}*", "var/lib/apt/extended_states")
_SECONDS = 600


def merged(path: str) -> str:
    """A path where it really is: `/bin` and its like are links into `/usr`."""
    path = path.removeprefix(".").strip("/")
    first, _, _ = path.partition("/")
    return f"usr/{path}" if first in (*_MERGED, "lib64", "lib32", "libx32") else path


def left_out(path: str) -> bool:
    """Whether the base image of this machine is without it too: pages, but not licences."""
    # A package's folder may be a link to that of another, which has its licence.
    if fnmatch.fnmatch(path, "usr/share/doc/*/copyright") or os.path.dirname(path) == _DOC:
        return False
    return any(path.startswith(f"usr/share/{folder}/") for folder in LEFT_OUT)


def made_by_scripts(files: Files, triplet: str) -> Files:
    """What no package brings, of the base image of this machine.

    Args:
        files: all of that image.
        triplet: of this machine's architecture.

    Raises:
        ReleaseError: a program is among it, which no other architecture could run.
    """
    owned = {
        merged(line)
        for path, (_, content) in files.items()
        if path.startswith(_INFO) and path.endswith(".list")
        for line in content.decode().splitlines()
    }
    found = {
        path: file
        for path, file in files.items()
        # A link in the place of a package's folder, such as `/var/run`, is theirs too.
        if (merged(path) not in owned or (file[0].issym() and path.startswith("var/")))
        and triplet not in path
        and not any(fnmatch.fnmatch(path, one) for one in _NATIVE)
    }
    if programs := sorted(path for path, (_, content) in found.items() if machine(content)):
        raise ReleaseError(f"made by scripts of packages: wanted no program, found {programs}")
    return found


def installed(control: str) -> str:
    """What dpkg's database says of a package, whose own words are given."""
    name, _, rest = control.strip().partition("\n")
    return f"{name}\nStatus: install ok installed\n{rest}\n"


def write(native: Layout, architecture: str, target: Path, scratch: Path) -> None:
    """Write the root of the base image as a tar archive.

    Args:
        native: the same base image of this machine.
        architecture: of the other one.
        target: the archive.
        scratch: an empty folder.

    Raises:
        ReleaseError, LocalkubeError: it cannot be made.
    """
    files = {path.rstrip("/"): (entry, content) for path, entry, content in native.files()}
    known = list(debian_packages(files[DPKG_STATUS][1].decode()))
    [here] = {one.architecture for one in known} - {"all"}
    download([one.name for one in known], architecture, scratch)
    found = made_by_scripts(files, TRIPLETS[here])
    for path, text in (("var/lib/dpkg/arch", architecture), (f"{_INFO}format", "1")):
        found[path] = _file(path, f"{text}\n".encode())
    status = []
    for package in sorted(scratch.rglob("*.deb")):
        paths = ["/."]
        for entry, content in _members(package, "--fsys-tarfile"):
            path = merged(entry.name)
            paths.append(entry.name.removeprefix(".").rstrip("/"))
            if path and not left_out(path):
                if entry.islnk():
                    entry.linkname = merged(entry.linkname)
                found.setdefault(path, (entry, content))
        status.append(installed(_said("dpkg-deb", "--field", str(package)).decode()))
        found |= _database(package, [path for path in paths if path])
    found[DPKG_STATUS] = _file(DPKG_STATUS, "\n".join(status).encode())
    for name in _MERGED:
        link = tarfile.TarInfo(name)
        link.type, link.linkname, link.mode = tarfile.SYMTYPE, f"usr/{name}", 0o777
        found[name] = (link, b"")
    with tarfile.open(target, "w") as tar:
        # What a hard link leads to comes before it.
        for path in sorted(found, key=lambda path: (found[path][0].islnk(), path)):
            entry, content = found[path]
            entry.name, entry.pax_headers = path, {}
            tar.addfile(entry, io.BytesIO(content) if entry.isfile() else None)


def download(names: Iterable[str], architecture: str, target: Path) -> None:
    """Fetch exactly these packages for an architecture, by Debian's keys and of its suite.

    Raises:
        LocalkubeError: there are other ones for it, or none.
    """
    wanted = sorted(names)
    command = [
        "mmdebstrap", "--quiet", "--variant=extract", f"--architectures={architecture}",
        f"--include={','.join(wanted)}",
        f"--extract-hook=copy-out /var/cache/apt/archives {target}", SUITE, "/dev/null",
    ]  # fmt: skip
    log = target / "log"
    with log.open("wb") as output:
        code = processes.run_apart(command, output, timeout=_SECONDS)
    found = sorted(one.name.partition("_")[0] for one in target.rglob("*.deb"))
    if code or found != wanted:
        others = sorted({*found} ^ {*wanted})
        said = log.read_text(errors="replace")[-1000:]
        raise LocalkubeError(f"packages for {architecture} ({code}): {said}; others: {others}")


def _database(package: Path, paths: list[str]) -> Files:
    """What dpkg notes of an installed package beside its words: its files, sums and scripts."""
    asked = "${Package}\n${Multi-Arch}\n${Architecture}"
    name, multi, architecture = (
        _said("dpkg-deb", "--show", "--showformat", asked, str(package)).decode().split("\n")
    )
    start = f"{_INFO}{name}:{architecture}." if multi == "same" else f"{_INFO}{name}."
    found = {f"{start}list": _file(f"{start}list", "".join(f"{one}\n" for one in paths).encode())}
    for entry, content in _members(package, "--ctrl-tarfile"):
        part = entry.name.removeprefix("./")
        if entry.isfile() and part != "control":
            found[start + part] = (entry, content)
    return found


def _members(package: Path, part: str) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(_said("dpkg-deb", part, str(package)))) as tar:
        for entry in tar:
            read = tar.extractfile(entry) if entry.isfile() else None
            yield entry, read.read() if read else b""


def _file(path: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(path)
    entry.size = len(content)
    return entry, content


def _said(*command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS).stdout
