"""A base image for another architecture: what comes from this machine's, and what may not."""

from __future__ import annotations

import tarfile

import pytest
from release.foreign import Files, installed, left_out, made_by_scripts, merged
from release.packages import Package, debian_packages
from release.stamp import ReleaseError


def files(**others: bytes) -> Files:
    """A root with one package, and other files by their paths with `__` for a slash."""
    found = {
        "var/lib/dpkg/info/one.list": b"/.\n/bin/one\n/usr/lib/x86_64-linux-gnu/one.so\n/var/run\n",
        "var/lib/dpkg/status": b"Package: one\n",
        "usr/bin/one": b"\x7fELF",
        "usr/lib/x86_64-linux-gnu/one.so": b"\x7fELF",
        "usr/lib/__pycache__/x86_64-linux-gnu.pyc": b"",
        "etc/ld.so.cache": b"",
        "etc/passwd": b"root",
        **{path.replace("__", "/"): content for path, content in others.items()},
    }
    entries: Files = {path: (tarfile.TarInfo(path), content) for path, content in found.items()}
    link = tarfile.TarInfo("var/run")
    link.type = tarfile.SYMTYPE
    return {**entries, "var/run": (link, b"")}


def test_what_no_package_brings_comes_from_this_machine() -> None:
    assert {*made_by_scripts(files(), "x86_64-linux-gnu")} == {"etc/passwd", "var/run"}


def test_a_program_that_a_script_made_is_refused() -> None:
    with pytest.raises(ReleaseError, match=r"wanted no program, found \['opt/made'\]"):
        made_by_scripts(files(opt__made=b"\x7fELF" + bytes(20)), "x86_64-linux-gnu")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("./bin/sh", "usr/bin/sh"),
        ("/lib/ld.so", "usr/lib/ld.so"),
        ("usr/bin/env", "usr/bin/env"),
        ("./etc/", "etc"),
        ("./", ""),
        ("./binary", "binary"),
    ],
)
def test_paths_are_where_the_links_lead(path: str, expected: str) -> None:
    assert merged(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("usr/share/doc/one/copyright", False),
        ("usr/share/doc/one", False),
        ("usr/share/doc/one/changelog.gz", True),
        ("usr/share/man/man1/one.1.gz", True),
        ("usr/share/zoneinfo/UTC", False),
    ],
)
def test_pages_are_left_out_and_licences_are_not(path: str, expected: bool) -> None:
    assert left_out(path) is expected


def test_the_database_says_that_packages_are_installed() -> None:
    status = "\n".join(
        installed(f"Package: {name}\nVersion: 1\nArchitecture: arm64\nDescription: x\n y\n")
        for name in ("one", "two")
    )
    assert list(debian_packages(status)) == [
        Package("deb", name, "1", "", "arm64") for name in ("one", "two")
    ]
