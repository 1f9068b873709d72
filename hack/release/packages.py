"""Debian and Python packages, by what their own databases say. Pure: text in, packages out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser

DPKG_STATUS = "var/lib/dpkg/status"
METADATA = ".dist-info/METADATA"
_APPROVED = "License :: OSI Approved :: "


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One package.

    Attributes:
        kind: `deb` or `pypi`.
        name: as its index has it.
        version: as its index has it.
        licence: an SPDX expression or words; empty: it says none.
        architecture: of a Debian package.
    """

    kind: str
    name: str
    version: str
    licence: str = ""
    architecture: str = ""


def debian_packages(status: str) -> Iterator[Package]:
    """The installed packages of dpkg's database."""
    for block in status.split("\n\n"):
        fields = HeaderParser().parsestr(block.strip())
        if fields.get("Status", "").endswith(" installed"):
            yield Package(
                "deb", fields["Package"], fields["Version"], architecture=fields["Architecture"]
            )


def python_package(metadata: str) -> Package:
    """The package of which that is the metadata.

    Its licence is what it says in the newest of the ways that there have been to say it.
    """
    fields = HeaderParser().parsestr(metadata)
    classified = [
        one.removeprefix(_APPROVED)
        for one in fields.get_all("Classifier", [])
        if one.startswith(_APPROVED)
    ]
    words = (fields.get("License") or "").strip().split("\n")[0][:100]
    licence = fields.get("License-Expression") or " OR ".join(classified) or words
    name = fields["Name"].lower().replace("_", "-")
    return Package("pypi", name, fields["Version"], licence)
