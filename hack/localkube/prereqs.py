"""What the machine must have, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from localkube import network, ui
from localkube.cgroups import hierarchies
from localkube.errors import LocalkubeError
from localkube.node_config import CNI_PLUGINS

CONTROL_PLANE = "control-plane"
NODE = "node"
IMAGES = "images"
TESTS = "tests"
PUBLISHING = "publishing"
PURPOSES = (CONTROL_PLANE, NODE, IMAGES, TESTS, PUBLISHING)

ROOT = (
    "root (sudo make …), or a Docker engine; `outbox dev` and all tests but tests/e2e need neither"
)
_POSTGRES = Path("/usr/lib/postgresql/15/bin/postgres")
_BUSYBOX = Path("/bin/busybox")


@dataclass(frozen=True)
class Requirement:
    """Something that must be there.

    Attributes:
        what: how to call it when it is missing.
        met: whether it is there.
        package: Debian package that brings it; empty when no package can.
    """

    what: str
    met: Callable[[], bool]
    package: str = ""


def search_path() -> str:
    """Where programs are looked for: system programs too, which a user's PATH may lack."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def has_program(name: str) -> bool:
    """Whether a program can be started by its name."""
    return shutil.which(name, path=search_path()) is not None


def _program(name: str, package: str) -> Requirement:
    return Requirement(name, lambda: has_program(name), package)


def _file(path: Path, package: str) -> Requirement:
    return Requirement(str(path), path.exists, package)


def is_static(program: bytes) -> bool:
    """Whether an ELF program needs no dynamic loader, so that it runs in an empty image."""
    return program.startswith(b"\x7fELF") and b"/ld-linux" not in program[:8192]


def _has_static_busybox() -> bool:
    return _BUSYBOX.exists() and is_static(_BUSYBOX.read_bytes())


def _cgroups_mounted() -> bool:
    return bool(hierarchies(Path("/proc/self/mounts").read_text()))


def _can_filter_bridges() -> bool:
    return network.BRIDGE_FILTERING.exists() or has_program("modprobe")


REQUIREMENTS: dict[str, tuple[Requirement, ...]] = {
    CONTROL_PLANE: (
        Requirement("Linux", lambda: platform.system() == "Linux"),
        _program("openssl", "openssl"),
    ),
    NODE: (
        Requirement(ROOT, lambda: os.geteuid() == 0),
        Requirement("mounted cgroups", _cgroups_mounted),
        _program("ip", "iproute2"),
        _program("nsenter", "util-linux"),
        Requirement("modprobe", _can_filter_bridges, "kmod"),
        _program("iptables", "iptables"),
        _program("conntrack", "conntrack"),
        _program("containerd", "containerd"),
        _program("runc", "runc"),
        _file(CNI_PLUGINS / "bridge", "containernetworking-plugins"),
        Requirement("busybox (static)", _has_static_busybox, "busybox-static"),
    ),
    IMAGES: (_program("buildah", "buildah"), _program("mmdebstrap", "mmdebstrap")),
    # What starts programs of an image for another architecture.
    PUBLISHING: (_program("skopeo", "skopeo"), _program("qemu-aarch64-static", "qemu-user-static")),
    TESTS: (
        _file(_POSTGRES, "postgresql-15"),
        _program("pgbouncer", "pgbouncer"),
        _program("prometheus", "prometheus"),
        _program("prometheus-alertmanager", "prometheus-alertmanager"),
        # What pages show in Java is run, too.
        _program("javac", "default-jdk-headless"),
        _file(Path("/usr/share/java/postgresql.jar"), "libpostgresql-jdbc-java"),
        _program("zsh", "zsh"),
        _program("fish", "fish"),
        _program("chromium-headless-shell", "chromium-headless-shell"),
    ),
}


def missing(purposes: Iterable[str]) -> list[Requirement]:
    """The requirements of these purposes that are not met."""
    return [one for purpose in purposes for one in REQUIREMENTS[purpose] if not one.met()]


def describe(lacking: Sequence[Requirement]) -> str:
    """What is missing and what to do about it, for people."""
    names = ", ".join(one.what for one in lacking)
    packages = [one.package for one in lacking if one.package]
    advice = f"; on Debian: apt-get install {' '.join(packages)}" if packages else ""
    return f"missing: {names}{advice}"


def require(purposes: Iterable[str]) -> None:
    """Raise LocalkubeError when something is missing, naming all of it."""
    if lacking := missing(purposes):
        raise LocalkubeError(f"{describe(lacking)} (`localkube prereqs` installs packages)")


def install(purposes: Sequence[str]) -> None:
    """Install what Debian packages can bring.

    Raises:
        LocalkubeError: something is missing that cannot be installed here.
    """
    lacking = missing(purposes)
    packages = list(dict.fromkeys(one.package for one in lacking if one.package))
    can_install = os.geteuid() == 0 and has_program("apt-get")
    if any(not one.package for one in lacking) or (packages and not can_install):
        raise LocalkubeError(describe(lacking))
    if not packages:
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["--yes", "--quiet", "--no-install-recommends"]
    for what, command in (
        ("read package lists", ["apt-get", "update", "--quiet"]),
        (f"install {' '.join(packages)}", ["apt-get", "install", *options, *packages]),
    ):
        with ui.step(what):
            done = subprocess.run(
                command, capture_output=True, text=True, env=quiet, check=False, timeout=1800
            )
            if done.returncode != 0:
                raise LocalkubeError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    require(purposes)
