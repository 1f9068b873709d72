"""The catalogue as files: a schema for each event and an AsyncAPI document, in a folder or a
commit."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from outbox_operator.catalog.entries import MARK, Entry
from outbox_operator.errors import SpecError

ASYNCAPI: Final = "asyncapi.json"
SCHEMAS: Final = "schemas"
_GIT_SECONDS: Final = 60
_LONGEST_ERROR: Final = 500
_MOST_BYTES: Final = 8 * 1024 * 1024


def texts(entries: Sequence[Entry], asyncapi: Mapping[str, Any]) -> dict[str, str]:
    """Return what belongs into the folder, by path in it."""
    found = {f"{SCHEMAS}/{quote(one.type, safe='')}.json": one.document() for one in entries}
    return {name: _text(value) for name, value in {**found, ASYNCAPI: dict(asyncapi)}.items()}


def stale(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """Return paths in the folder that are missing, different, or of an event that is gone."""
    different = [name for name, text in wanted.items() if _read(folder / name) != text]
    return sorted(different + [name for name in _ours(folder) if name not in wanted])


def write(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """Make the folder as it should be; returns paths of what changed.

    Files that are not ours stay.

    Raises:
        SpecError: It cannot be written.
    """
    changed = stale(folder, wanted)
    try:
        for name in changed:
            path = folder / name
            if name not in wanted:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[name], encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{error.filename}: {error.strerror}") from error
    return changed


def of_folder(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return the schemas in a folder by type.

    Raises:
        SpecError: There are none, or one cannot be read.
    """
    found = dict(
        _schema(str(path), path.read_bytes()) for path in sorted((folder / SCHEMAS).glob("*.json"))
    )
    if not found:
        raise SpecError(f"no schemas in {folder / SCHEMAS}; `outbox catalog export` writes them")
    return found


def of_commit(ref: str, folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return the schemas that a folder had in a commit, by type; none: it had no such folder.

    Args:
        ref: Branch, tag or commit of the git repository that the folder is in.
        folder: Its path, as it is now.

    Raises:
        SpecError: There is no such commit, the folder is in no repository, or one of the files
            cannot be read.
    """
    none = (
        f"{ref!r} is neither a folder nor a commit of the repository here (in CI, fetch the "
        "branch first)"
    )
    try:
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except SpecError as error:
        raise SpecError(f"{none}: {error.message}") from error
    if commit is None:
        raise SpecError(none)
    where = commit.decode().strip()
    # Where it really is: git follows no links.
    real = (folder / SCHEMAS).resolve().as_posix()
    listed = _git("ls-tree", "-z", "--name-only", where, f"{real}/")
    names = [name for name in (listed or b"").decode().split("\0") if name.endswith(".json")]
    return dict(_schema(f"{ref}:{name}", _shown(where, name)) for name in names)


def _shown(commit: str, name: str) -> bytes:
    text = _git("show", f"{commit}:./{PurePosixPath(name)}")
    if text is None:
        raise SpecError(f"{commit}:{name} cannot be read")
    return text


def _git(*arguments: str) -> bytes | None:
    """What git says; None: it refuses, and says nothing.

    Raises:
        SpecError: It says why: there is no repository, or it is somebody else's.
    """
    try:
        done = subprocess.run(  # noqa: S603 - and a ref that stands behind the options
            ["git", *arguments],  # noqa: S607 - the one that the user's shell would run
            capture_output=True,
            check=False,
            timeout=_GIT_SECONDS,
        )
    except FileNotFoundError as error:
        raise SpecError("git is not installed; compare with a folder instead") from error
    except subprocess.TimeoutExpired as error:
        raise SpecError(f"git gave no answer within {_GIT_SECONDS} s") from error
    if done.returncode == 0:
        return done.stdout
    if why := done.stderr.decode(errors="replace").strip():
        raise SpecError(f"git {arguments[0]}: {why[:_LONGEST_ERROR]}")
    return None


def _schema(where: str, text: bytes) -> tuple[str, Mapping[str, Any]]:
    if len(text) > _MOST_BYTES:
        raise SpecError(f"{where}: wanted a schema of at most {_MOST_BYTES} bytes")
    try:
        found = json.loads(text)
        return str(found[MARK]["type"]), found
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SpecError(
            f"{where}: is no schema of `outbox catalog export`: it has no {MARK}.type"
        ) from error


def _ours(folder: Path) -> Iterator[str]:
    for path in (folder / SCHEMAS).glob("*.json"):
        if MARK in (_read(path) or ""):
            yield f"{SCHEMAS}/{path.name}"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _text(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
