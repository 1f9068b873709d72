"""Reads manifests from files: documents of YAML, in which nothing is lost without a word.

What may be named is what `kubectl apply -f` takes: a file, a folder, or `-` for standard input.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from outbox_operator.dev import manifest
from outbox_operator.dev.manifest import Resources
from outbox_operator.errors import SpecError

STANDARD_INPUT: Final = Path("-")
_ENDINGS: Final = frozenset((".json", ".yaml", ".yml"))
_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/|[\w.-]+@[\w.-]+:")
"""As a path has it, which keeps one slash of two; or as git does, with a user and a host."""


class _Loader(yaml.SafeLoader):
    """Refuses a name that stands twice in one mapping; an API server does, too."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.composer.ComposerError(
                    None, None, f"the name {key.value!r} stands twice in one mapping",
                    key.start_mark,
                )  # fmt: skip
            if name is not None:
                seen.add(name)
        return node


def resources(files: Sequence[Path]) -> Resources:
    """What the manifests in files and folders declare. Raises SpecError."""
    documents = [one for path in files for file in of_folder(path) for one in read(file)]
    return manifest.read(documents, ", ".join(map(str, files)))


def of_folder(path: Path) -> list[Path]:
    """The manifests that lie in a folder, not below it; of anything else, that itself.

    Raises:
        SpecError: None lies in it, or it cannot be looked into.
    """
    if not path.is_dir():
        return [path]
    try:
        found = sorted(one for one in path.iterdir() if one.suffix in _ENDINGS)
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from error
    if not found:
        raise SpecError(f"{path}: no file in it ends in {', '.join(sorted(_ENDINGS))}")
    return found


def read(path: Path) -> list[object]:
    """The documents of a file.

    Raises:
        SpecError: It cannot be read; names the file, and the place in it.
    """
    try:
        text = sys.stdin.read() if path == STANDARD_INPUT else path.read_text("utf-8")
        return list(yaml.load_all(text, Loader=_Loader))
    except OSError as error:
        raise SpecError(_elsewhere(path) or f"{path}: {error.strerror or error}") from error
    except RecursionError as error:
        raise SpecError(f"{path}: is nested too deep") from error
    except (ValueError, yaml.YAMLError) as error:  # of dates and numbers that are none, too
        raise SpecError(f"{path}: cannot be read as YAML: {error}") from error


def _elsewhere(path: Path) -> str | None:
    """How to fetch what is named by a URL; None: it is a path.

    Nothing of it but the scheme is repeated: the rest may hold a password.
    """
    found = _URL.match(str(path))
    if found is None:
        return None
    what = f"a URL ({found['scheme']}:)" if found["scheme"] else "a place of git"
    return (
        f"wanted a file, a folder, or - for standard input, found {what}, which is not fetched: "
        "`curl -fsSL URL | outbox dev -f -`, or `git clone URL` and then `outbox dev -f FOLDER`"
    )
