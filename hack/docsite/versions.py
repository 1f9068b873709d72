"""Several versions of the site: each in a folder, with a list of them that its pages read.

The list is what the theme's selector of versions asks for, of the same server; no branch of a
repository is needed for it. Pure but for reading and writing files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from packaging.version import InvalidVersion, Version

LIST = "versions.json"
NEWEST = "newest"
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]*")
_START = """\
<!doctype html>
<meta charset="utf-8">
<title>outbox-operator</title>
<meta http-equiv="refresh" content="0; url={version}/index.html">
<a href="{version}/index.html">Documentation of outbox-operator {version}</a>
"""


def check(version: str) -> str:
    """Return the name of a version if it can be a folder, such as `0.2.0` or `main`.

    Raises:
        ValueError: it cannot.
    """
    if not _NAME.fullmatch(version):
        raise ValueError(f"VERSION: wanted such as 0.2.0 or main, found {version!r}")
    return version


def in_order(versions: Iterable[str]) -> list[str]:
    """What is not released first, then releases, the newest of them first."""
    return sorted(versions, key=_place, reverse=True)


def newest(versions: Iterable[str]) -> str:
    """The version that is shown to whoever asks for none: the last that is no candidate.

    Where nothing is released, it is the first of all.
    """
    ordered = in_order(versions)
    return next((one for one in ordered if _is_final(one)), ordered[0])


def write(site: Path) -> list[str]:
    """Write the list of the versions in a folder, and the page that leads to the newest.

    Returns:
        The versions, in the order of the list.
    """
    found = in_order(page.parent.name for page in site.glob("*/index.html"))
    first = newest(found)
    entries = [
        {"version": one, "title": one, "aliases": [NEWEST] if one == first else []} for one in found
    ]
    (site / LIST).write_text(json.dumps(entries, indent=1) + "\n")
    (site / "index.html").write_text(_START.format(version=first))
    return found


def _version(name: str) -> Version | None:
    try:
        return Version(name)
    except InvalidVersion:
        return None


def _is_final(name: str) -> bool:
    found = _version(name)
    return found is not None and not found.is_prerelease


def _place(name: str) -> tuple[bool, Version, str]:
    found = _version(name)
    return (found is None, found or Version("0"), name)
