"""What the stream holds behind the cursor."""

from __future__ import annotations

import hashlib

import pytest

from outbox_operator.adapters.postgres.rows import Candidate
from outbox_operator.relay.recovery import (
    EMISSION_GAP,
    LEAST,
    MOST_SKIPPED,
    UNKNOWN_TAIL,
    Filled,
    Numbering,
    Tail,
    fill_holes,
    first_wanted,
    numbering,
    owner_name,
)


@pytest.mark.parametrize(
    ("known", "last", "first"),
    [
        (0, 0, 0),
        (7, 7, 7),
        (7, 9, 7),
        (None, 0, 0),
        (None, 5, 0),
        (None, UNKNOWN_TAIL + 5, 5),
        # The stream was made anew, purged, or its last messages were deleted.
        (900, 0, 0),
        (900, 5, 0),
        (10 * UNKNOWN_TAIL, 2 * UNKNOWN_TAIL, UNKNOWN_TAIL),
    ],
)
def test_where_the_tail_begins(known: int | None, last: int, first: int) -> None:
    assert first_wanted(known, last) == first


def ours(position: int, emission: int, **changes: str) -> dict[str, str]:
    return {
        "Ce-Source": "/shop/orders",
        "Ce-Id": f"id-{position}",
        "Outbox-Shard": "2",
        "Outbox-Position": str(position),
        "Outbox-Emission": str(emission),
        **changes,
    }


def tail(*messages: dict[str, str]) -> Tail:
    made = Tail(2, "/shop/orders")
    for sequence, headers in enumerate(messages, 10):
        made.add(sequence, "orders.created", headers)
    return made


@pytest.mark.parametrize(
    ("messages", "highest"),
    [
        ([], LEAST),
        ([ours(5, 1), ours(7, 3)], 7),
        ([ours(9, 1), ours(7, 2, **{"Outbox-Reached": "9"})], 9),
        ([ours(9, 1), ours(7, 3, **{"Outbox-Reached": "20"})], 20),  # the one of 20 is gone
        ([ours(7, 3, **{"Outbox-Reached": "20"}), ours(21, 4)], 21),
        ([ours(7, 3, **{"Outbox-Reached": "far"})], 7),
        (
            [ours(7, 3, **{"Outbox-Reached": str(2**63)})],
            7,
        ),  # no bigint: nobody asks a table for it
        ([{**ours(7, 3), "Ce-Source": "/other"}, {"Outbox-Position": "9"}], LEAST),
    ],
)
def test_messages_tell_how_far_rows_were_sent(messages: list[dict[str, str]], highest: int) -> None:
    made = tail(*messages)
    assert made.highest == max(map(made.highest_in, messages), default=LEAST) == highest
    assert not made.doubted


def test_a_message_that_names_its_predecessor_leaves_doubt_about_what_is_missing() -> None:
    assert tail(ours(5, 1), ours(7, 3, **{"Outbox-Predecessor": "1"})).doubted


@pytest.mark.parametrize("first_is_gone", [False, True])
def test_a_new_row_is_not_taken_for_the_last_one_of_a_window_before(first_is_gone: bool) -> None:
    """Sent: 9 and 20, then 12. Nothing shows 20, or none of both; 11 was never published."""
    rows = [Candidate(number, f"id-{number}", b"") for number in (9, 11, 12, 20)]
    shown = ours(12, 3, **{"Outbox-Reached": "20"})
    filled = fill_holes(tail(*([] if first_is_gone else [ours(9, 1)]), shown), rows, complete=True)
    assert (filled.published, filled.unsure) == ({}, 3 if first_is_gone else 2)


def test_the_last_row_of_a_window_before_is_found_by_the_count() -> None:
    rows = [Candidate(number, f"id-{number}", b"") for number in (9, 12, 20)]
    made = tail(ours(9, 1), ours(12, 3, **{"Outbox-Reached": "20"}))
    filled = fill_holes(made, rows, complete=True)
    assert (filled.published, filled.unsure) == ({20: "id-20"}, 0)


def test_of_a_relay_that_does_not_say_how_far_it_sent_holes_are_not_certain() -> None:
    """One before this header: 9, then 20, whose message is gone, then 7; 8 became visible late."""
    made = tail(ours(9, 1), ours(7, 3))
    rows = [Candidate(number, f"id-{number}", b"") for number in (7, 8, 9)]
    assert made.doubted
    assert fill_holes(made, rows, complete=True).published == {}


def test_without_order_a_missing_number_proves_nothing() -> None:
    """A stream may take what is behind a message that it refuses."""
    made = tail(ours(1, 1), ours(3, 3, **{"Ce-Partitionkey": "k"}))
    rows = [Candidate(1, "id-1", b""), keyed(2, "k"), keyed(3, "k")]
    assert fill_holes(made, rows, complete=True).published == {2: "id-2"}
    filled = fill_holes(made, rows, complete=True, dense=False)
    assert (filled.published, filled.unsure) == ({}, 1)


def test_a_position_that_is_no_bigint_is_of_somebody_else() -> None:
    made = tail(ours(10**19 - 1, 1), ours(7, 10**19 - 1))
    assert (made.published, made.foreign) == ({}, 2)


def keyed(position: int, key: str) -> Candidate:
    return Candidate(position, f"id-{position}", hashlib.sha256(key.encode()).digest())


def test_a_doubt_makes_no_more_rows_published_than_numbers_are_missing() -> None:
    """Row 2 became visible last, since writers of its key take no lock; 3 and 5 are hidden."""
    k, m = {"Ce-Partitionkey": "k"}, {"Ce-Partitionkey": "m"}
    made = tail(ours(6, 2, **k), ours(4, 4, **m, **{"Outbox-Predecessor": "3"}))
    assert (made.missing, made.doubted) == (2, True)
    rows = [keyed(2, "k"), keyed(3, "m"), keyed(4, "m"), keyed(5, "k"), keyed(6, "k")]
    assert 2 not in fill_holes(made, rows, complete=True).published


def test_what_is_missing_beyond_the_rows_that_are_looked_at_is_not_certain() -> None:
    """Rows behind the last that is shown were published, too, and are sent again."""
    made = tail(ours(3, 4, **{"Ce-Partitionkey": "k"}))
    filled = fill_holes(made, [keyed(2, "k"), keyed(3, "k")], complete=True)
    assert (filled.published, filled.unsure) == ({2: "id-2"}, 2)


def test_what_was_dealt_with_is_not_met_again() -> None:
    made = Tail(2, "/shop/orders", numbered=4, dealt_to=12, unless={101})
    for sequence, (position, number) in enumerate([(100, 5), (101, 6), (102, 7), (103, 8)], 10):
        made.add(sequence, "orders.created", ours(position, number))
    assert list(made.published) == [101, 103]
    assert made.sequences == {101: 10, 103: 12}, "of the one before each"
    assert (made.emission, made.earliest, made.shown, made.missing) == (8, 6, 2, 0)


def test_our_messages_tell_position_and_emission() -> None:
    made = tail(ours(7, 41), ours(9, 42), ours(3, 43))
    assert made.published == {7: "id-7", 9: "id-9", 3: "id-3"}
    assert (made.emission, made.foreign) == (43, 0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        ours(1, 1, **{"Ce-Source": "/shop/other"}),
        ours(1, 1, **{"Outbox-Shard": "1"}),
        ours(1, 1, **{"Outbox-Position": "x"}),
        ours(1, 1, **{"Outbox-Emission": ""}),
    ],
)
def test_messages_of_others_are_counted_and_named(headers: dict[str, str]) -> None:
    made = tail(ours(7, 41), headers)
    assert made.published == {7: "id-7"}
    assert (made.foreign, made.foreign_subject, made.foreign_sequence) == (1, "orders.created", 11)


def test_memory_is_bounded_and_keeps_the_newest() -> None:
    made = Tail(2, "/shop/orders")
    for position in range(MOST_SKIPPED + 10):
        assert not made.forgotten or position >= MOST_SKIPPED
        made.add(position, "orders.created", ours(position, position))
    assert len(made.published) == MOST_SKIPPED
    assert made.forgotten == 9, "of what the cursor does not account for; that is number 0"
    assert MOST_SKIPPED + 9 in made.published


@pytest.mark.parametrize(
    ("emission", "in_tail", "known", "last", "outcome_open", "expected"),
    [
        (7, 12, 7, 12, True, 12),
        (7, 5, None, 12, True, 7),
        (7, 0, 7, 7, True, 7),
        (7, 0, 7, 9, False, 7),
        (0, 0, None, 0, True, 0),
        # What came after the last save has left the stream, or was never its to keep.
        (7, 0, 7, 0, True, 7 + EMISSION_GAP),
        (7, 0, 7, 5, True, 7 + EMISSION_GAP),
        (7, 0, None, 0, True, 7 + EMISSION_GAP),
    ],
)
def test_numbers_only_grow(
    emission: int, in_tail: int, known: int | None, last: int, outcome_open: bool, expected: int
) -> None:
    made = tail(ours(1, in_tail)) if in_tail else tail()
    so_far = Numbering(emission, 0)
    found = numbering(so_far, made, known=known, last=last, outcome_open=outcome_open)
    assert found.last == expected


def test_what_was_published_can_be_counted_although_numbers_are_left_out() -> None:
    """Else the status would speak of a million events that nobody has seen."""
    unknown = numbering(Numbering(7, 0), tail(), known=7, last=0, outcome_open=True)
    assert unknown.last - unknown.gaps == 7
    # The next owner finds the three events that followed, and that they come after a gap.
    behind = Tail(2, "/shop/orders", 7)
    for number in range(1, 4):
        behind.add(number, "orders.created", ours(number, unknown.last + number))
    found = numbering(Numbering(7, 0), behind, known=7, last=3, outcome_open=True)
    assert found.last == unknown.last + 3
    assert found.last - found.gaps == 10
    assert found.after(5) == Numbering(found.last + 5, found.gaps)


@pytest.mark.parametrize(("shown", "hidden"), [("again", ""), ("", "again"), ("again", "other")])
def test_copies_and_others_of_a_key_say_nothing_of_each_other(shown: str, hidden: str) -> None:
    """What has a lower position may have become visible later; one message is missing."""

    def key(replay: str) -> bytes:
        return hashlib.sha256(b"k" + (b"\0" + replay.encode() if replay else b"")).digest()

    made = Tail(2, "/shop/orders", 40)
    headers = {"Ce-Partitionkey": "k", **({"Outbox-Replay": shown} if shown else {})}
    made.add(10, "orders.created", ours(9, 42, **headers))
    rows = [
        Candidate(7, "id-7", key(hidden)),
        Candidate(8, "id-8", hashlib.sha256(b"gone").digest()),
        Candidate(9, "id-9", key(shown)),
    ]
    assert fill_holes(made, rows, complete=True) == Filled({}, frozenset(), 2)
    within = [Candidate(7, "id-7", key(shown)), *rows[1:]]
    assert fill_holes(made, within, complete=True).published == {7: "id-7"}


def test_each_shard_of_an_outbox_has_an_owner_of_its_own() -> None:
    mine = ("42", "/shop/orders", 2)
    assert owner_name(*mine) == owner_name(*mine)
    others = [("43", "/shop/orders", 2), ("42", "/shop/other", 2), ("42", "/shop/orders", 3)]
    assert owner_name(*mine) not in {owner_name(*other) for other in others}
