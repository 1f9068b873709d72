"""Which points of a cursor are kept, and which of them a stream that lost messages allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outbox_operator.adapters.postgres.rows import Cursor
from outbox_operator.relay.checkpoints import (
    LONGEST_SNAPSHOT,
    MOST,
    SPACING_EVENTS,
    SPACING_SECONDS,
    Checkpoint,
    emission_at,
    gone_back_to,
    newest_within,
    parse,
    render,
    with_point,
)

CURSOR = Cursor(
    snapshot_from="5:5:", snapshot_to=None, last_position=7, emission=7, emission_gaps=0,
    stream_sequence=9, remark=None, stream_created="2026-11-28T00:00:00Z", notice=None,
)  # fmt: skip
SYSTEM = "42"


def grown(*steps: tuple[float, int]) -> tuple[Checkpoint, ...]:
    """Checkpoints after cursors of these times and emissions were stored."""
    kept: tuple[Checkpoint, ...] = ()
    for now, emission in steps:
        cursor = replace(CURSOR, emission=emission, stream_sequence=emission)
        kept = with_point(kept, cursor, SYSTEM, now) or kept
    return kept


def test_points_keep_their_distance_in_time_or_events() -> None:
    kept = grown(
        (100.0, 1), (101.0, 2), (100.0 + SPACING_SECONDS, 3),
        (101.0 + SPACING_SECONDS, 3 + SPACING_EVENTS),
    )  # fmt: skip
    assert [each.emission for each in kept] == [1, 3, 3 + SPACING_EVENTS]


def test_nothing_is_kept_while_nothing_is_published() -> None:
    assert len(grown((100.0, 1), (1000.0, 1))) == 1


def test_the_oldest_go() -> None:
    kept = grown(*((n * SPACING_SECONDS, n) for n in range(MOST + 5)))
    assert len(kept) == MOST
    assert kept[0].emission == 5


@pytest.mark.parametrize(
    "cursor",
    [
        replace(CURSOR, stream_sequence=None),
        replace(CURSOR, stream_created=None),
        replace(CURSOR, snapshot_from="1" * (LONGEST_SNAPSHOT + 1)),
    ],
)
def test_what_cannot_be_gone_back_to_is_not_kept(cursor: Cursor) -> None:
    assert with_point((), cursor, SYSTEM, 100.0) is None


def test_points_of_another_stream_or_server_are_dropped() -> None:
    kept = grown((100.0, 1))
    other = replace(CURSOR, stream_created="2026-11-29T00:00:00Z")
    assert [each.created for each in with_point(kept, other, SYSTEM, 101.0) or ()] == [
        other.stream_created
    ]
    assert [each.system for each in with_point(kept, CURSOR, "43", 101.0) or ()] == ["43"]


def test_the_newest_that_the_stream_still_has_is_found() -> None:
    kept = grown((0.0, 1), (100.0, 5), (200.0, 9))
    created = CURSOR.stream_created or ""

    def found(last: int, created: str = created, system: str = SYSTEM) -> int | None:
        point = newest_within(kept, last_sequence=last, created=created, system=system)
        return None if point is None else point.stream_sequence

    assert [found(0), found(1), found(8), found(9)] == [None, 1, 5, 9]
    assert found(9, created="another") is None
    assert found(9, system="another") is None


def test_what_is_written_can_be_read() -> None:
    kept = grown((0.0, 1), (100.0, 5))
    assert parse(render(kept)) == kept


def test_a_doubt_is_kept_at_once_and_so_is_its_end() -> None:
    kept = grown((0.0, 1))
    doubt = with_point(kept, CURSOR, SYSTEM, 1.0, 5) or ()
    assert [each.held for each in doubt] == [None, 5]
    assert with_point(doubt, replace(CURSOR, emission=8), SYSTEM, 2.0, 5) is None
    over = with_point(doubt, replace(CURSOR, emission=9), SYSTEM, 3.0) or ()
    assert [each.held for each in over] == [None, 5, None]
    assert parse(render(over)) == over


def test_points_without_doubt_are_written_as_before() -> None:
    """A relay of the version before can read them."""
    assert render(grown((0.0, 1))).count(",") == 7


@pytest.mark.parametrize(
    ("held", "seconds", "found"), [(None, 179, 7), (3, 0, 3), (None, 180, None)]
)
def test_who_goes_back_names_the_point_while_all_rows_behind_it_are_there(
    held: int | None, seconds: float, found: int | None
) -> None:
    kept = with_point((), CURSOR, SYSTEM, 100.0, held) or ()
    after = gone_back_to(kept, kept[0], 50, 100.0 + seconds)
    assert after[-1].held == (found if found else held)
    assert len(after) == (2 if found else 1)
    if found:
        assert after[-1].emission == 50
    assert emission_at(after, CURSOR) == 7, "the number of what is before the point"


@pytest.mark.parametrize("text", ["", "[", "{}", "[1]", '[["x"]]', "null"])
def test_what_cannot_be_read_counts_as_nothing(text: str) -> None:
    assert parse(text) == ()
