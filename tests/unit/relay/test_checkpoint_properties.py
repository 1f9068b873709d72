"""Points to go back to: whatever a stream loses, it lies behind the point gone back to."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from outbox_operator.adapters.postgres.rows import Cursor
from outbox_operator.relay.checkpoints import (
    MOST,
    SPACING_EVENTS,
    Checkpoint,
    emission_at,
    newest_within,
    parse,
    render,
    with_point,
)

SETTINGS = settings(database=None, deadline=None, derandomize=True)
CREATED = ("2026-11-28T12:00:00Z", "2026-11-28T13:00:00Z")
SYSTEMS = ("7", "8")

steps = st.lists(
    st.tuples(
        st.floats(0, 60), st.integers(0, 2 * SPACING_EVENTS), st.sampled_from(CREATED),
        st.sampled_from(SYSTEMS),
    ),
    max_size=120,
)  # fmt: skip


def walk(taken: list[tuple[float, int, str, str]]) -> tuple[tuple[Checkpoint, ...], list[Cursor]]:
    """The points that are kept of a relay's life, and its cursors."""
    kept: tuple[Checkpoint, ...] = ()
    now, emission, cursors = 0.0, 0, []
    for seconds, events, created, system in taken:
        now, emission = now + seconds, emission + events
        cursor = Cursor(
            f"{emission}:{emission}:", None, emission, emission=emission, emission_gaps=0,
            stream_sequence=2 * emission, remark=None, stream_created=created, notice=None,
        )  # fmt: skip
        cursors.append(cursor)
        kept = with_point(kept, cursor, system, now) or kept
    return kept, cursors


@SETTINGS
@given(steps, st.integers(0, 10**8), st.sampled_from(CREATED), st.sampled_from(SYSTEMS))
def test_the_point_gone_back_to_is_the_newest_that_the_stream_still_has(
    taken: list[tuple[float, int, str, str]], last: int, created: str, system: str
) -> None:
    kept, _ = walk(taken)
    found = newest_within(kept, last_sequence=last, created=created, system=system)
    fitting = [p for p in kept if (p.created, p.system) == (created, system)]
    within = [p for p in fitting if p.stream_sequence <= last]
    assert found == (within[-1] if within else None)
    if found is not None:
        assert found.stream_sequence == max(p.stream_sequence for p in within)


@SETTINGS
@given(steps)
def test_points_are_few_in_order_of_one_stream_and_survive_the_table(
    taken: list[tuple[float, int, str, str]],
) -> None:
    kept, cursors = walk(taken)
    assert len(kept) <= MOST
    assert list(kept) == sorted(kept, key=lambda point: point.stream_sequence)
    assert len({(point.created, point.system) for point in kept}) <= 1
    assert parse(render(kept)) == kept
    for cursor in cursors:
        known = emission_at(kept, cursor)
        assert known in (None, cursor.emission), "of another place"


@SETTINGS
@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str))
def test_what_is_no_list_of_points_counts_as_nothing(text: str) -> None:
    assert parse(text) == () or text.strip() == "[]"
