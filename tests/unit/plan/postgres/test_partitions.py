"""When partitions are added, rotated and emptied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outbox_operator.plan.postgres.partitions import (
    PUBLISHED_SECONDS,
    Partition,
    Stamp,
    closed,
    current,
    missing,
    parse_stamp,
    prunable,
    rotation_seconds,
    rotation_target,
)
from outbox_operator.plan.postgres.schema import (
    PARTITION_WIDTH,
    partition_bounds,
    partition_name,
)
from outbox_operator.wire.cursors import CursorOrigin

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
DEFAULT = Partition(name="events_default")


def ranges(*numbers: int) -> list[Partition]:
    made = [
        Partition(name=partition_name(n), low=partition_bounds(n)[0], high=partition_bounds(n)[1])
        for n in numbers
    ]
    return [*made, DEFAULT]


@pytest.mark.parametrize(
    ("have", "position", "add"),
    [
        ((0, 1, 2, 3), 1, []),
        ((0, 1, 2, 3), PARTITION_WIDTH, [4]),
        ((0, 1, 2, 3), 3 * PARTITION_WIDTH + 1, [4, 5, 6]),
        ((5, 6), 5 * PARTITION_WIDTH, [7, 8]),
        ((0, 1), 9 * PARTITION_WIDTH + 1, [110, 111, 112, 113]),
        ((), 1, [101, 102, 103, 104]),
        ((500,), 1, [501, 502, 503, 504]),
    ],
)
def test_keeps_partitions_ahead(have: tuple[int, ...], position: int, add: list[int]) -> None:
    assert missing(ranges(*have), position) == add


@pytest.mark.parametrize(
    ("have", "position", "target"),
    [
        ((0, 1), 1, PARTITION_WIDTH),
        ((0, 1), PARTITION_WIDTH - 1, None),  # gets there by itself
        ((0,), 1, None),
        ((0, 110), 9 * PARTITION_WIDTH, 110 * PARTITION_WIDTH),
    ],
)
def test_rotates_to_the_next_range(
    have: tuple[int, ...], position: int, target: int | None
) -> None:
    assert rotation_target(ranges(*have), position) == target


@pytest.mark.parametrize(
    ("retention", "period"), [(0, 600), (3600, 900), (86_400, 21_600), (30 * 86_400, 86_400)]
)
def test_rotates_often_enough_for_the_retention(retention: float, period: float) -> None:
    assert rotation_seconds(retention) == period


def test_the_partition_in_use_and_those_ahead_are_never_closed() -> None:
    names = [p.name for p in closed(ranges(0, 1, 2), PARTITION_WIDTH)]
    assert names == ["events_p0", "events_default"]
    assert [p.name for p in closed(ranges(0, 1), 5 * PARTITION_WIDTH)] == ["events_p0", "events_p1"]
    assert closed(ranges(0, 1), 5) == [DEFAULT]
    assert current(ranges(0), 5 * PARTITION_WIDTH) is None


@pytest.mark.parametrize(
    ("retention", "kept"),
    [(3600, 3600), (PUBLISHED_SECONDS, PUBLISHED_SECONDS), (60, PUBLISHED_SECONDS), (0, 180)],
)
def test_prunes_after_the_retention_but_not_before_the_stream_has_it_on_disk(
    retention: float, kept: float
) -> None:
    stamp = Stamp(published_at=NOW, system="7", snapshots={0: "5:5:"})
    assert not prunable(stamp, now=NOW + timedelta(seconds=kept - 1), retention=retention)
    assert prunable(stamp, now=NOW + timedelta(seconds=kept), retention=retention)
    assert not prunable(None, now=NOW, retention=retention)


def test_a_stamp_survives_being_written_down() -> None:
    stamp = Stamp(published_at=NOW, system="7", snapshots={1: "7:9:8", 0: "5:5:"})
    assert parse_stamp(stamp.text()) == stamp


@pytest.mark.parametrize(
    ("system", "server_xid", "counts"), [("7", 9, True), ("7", 8, False), ("8", 9, False)]
)
def test_a_stamp_counts_on_its_own_server_only(system: str, server_xid: int, counts: bool) -> None:
    stamp = Stamp(published_at=NOW, system="7", snapshots={1: "7:9:8", 0: "5:5:"})
    origin = CursorOrigin(
        cursor_system=None, server_system=system, seen_xid=3, server_xid=server_xid, newest_xid=None
    )
    assert stamp.counts_for(origin) is counts


STAMP = Stamp(published_at=NOW, system="7", snapshots={0: "5:5:"}).text()


@pytest.mark.parametrize(
    "comment",
    [
        None, "", "by hand", "{}", "[]", '{"published_at": 1}', "[" * 100_000,
        STAMP.replace("5:5:", "5"), STAMP.replace("5:5:", "5:x:"), STAMP.replace('"5:5:"', "5"),
        STAMP.replace("+00:00", ""),
    ],
)  # fmt: skip
def test_another_comment_is_no_stamp(comment: str | None) -> None:
    assert parse_stamp(STAMP) is not None
    assert parse_stamp(comment) is None


@pytest.mark.parametrize(
    ("positions", "held"),
    [
        (None, set()),
        (range(5, 5), set()),
        (range(-(2**63) + 1, 5), {"events_p0", "events_default"}),
        (range(PARTITION_WIDTH - 1, PARTITION_WIDTH + 1), {"events_p0", "events_p1"}),
        (range(PARTITION_WIDTH, PARTITION_WIDTH + 1), {"events_p1"}),
    ],
)
def test_what_a_replay_has_still_to_read_is_held(positions: range | None, held: set[str]) -> None:
    found = {p.name for p in ranges(0, 1) if p.overlaps(positions)}
    assert found - {"events_default"} == held - {"events_default"}
    assert DEFAULT.overlaps(positions) == bool(positions)
