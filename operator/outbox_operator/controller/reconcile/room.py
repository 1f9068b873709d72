"""Places for work that takes much memory: a few of all objects at once, by turns of namespaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from outbox_operator.controller.runtime.reconciler import ObjectKey

PLACES: Final = 4


class Room:
    """Who is at work, and who waits.

    The next one is of the namespace that has the fewest places, then of the one that got a place
    longest ago: a crowd of one tenant keeps nobody else waiting.

    Args:
        wake: Asks for a pass over an object that has got a place.
        places: So many may be at work.
    """

    def __init__(self, wake: Callable[[ObjectKey, str], None], places: int = PLACES) -> None:
        self._wake = wake
        self.places: Final = places
        self._inside: dict[str, ObjectKey] = {}
        """By UID."""
        self._waiting: dict[str, ObjectKey] = {}
        """The same, in the order in which they came."""
        self._grants = 0
        self._served: dict[str, int] = {}
        """When each namespace got its last place, since somebody waits."""

    def enter(self, key: ObjectKey, uid: str) -> int | None:
        """Ask for a place, once or again.

        Args:
            key: The object, which is woken when it gets one.
            uid: Its UID.

        Returns:
            None: it has one, until it leaves. Else how many wait, with this one.
        """
        if uid not in self._inside:
            self._waiting.setdefault(uid, key)
            self._admit(asking=uid)
        return None if uid in self._inside else len(self._waiting)

    def leave(self, uid: str) -> None:
        """An object needs no place now."""
        self._inside.pop(uid, None)
        self._waiting.pop(uid, None)
        self._admit()

    def _admit(self, asking: str = "") -> None:
        while self._waiting and len(self._inside) < self.places:
            uid = min(self._waiting, key=self._precedence)
            key = self._inside[uid] = self._waiting.pop(uid)
            self._grants += 1
            self._served[key.namespace] = self._grants
            if uid != asking:
                self._wake(key, "place")
        if not self._waiting:
            self._served.clear()

    def _precedence(self, uid: str) -> tuple[int, int]:
        namespace = self._waiting[uid].namespace
        held = sum(key.namespace == namespace for key in self._inside.values())
        return held, self._served.get(namespace, 0)
