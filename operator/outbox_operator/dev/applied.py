"""What was made last with a folder: the documents, as JSON, for the next start and for verbs.

Kept by `dev.running` once all of it is there. What an API server would hold of it counts when a
manifest changes, while it runs or between two runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from outbox_operator.dev import manifest
from outbox_operator.dev.manifest import Resources
from outbox_operator.errors import SpecError

RESOURCES_FILE: Final = "resources.json"


def keep(folder: Path, resources: Resources) -> None:
    """Write what has been made."""
    documents = json.dumps(resources.documents, default=str)
    (folder / RESOURCES_FILE).write_text(documents)


def documents(folder: Path) -> list[Any]:
    """What was made last.

    Raises:
        OSError: Nothing was, or the file cannot be read.
        ValueError: It is not JSON.
    """
    found: list[Any] = json.loads((folder / RESOURCES_FILE).read_text("utf-8"))
    return found


def check_change(folder: Path, resources: Resources) -> None:
    """Refuse what a cluster would refuse of what is there, and say what to do.

    Raises:
        SpecError: Names object and field.
    """
    try:
        before = documents(folder)
    except (OSError, ValueError):
        return  # the first start, or that of a folder that somebody has been in
    try:
        manifest.check_change(resources, before)
    except SpecError as error:
        raise SpecError(
            f"{error.message}; a cluster refuses this, too. Write it as it was, or give what is to "
            f"be another one a name of its own; or begin with nothing: end outbox dev, remove "
            f"{folder}, start again"
        ) from error
