"""What we wrote to our own objects and the watch has not brought back yet.

A pass may start before the watch has told us of the writes of the pass before it. Without this
record it would count drift from an old status, or act twice on a one-shot annotation. As soon as
the watch has caught up it decides again, so that what others do to a status is seen.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from outbox_operator.controller.runtime.objects import version_of


class Said(enum.Enum):
    """What the status of an object says after a pass."""

    SAME = enum.auto()
    """What it said before, whether its numbers were confirmed or not."""
    WRITTEN = enum.auto()
    LATER = enum.auto()
    """What it said before, although there are new numbers."""


@dataclass(slots=True)
class _Written:
    metadata: int = 0
    status: int = 0
    body: Mapping[str, Any] | None = None


class OwnWrites:
    """Our last writes, by UID of the object."""

    def __init__(self) -> None:
        self._written: dict[str, _Written] = {}

    def wrote_metadata(self, written: Mapping[str, Any]) -> None:
        """Finalizers or annotations were written; the object as the API server answered."""
        self._of(written).metadata = version_of(written)

    def wrote_status(self, written: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """A status was written.

        Args:
            written: The object as the API server answered.
            status: What we wrote.
        """
        last = self._of(written)
        last.status, last.body = version_of(written), status

    def is_stale(self, body: Mapping[str, Any]) -> bool:
        """Whether the metadata of `body` is older than our last write to it."""
        last = self._written.get(body["metadata"]["uid"])
        return last is not None and version_of(body) < last.metadata

    def status(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The latest status: in `body`, unless we have written a newer one."""
        last = self._written.get(body["metadata"]["uid"])
        if last is not None and last.body is not None and version_of(body) < last.status:
            return dict(last.body)
        return dict(body.get("status") or {})

    def newest(self, body: Mapping[str, Any]) -> int:
        """The newest version of an object that we know: of `body`, or of our last write."""
        last = self._written.get(body["metadata"]["uid"], _Written())
        return max(version_of(body), last.metadata, last.status)

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._written.pop(uid, None)

    def _of(self, body: Mapping[str, Any]) -> _Written:
        return self._written.setdefault(body["metadata"]["uid"], _Written())
