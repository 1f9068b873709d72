"""A result is made once for equal inputs."""

from __future__ import annotations

import pytest

from outbox_operator.controller.reconcile.cache import LastResult


def test_made_once_per_object_and_input() -> None:
    cache: LastResult[int] = LastResult()
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    assert [cache.get("a", 1, make), cache.get("a", 1, make), cache.get("b", 1, make)] == [0, 0, 1]
    assert cache.get("a", 2, make) == 2
    cache.forget("a")
    assert cache.get("a", 2, make) == 3


def test_a_failure_is_not_remembered() -> None:
    cache: LastResult[int] = LastResult()

    def fail() -> int:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            cache.get("a", 1, fail)
    assert cache.get("a", 1, lambda: 7) == 7
