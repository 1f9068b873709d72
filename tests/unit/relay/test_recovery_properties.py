"""What a tail with holes leads to, against a model of relay, stream and table."""

from __future__ import annotations

import hashlib
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from outbox_operator.adapters.postgres.rows import Candidate
from outbox_operator.relay.recovery import MOST_SKIPPED, Tail, fill_holes

SOURCE = "/shop/orders"
KEYS = ("", "a", "b", "c")
SETTINGS = settings(database=None, deadline=None, derandomize=True, max_examples=400)


Crash = tuple[list[tuple[int, str]], list[int], set[int]]
"""Rows by position, which of them were published, in order, and which of these the stream has."""


@st.composite
def crashes(draw: st.DrawFn, *, locked: bool, windows: int = 4) -> Crash:
    """A relay that read some windows, and died in the last.

    Args:
        locked: Whether a row becomes visible before later ones of its key, as with writers that
            lock their aggregate.
    """
    rows = [(place + 1, draw(st.sampled_from(KEYS))) for place in range(draw(st.integers(1, 12)))]
    order: list[tuple[int, int]] = []
    earliest: Counter[str] = Counter()
    for position, key in rows:
        window = draw(st.integers(earliest[key] if locked and key else 0, windows - 1))
        earliest[key] = window
        order.append((window, position))
    published = [position for _, position in sorted(order)][: draw(st.integers(0, len(order)))]
    shown = {position for position in published if draw(st.booleans())} | {*published[-1:]}
    return rows, published, shown


def resume(
    rows: list[tuple[int, str]],
    published: list[int],
    shown: set[int],
    new: list[tuple[int, str]] | None = None,
) -> tuple[Tail, list[int], int]:
    """The tail, the positions that are sent behind it, and how many of them are unsure.

    Args:
        new: Rows in the place of those from the first of them on, which the database has lost.
    """
    tail = Tail(0, SOURCE, 7)
    keys = dict(rows)
    for number, position in enumerate(published, 8):
        highest = max(published[: number - 7])
        if position in shown:
            tail.add(
                number,
                "orders.x",
                {
                    "Ce-Source": SOURCE, "Outbox-Shard": "0", "Ce-Id": f"id-{position}",
                    "Outbox-Position": str(position), "Outbox-Emission": str(number),
                    "Ce-Partitionkey": keys[position],
                    **({"Outbox-Reached": str(highest)} if position < highest else {}),
                },
            )  # fmt: skip
    ids = {position: f"id-{position}" for position, _ in rows}
    if new:
        rows = [row for row in rows if row[0] < new[0][0]] + new
        ids.update({position: f"new-{position}" for position, _ in new})
    skipped, unsure = {place for place in tail.published if tail.published[place] == ids[place]}, 0
    if tail.missing:
        waiting = [
            Candidate(position, ids[position], hashlib.sha256(key.encode()).digest())
            for position, key in rows
            if position <= tail.highest
        ]
        filled = fill_holes(tail, waiting, complete=True)
        skipped = (skipped | set(filled.published)) - filled.repeated
        unsure = filled.unsure + len(filled.repeated)
    return tail, [position for position, _ in rows if position not in skipped], unsure


@SETTINGS
@given(crashes(locked=True))
def test_with_locks_nothing_is_lost_and_no_key_goes_back(
    crash: Crash,
) -> None:
    rows, published, shown = crash
    tail, sent, unsure = resume(rows, published, shown)
    assert {position for position, _ in rows} - {*published} <= set(sent), "lost"
    keys = dict(rows)
    for position in sent:
        key = hashlib.sha256(keys[position].encode()).digest()
        assert position > tail.reached.get(key, 0), "a key went back"
    if set(sent) & {*published}:
        assert unsure, "sent twice, and not said"


@SETTINGS
@given(
    crashes(locked=True, windows=1), st.integers(1, 12), st.lists(st.sampled_from(KEYS), min_size=1)
)
def test_what_is_written_in_the_place_of_lost_rows_is_sent(
    crash: Crash, first: int, keys: list[str]
) -> None:
    """A standby that had not got all took over, and gives positions out again."""
    rows, published, shown = crash
    new = list(enumerate(keys, min(first, len(rows) + 1)))
    _, sent, unsure = resume(rows, published, shown, new)
    assert {position for position, _ in new} <= set(sent), "lost"
    if {position for position in sent if position < new[0][0]} & {*published}:
        assert unsure, "sent twice, and not said"


def test_a_part_of_the_rows_proves_nothing() -> None:
    """As many as are missing, by chance."""
    tail = Tail(0, SOURCE, 0)
    headers = {"Ce-Source": SOURCE, "Outbox-Shard": "0", "Ce-Id": "last"}
    last = {"Outbox-Position": str(10**9), "Outbox-Emission": str(MOST_SKIPPED + 1)}
    tail.add(1, "orders.x", headers | last)
    waiting = [Candidate(position, "", b"") for position in range(MOST_SKIPPED)]
    assert tail.missing == MOST_SKIPPED
    assert fill_holes(tail, waiting, complete=False).published == {}


@SETTINGS
@given(crashes(locked=False))
def test_without_locks_each_key_ends_with_its_last_or_with_a_late_one(
    crash: Crash,
) -> None:
    rows, published, shown = crash
    tail, sent, unsure = resume(rows, published, shown)
    hidden = {p for p, _ in rows if p <= tail.highest} - shown
    if len(hidden) == tail.missing:
        assert not set(sent) & {*published}
        assert not unsure
    keys = dict(rows)
    for key in set(keys.values()) - {""}:
        ours = [position for position in sent if keys[position] == key]
        last_shown = max((p for p in shown if keys[p] == key), default=0)
        again = [position for position in ours if position in published]
        if again and last_shown:
            assert max(ours) >= last_shown, "a key ends with an older one"
