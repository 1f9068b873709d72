"""The verdict finds what is wrong, whatever it is, and nothing else."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from delivery.expected import Form, Row, Stored, differences
from delivery.journal import Fate, digest
from delivery.verdict import CHECKS, Promise, judge

FORM = Form("orders.{event_type}", "/shop/orders", "application/json")
NOON = dt.datetime(2026, 11, 21, 12, 0, 0, 250, tzinfo=dt.UTC)


def a_row(number: int, **changes: object) -> Row:
    """Row `number`, which is also the version of its key."""
    row = Row(
        position=number, shard=0, event_id=f"id-{number}", event_type="order.created", key="k",
        routing_key=None, payload=b'{"n": 1}', headers="{}", created_at=NOON, version=number,
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def a_message(number: int, *, sequence: int | None = None, **headers: str) -> Stored:
    """The message of row `number`, stored at `sequence`; `headers` with _ for -."""
    sequence = sequence or number
    values = {
        "Nats-Msg-Id": f"id-{number}",
        "Ce-Specversion": "1.0",
        "Ce-Id": f"id-{number}",
        "Ce-Type": "order.created",
        "Ce-Source": "/shop/orders",
        "Ce-Time": "2026-11-21T12:00:00.000250Z",
        "Content-Type": "application/json",
        "Outbox-Shard": "0",
        "Outbox-Position": str(number),
        "Outbox-Emission": str(sequence),
        "Ce-Partitionkey": "k",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return Stored(sequence, "orders.order.created", tuple(values.items()), b'{"n": 1}')


ROWS = [a_row(1), a_row(2), a_row(3)]
RIGHT = [a_message(1), a_message(2), a_message(3)]
FATES = {row.event_id: Fate.COMMITTED for row in ROWS} | {"id-9": Fate.ROLLED_BACK}


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        (RIGHT, {}),
        (RIGHT[:2], {"lost": 1}),
        ([], {"lost": 3}),
        ([*RIGHT, a_message(9, sequence=4)], {"phantom": 1}),
        ([*RIGHT, a_message(2, sequence=4)], {"duplicate": 1}),
        (
            [a_message(1), a_message(3, sequence=2), a_message(2, sequence=3)],
            {"reordered": 1},
        ),
        ([RIGHT[0], replace(RIGHT[1], payload=b'{"n":1}'), RIGHT[2]], {"altered": 1}),
        ([RIGHT[0], replace(RIGHT[1], subject="orders.x"), RIGHT[2]], {"altered": 1}),
        ([RIGHT[0], a_message(2, Ce_Type="x"), RIGHT[2]], {"altered": 2}),
        ([RIGHT[0], a_message(2, X_More="x"), RIGHT[2]], {"altered": 1}),
        ([RIGHT[0], a_message(2, Ce_Time="2026-11-21T12:00:00Z"), RIGHT[2]], {"altered": 1}),
        (
            [RIGHT[0], a_message(2, Outbox_Emission="3"), RIGHT[2]],
            {"misnumbered": 2, "unchained": 1},
        ),
    ],
)
def test_findings(messages: list[Stored], found: dict[str, int]) -> None:
    verdict = judge(ROWS, messages, FORM, FATES)
    assert dict(verdict.counts) == found
    assert verdict.clean == (not found)
    assert set(verdict.examples) == set(found) <= set(CHECKS)


@pytest.mark.parametrize(
    ("numbers", "unchained"),
    [
        (("1", "2", "3"), 0),
        (("1", "2", "4"), 1),
        (("2", "3", "4"), 1),
        (("1", "9<1", "10"), 0),
        (("9<0", "10", "20<10"), 0),
        (("1", "9<1", "19<1"), 0),  # it was not known whether the one before was stored
        (("1", "9<1", "19"), 1),
        (("1", "9<5", "10"), 1),
        (("1", "9<9", "10"), 1),
        (("1", "9<x", "10"), 1),
    ],
)
def test_gaps_in_the_numbers_are_said_to_be_meant(numbers: tuple[str, ...], unchained: int) -> None:
    messages = []
    for number, text in enumerate(numbers, 1):
        emission, _, before = text.partition("<")
        message = a_message(number, Outbox_Emission=emission)
        named = (("Outbox-Predecessor", before),) if before else ()
        messages.append(replace(message, headers=(*message.headers, *named)))
    verdict = judge(ROWS, messages, FORM, FATES, Promise(numbered=False))
    assert dict(verdict.counts) == ({"unchained": unchained} if unchained else {})


def test_where_messages_may_be_missing_so_may_numbers() -> None:
    messages = [a_message(1), a_message(2, Outbox_Emission="5"), a_message(3, Outbox_Emission="9")]
    assert judge(ROWS, messages, FORM, FATES, Promise(numbered=False, chained=False)).clean


@pytest.mark.parametrize(
    ("rows", "fates"),
    [
        (ROWS[:2], FATES),  # a committed one is not in the database
        (ROWS, FATES | {"id-3": Fate.ROLLED_BACK}),
        (ROWS, {"id-1": Fate.COMMITTED, "id-2": Fate.UNKNOWN}),  # nobody wrote the third
        ([*ROWS[:2], a_row(3, version=None)], FATES),
        ([*ROWS[:2], a_row(3, shard=1)], FATES),
    ],
)
def test_a_database_that_contradicts_the_writers_is_not_believed(
    rows: list[Row], fates: dict[str, Fate]
) -> None:
    assert judge(rows, RIGHT, FORM, fates).counts["unjournaled"] == 1


def test_a_duplicate_far_behind_is_not_also_out_of_order() -> None:
    messages = [*RIGHT, a_message(1, sequence=4)]
    assert dict(judge(ROWS, messages, FORM, FATES).counts) == {"duplicate": 1}


def test_keyless_events_have_no_order() -> None:
    rows = [a_row(1, key="", version=0), a_row(2, key="", version=0)]
    messages = [
        replace(
            a_message(number, sequence=3 - number),
            headers=a_message(number, sequence=3 - number).headers[:-1],
        )
        for number in (2, 1)
    ]
    assert judge(rows, messages, FORM, {"id-1": Fate.COMMITTED, "id-2": Fate.UNKNOWN}).clean


def test_shards_are_numbered_each_by_itself() -> None:
    form = replace(FORM, subject="orders.{shard}.{event_type}")
    rows = [a_row(1), a_row(2, shard=1, key="other", version=1)]
    messages = [
        replace(a_message(1), subject="orders.0.order.created"),
        replace(
            a_message(2, Outbox_Shard="1", Outbox_Emission="1", Ce_Partitionkey="other"),
            subject="orders.1.order.created",
        ),
    ]
    assert judge(rows, messages, form, {"id-1": Fate.COMMITTED, "id-2": Fate.COMMITTED}).clean


def test_an_awkward_event_written_out() -> None:
    row = a_row(
        7, event_type='größe 1.*.>."', routing_key="", key="a b%\n", version=1, payload=b"",
        headers='{"X-Tenant": "größe: b", "Content-Type": "text/plain"}',
    )  # fmt: skip
    headers = {
        "Ce-Type": "gr%C3%B6%C3%9Fe%201.*.>.%22",
        "Ce-Partitionkey": "a%20b%25%0A",
        "X-Tenant": "größe: b",
        "Content-Type": "text/plain",
        "Nats-Expected-Last-Msg-Id": "id-6",
    }
    message = replace(
        a_message(7),
        subject='orders.gr%C3%B6%C3%9Fe%201.%2A.%3E."',
        headers=tuple((dict(a_message(7).headers) | headers).items()),
        payload=b"",
    )
    assert differences(row, message, FORM) == []
    twice = replace(message, headers=(*message.headers, ("Ce-Id", "id-7")))
    assert differences(row, twice, FORM) == [f"headers: one is there twice: {_ours(twice)}"]


@pytest.mark.parametrize(
    ("ids", "wanted_always", "right"),
    [
        (["id-1"], True, True),
        (["id-1"], False, True),
        ([], True, False),
        ([], False, True),
        (["id-2"], False, False),
        (["id-1", "id-1"], False, False),
    ],
)
def test_a_message_id_is_the_event_s_where_there_is_one(
    ids: list[str], wanted_always: bool, right: bool
) -> None:
    rest = tuple(pair for pair in a_message(1).headers if pair[0] != "Nats-Msg-Id")
    message = replace(a_message(1), headers=(*rest, *(("Nats-Msg-Id", value) for value in ids)))
    form = replace(FORM, ids=wanted_always)
    assert (differences(a_row(1), message, form) == []) is right


def _ours(message: Stored) -> list[tuple[str, str]]:
    other = ("Nats-Msg-Id", "Ce-Time", "Outbox-Emission", "Nats-Expected-Last-Msg-Id")
    return [pair for pair in message.headers if pair[0] not in other]


def test_json_is_compared_by_meaning_and_numbers_to_the_last_digit() -> None:
    assert digest('{"b": 1.10, "a": ["\\u00e9"]}') == digest('{"a":["é"],"b":1.10}')
    assert digest('{"a": 12345678901234567890.1}') != digest('{"a": 12345678901234567890.2}')
    assert digest(b"1.10") != digest(b"1.1")
