"""A result is made once for equal inputs."""

from __future__ import annotations

import pytest

from outbox_operator.controller.reconcile.cache import Memo


def test_made_once_per_object_and_input() -> None:
    memo: Memo[int] = Memo()
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    assert [memo.get("a", 1, make), memo.get("a", 1, make), memo.get("b", 1, make)] == [0, 0, 1]
    assert memo.get("a", 2, make) == 2
    memo.forget("a")
    assert memo.get("a", 2, make) == 3


def test_a_failure_is_not_remembered() -> None:
    memo: Memo[int] = Memo()

    def fail() -> int:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            memo.get("a", 1, fail)
    assert memo.get("a", 1, lambda: 7) == 7
