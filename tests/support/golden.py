"""Compares rendered manifests and printed text with files that people can read.

Set UPDATE_GOLDEN=1 to write the files anew, then read the difference before committing it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, so that a difference can be read."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def assert_golden(path: Path, manifests: Sequence[dict[str, Any]]) -> None:
    """Fail unless the manifests are what the file holds."""
    text = yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=100)
    _update(path, text)
    wanted = list(yaml.safe_load_all(path.read_text()))
    assert list(manifests) == wanted, f"{path.name} differs; UPDATE_GOLDEN=1 writes it anew"


def assert_golden_text(path: Path, text: str) -> None:
    """Fail unless the text is what the file holds, however this Python lays help out."""
    _update(path, text)
    found, wanted = without_layout(text), without_layout(path.read_text())
    assert found == wanted, f"{path.name} differs; UPDATE_GOLDEN=1 writes it anew"


def without_layout(text: str) -> str:
    """Printed text without what argparse decides, which differs between versions of Python.

    That is where lines end within a paragraph, how far they are indented, and whether an option
    with two names shows its value behind both or, since 3.13, behind the second.
    """
    whole = re.sub(r"(?<=\w-)\n[ \t]+", "", text)  # broken at a hyphen
    joined = re.sub(r"\s*\n[ \t]+", " ", whole)
    even = re.sub(r"[ \t]+", " ", joined)
    return re.sub(r"(-\w) (\S+), (--[\w-]+) \2(?=\s)", r"\1, \3 \2", even)


def _update(path: Path, text: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
