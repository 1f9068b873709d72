"""Remembers the last result per object: a quiet pipeline need not be parsed and rendered again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class LastResult(Generic[T]):
    """One result per object, made anew when what it was made from changes."""

    def __init__(self) -> None:
        self._results: dict[str, tuple[Hashable, T]] = {}

    def get(self, uid: str, made_from: Hashable, make: Callable[[], T]) -> T:
        """The result of `make`, or the one remembered if `made_from` is still the same.

        Args:
            uid: The object.
            made_from: All that the result depends on.
            make: Pure; may raise, and then nothing is remembered.
        """
        known = self._results.get(uid)
        if known is not None and known[0] == made_from:
            return known[1]
        result = make()
        self._results[uid] = (made_from, result)
        return result

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._results.pop(uid, None)
