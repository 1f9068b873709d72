"""Compares rendered manifests and printed text with files that people can read.

Set UPDATE_GOLDEN=1 to write the files anew, then read the difference before committing it.
"""

from __future__ import annotations

import os
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
    """Fail unless the text is what the file holds."""
    _update(path, text)
    assert text == path.read_text(), f"{path.name} differs; UPDATE_GOLDEN=1 writes it anew"


def _update(path: Path, text: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
