"""A resource that somebody changes again and again is put back at a pace that people can follow."""

from __future__ import annotations

import pytest

from outbox_operator.plan.kubernetes.contest import (
    MANY,
    REST_SECONDS,
    WITHIN_SECONDS,
    is_contested,
    managers,
    recent,
    rests,
)

NOW = 10_000.0
FAST = [NOW - MANY + number for number in range(MANY)]
SLOW = [NOW - WITHIN_SECONDS / MANY * number * 1.3 for number in range(MANY, 0, -1)]
PUT_BACK_NOW_AND_THEN = [NOW - 90.0 * number for number in range(MANY, 0, -1)]


@pytest.mark.parametrize(
    ("repairs", "contested", "rest"),
    [
        ([], False, False),
        ([NOW - 1], False, False),
        (FAST[2:], False, False),
        (FAST[1:], True, False),  # the next one says so
        (FAST, True, True),
        ([at - REST_SECONDS for at in FAST], True, False),
        (SLOW, False, False),
        (PUT_BACK_NOW_AND_THEN, True, False),  # it goes on
        ([at - WITHIN_SECONDS for at in FAST], False, False),  # it is over
    ],
)
def test_when(repairs: list[float], contested: bool, rest: bool) -> None:
    assert (is_contested(repairs, NOW), rests(repairs, NOW)) == (contested, rest)


def test_what_is_remembered_is_bounded() -> None:
    repairs: list[float] = []
    for number in range(100):
        repairs = recent([*repairs, NOW + number], NOW + number)
    assert len(repairs) == MANY
    assert recent(repairs, NOW + 100 + WITHIN_SECONDS) == []


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "somebody"),
        ([{"manager": "keda"}], "keda"),
        ([{"manager": "a"}, {"manager": "b"}, {"manager": "a"}], "a, b"),
        ([{"manager": str(number)} for number in range(9)], "0, 1, 2"),
        ([{"manager": "m" * 1000}], "m" * 60),
        ([{}], "None"),
    ],
)
def test_who(entries: list[dict[str, str]], said: str) -> None:
    assert managers(entries) == said
