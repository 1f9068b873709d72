"""What `up` recorded about one cluster: the only thing `down` and `status` go by.

Written after every change by replacing the file, so a killed `up` never leaves half a record.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from localkube.errors import LocalkubeError
from localkube.layout import DEFAULT_NETWORK, Endpoints, Layout, command
from localkube.processes import ProcessRecord

NODE = "node"
CONTROL_PLANE = "control-plane"


class UnreadableStateError(LocalkubeError):
    """The record of a cluster cannot be read; the text says what to do."""


@dataclass
class State:
    """One cluster: its kind, where it listens, what runs, and what to put back on `down`."""

    mode: str
    boot_id: str
    binaries: str
    endpoints: Endpoints
    slot: int | None = None
    network: str = DEFAULT_NETWORK
    processes: dict[str, ProcessRecord] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    created_folders: list[str] = field(default_factory=list)


def to_json(state: State) -> str:
    """Text of the state file."""
    return json.dumps(asdict(state), indent=1, sort_keys=True)


def from_json(text: str) -> State:
    """The state written by `to_json`.

    Raises:
        ValueError: it is none: cut, or written by another version.
    """
    try:
        raw = json.loads(text)
        raw["endpoints"] = Endpoints(**raw["endpoints"])
        raw["processes"] = {name: ProcessRecord(**one) for name, one in raw["processes"].items()}
        return State(**raw)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(str(error)) from error


def load(layout: Layout) -> State | None:
    """The recorded state, or None when there is no cluster of that name.

    Raises:
        UnreadableStateError: the record is damaged, or of another version.
    """
    try:
        return from_json(layout.state_file.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UnreadableStateError(
            f"{layout.state_file} is damaged or of another version of localkube ({error}): "
            f"`{command('down', layout.name)}` removes the cluster by what runs of it"
        ) from error


def load_all(clusters: Path) -> Iterator[tuple[Layout, State | None]]:
    """Every cluster of a folder, by name; None: its record cannot be read."""
    for folder in sorted(clusters.iterdir()) if clusters.exists() else []:
        layout = Layout(name=folder.name, root=folder)
        try:
            current = load(layout)
        except UnreadableStateError:
            yield layout, None
            continue
        if current is not None:
            yield layout, current


def save(layout: Layout, state: State) -> None:
    """Record the state."""
    write_atomically(layout.state_file, to_json(state))


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file in one step; readers see the old or the new text, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.replace(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; released when the block or the command ends.

    Waits as long as the holder takes, who waits for nothing without an end.
    The holder may remove the file: whoever waited for the removed one starts over with a new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not path.exists() or not os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                continue
            yield
            return
