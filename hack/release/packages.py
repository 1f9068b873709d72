"""Debian and Python packages, by what their own databases say. Pure: text in, packages out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

DPKG_STATUS = "var/lib/dpkg/status"
METADATA = ".dist-info/METADATA"
_APPROVED = "License :: OSI Approved :: "
# What packages write that means one licence of SPDX's list. `Apache Software License` and `BSD
# License` are not here: each stands for several.
_WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2 License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "MIT License": "MIT",
}


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

    Its licence is an SPDX expression, as far as it says which, and otherwise its own words: the
    newest of the ways that there have been to say it counts. Several classifiers do not say whether
    one may choose among them.
    """
    fields = HeaderParser().parsestr(metadata)
    classified = [
        one.removeprefix(_APPROVED)
        for one in fields.get_all("Classifier", [])
        if one.startswith(_APPROVED)
    ]
    words = (fields.get("License") or "").strip().split("\n")[0][:100]
    said = [" OR ".join(classified)] if len(classified) > 1 else [words, *classified]
    licence = fields.get("License-Expression") or next(
        (expression for one in said if (expression := _expression(one))),
        next((one for one in reversed(said) if one), ""),
    )
    return Package("pypi", canonicalize_name(fields["Name"]), fields["Version"], licence)


def _expression(words: str) -> str:
    """The SPDX expression that words are or mean; empty: none."""
    try:
        return canonicalize_license_expression(_WORDS.get(words, words))
    except InvalidLicenseExpression:
        return ""
