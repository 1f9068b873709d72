"""What a resource definition that is older than the operator does not declare of a status.

A server-side apply that names one such field is refused as a whole: nothing would be said any more
until somebody upgrades the definitions.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from outbox_operator.errors import OutboxError

_FIELD: Final = re.compile(r"\.(status(?:\.\w+|\[[^\]]*\])+): field not declared in schema")
_SELECTOR: Final = re.compile(r"\[[^\]]*\]")
REMEMBERED_SECONDS: Final = 300.0
"""Then it is tried again: the definitions may be those of this version by now."""

Path = tuple[str, ...]


class Undeclared:
    """Fields that were refused lately, by kind.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[str, tuple[float, frozenset[Path]]] = {}

    def learn(self, kind: str, refusal: OutboxError) -> bool:
        """Take note of a refusal; whether it says anything new of a kind."""
        paths = {
            tuple(_SELECTOR.sub("", path).split(".")) for path in _FIELD.findall(refusal.message)
        }
        known = self._of(kind)
        if not paths - known:
            return False
        self._refused[kind] = (self._clock(), known | paths)
        return True

    def left_out(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """A manifest without what is known to be refused."""
        found: dict[str, Any] = dict(manifest)
        for path in self._of(manifest["kind"]):
            found = _without(found, path)
        return found

    def _of(self, kind: str) -> frozenset[Path]:
        since, paths = self._refused.get(kind, (0.0, frozenset[Path]()))
        return paths if self._clock() - since < REMEMBERED_SECONDS else frozenset()


def _without(value: Any, path: Path) -> Any:
    """A copy without a field; of every item where a list is on the way."""
    if isinstance(value, list):
        return [_without(one, path) for one in value]
    if not isinstance(value, Mapping) or path[0] not in value:
        return value
    rest = {key: one for key, one in value.items() if key != path[0]}
    return rest if len(path) == 1 else {**rest, path[0]: _without(value[path[0]], path[1:])}
