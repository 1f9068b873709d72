"""How a window is read on: walked where most rows are the shard's, else at listed positions."""

from __future__ import annotations

from array import array

import pytest

from outbox_operator.adapters.postgres.rows import Part, Span
from outbox_operator.relay.stretches import Stretch, next_stretch


def part(number: int, first: int, last: int, rows: int) -> Part:
    return Part(str(100 * number), str(100 * number + 100), first, last, rows)


def window(*parts: Part, behind: Part | None = None, positions: bool = False) -> Span:
    first, last = min(p.first for p in parts), max(p.last for p in parts)
    rows = sum(p.rows for p in parts)
    listed = array("q", range(first, last + 1, (last - first) // rows or 1)) if positions else None
    return Span(first, last, rows, behind=behind, parts=parts, positions=listed)


DENSE = window(part(1, 1, 25_000, 25_000), part(2, 25_001, 50_000, 25_000))
OF_FOUR = window(part(1, 1, 100_000, 25_000), part(2, 100_001, 200_000, 25_000))
OF_MANY = window(
    part(1, 1, 1_600_000, 25_000),
    part(2, 1_599_000, 3_200_000, 25_000),
    part(3, 3_200_010, 4_800_000, 25_000),
)
LATE = Part("100", "100", 1, 1_200_000, 1_000)
HUGE = window(part(1, 1, 16 * 1_000_000, 1_000_000))
GAP = window(part(1, 1, 10**12, 25_000))
HUGE_GAP = window(part(1, 1, 2**62, 1_000_001))


@pytest.mark.parametrize(
    ("span", "after", "stretch"),
    [
        pytest.param(DENSE, 0, Stretch(25_000), id="every row is the shard's"),
        pytest.param(DENSE, 25_000, Stretch(50_000), id="and its second part"),
        pytest.param(OF_FOUR, 0, Stretch(100_000), id="every fourth row is"),
        pytest.param(
            OF_MANY, 0, Stretch(1_600_000, wrote=("100", "300")),
            id="every 64th: what overlaps is looked at together",
        ),
        pytest.param(
            OF_MANY, 1_600_000, Stretch(3_200_000, wrote=("200", "300")), id="but nothing else"
        ),
        pytest.param(
            OF_MANY, 3_200_000, Stretch(4_800_000, wrote=("300", "400")), id="up to the end"
        ),
        pytest.param(OF_MANY, 4_799_000, Stretch(4_800_000), id="a rest is walked"),
        pytest.param(
            window(*OF_MANY.parts, behind=LATE), 0, Stretch(1_200_000, wrote=("100", "200")),
            id="what was open before ends a stretch as well",
        ),
        pytest.param(
            Span(1, 1_200_000, 1_000, behind=LATE), 0, Stretch(1_200_000, wrote=("100", "100")),
            id="it may be all there is",
        ),
        pytest.param(HUGE, 0, Stretch(16_000_000), id="one transaction, looked at again and again"),
        pytest.param(GAP, 0, Stretch(10**12, wrote=("100", "200")), id="positions were left out"),
        pytest.param(HUGE_GAP, 0, Stretch(2**62), id="in a transaction that takes long to look at"),
        pytest.param(
            HUGE_GAP, 2**62 - 10**12, Stretch(2**62), id="which it does for the last rows, too"
        ),
        pytest.param(Span(1, 9, 3), 0, Stretch(9), id="nothing is known"),
    ],
)  # fmt: skip
def test_the_cheaper_way_is_taken(span: Span, after: int, stretch: Stretch) -> None:
    assert next_stretch(span, after) == stretch


def test_positions_that_are_known_are_not_asked_for() -> None:
    span = window(part(1, 1, 6_400, 100), positions=True)
    assert next_stretch(span, 0) == Stretch(6_400, listed=span.positions or ())
    rest = next_stretch(span, 3_200)
    assert list(rest.listed) == [position for position in span.positions or () if position > 3_200]
    known = window(part(1, 1, 100, 100), positions=True)
    assert next_stretch(known, 0) == Stretch(100)
    late = Span(1, 6_400, 101, behind=LATE, parts=span.parts, positions=span.positions)
    assert next_stretch(late, 0).listed == ()


@pytest.mark.parametrize("each", [1, 2, 50, 3_000])
def test_every_stretch_goes_on_and_the_last_ends_with_the_window(each: int) -> None:
    parts = [
        part(number, 1 + number * 1_000 - number % 7 * 900, 900_000 - number % 5 * 70_000, 25_000)
        for number in range(each)
    ]
    span = window(*parts)
    after = steps = 0
    while after < span.last:
        stretch = next_stretch(span, after)
        assert after < stretch.last <= span.last
        after, steps = stretch.last, steps + 1
    assert steps <= each
