"""Events as entries of a stream in Redis, and back."""

from __future__ import annotations

import pytest

from outbox_operator.adapters.redis.entries import (
    DATA_FIELD,
    MOST_FIELDS,
    arguments,
    companion,
    parse_id,
    tail_message,
)
from outbox_operator.adapters.sink import Message


def message(*lines: str, payload: bytes = b"{}") -> Message:
    return Message(
        "shop", "NATS/1.0\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n", payload
    )


def test_a_message_becomes_a_number_and_fields() -> None:
    made = message(
        "Nats-Msg-Id: e1", "Ce-Id: e1", "Outbox-Emission: 42", "own: a: b", "empty: ",
        "name: J\u00c3\u00bcrgen", payload=b"\x00\xff",
    )  # fmt: skip
    number, fields = arguments(made)
    assert number == b"42"
    assert fields == [
        b"Ce-Id", b"e1", b"own", b"a: b", b"empty", b"", b"name", "J\u00fcrgen".encode(),
        DATA_FIELD, b"\x00\xff",
    ]  # fmt: skip


def test_an_entry_is_read_as_it_was_written() -> None:
    _, fields = arguments(message("Ce-Id: e1", "Outbox-Emission: 42", "own: a: b"))
    found = tail_message("shop", [b"42-0", fields])
    assert found.sequence == 42
    assert found.subject == "shop"
    assert found.headers["Outbox-Emission"] == "42"
    assert found.headers["own"] == "a: b"


@pytest.mark.parametrize(
    "lines",
    [
        ["Ce-Id: e1"],
        ["Outbox-Emission: 1", *(f"h{n}: x" for n in range(MOST_FIELDS + 1))],
    ],
    ids=["no-number", "too-many-headers"],
)
def test_what_can_be_no_entry_is_refused(lines: list[str]) -> None:
    with pytest.raises(ValueError, match=r"number|headers"):
        arguments(message(*lines))


def test_ids() -> None:
    assert parse_id(b"42-0") == (42, 0)
    assert parse_id(b"18446744073709551615-7") == (2**64 - 1, 7)
    for text in (b"", b"42", b"a-0", b"42-0 "):
        with pytest.raises(ValueError, match="no id"):
            parse_id(text)


def test_a_stream_and_its_companion_hash_together() -> None:
    assert companion("identity.user.v1.3") == "{identity.user.v1.3}:outbox"
