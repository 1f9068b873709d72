"""Events as entries of a stream in Redis, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import Connection

from outbox_operator.adapters.redis import entries
from outbox_operator.adapters.redis.entries import (
    DATA_FIELD,
    MOST_FIELDS,
    companion,
    parse_id,
    tail_message,
)
from outbox_operator.adapters.sink import Message


def message(*lines: str, payload: bytes = b"{}") -> Message:
    return Message(
        "shop", "NATS/1.0\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n", payload
    )


def texts_of(made: Message) -> tuple[str, list[bytes]]:
    """Number and arguments of an entry: what the protocol says of what was made."""
    number, count, packed = entries.packed(made)
    rest, found = packed + made.payload + b"\r\n", list[bytes]()
    while rest:
        assert rest.startswith(b"$")
        length, _, rest = rest[1:].partition(b"\r\n")
        text, end, rest = rest[: int(length)], rest[int(length) :][:2], rest[int(length) + 2 :]
        assert end == b"\r\n"
        found.append(text)
    assert len(found) == count
    assert found[:2] == [number.encode(), str(count - 2).encode()]
    return number, found[2:]


def test_a_message_becomes_a_number_and_fields() -> None:
    made = message(
        "Nats-Msg-Id: e1", "Ce-Id: e1", "Outbox-Emission: 42", "own: a: b", "empty: ",
        "name: J\u00c3\u00bcrgen", payload=b"\x00\xff",
    )  # fmt: skip
    assert texts_of(made) == (
        "42",
        [
            b"Ce-Id", b"e1", b"own", b"a: b", b"empty", b"", b"name", "J\u00fcrgen".encode(),
            DATA_FIELD, b"\x00\xff",
        ],
    )  # fmt: skip


NAME = st.text("abcXYZ09-_.!#$%&'*+^`|~", min_size=1, max_size=12)
VALUE = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)


@given(st.lists(st.tuples(NAME, VALUE), max_size=8), st.integers(0, 2**62), st.binary(max_size=50))
def test_it_is_packed_as_the_driver_packs_it(
    headers: list[tuple[str, str]], number: int, payload: bytes
) -> None:
    lines = [f"{name}: {value}" for name, value in headers]
    made = message("Nats-Msg-Id: x", *lines, f"Outbox-Emission: {number}", payload=payload)
    fields = [text.encode("latin-1") for pair in headers for text in pair]
    texts = [*fields, DATA_FIELD, payload]
    driver: Any = Connection  # without types
    wanted = driver().pack_command("EVALSHA", "digest", 2, number, len(texts), *texts)
    _, count, packed = entries.packed(made)
    head = b"*%d\r\n%s" % (3 + count, entries.packed_texts(("EVALSHA", "digest", 2)))
    assert b"".join([head, packed, payload, b"\r\n"]) == b"".join(wanted)


def test_names_that_somebody_makes_up_are_not_kept() -> None:
    for number in range(1000):
        entries.packed(
            message(f"own-{number}: x", f"{number:06}{'x' * 1000}: x", "Outbox-Emission: 1")
        )
    assert len(entries._NAMES) <= 512
    assert max(map(len, entries._NAMES)) <= 100


def test_an_entry_is_read_as_it_was_written() -> None:
    _, fields = texts_of(message("Ce-Id: e1", "Outbox-Emission: 42", "own: a: b"))
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
        ["Outbox-Emission: 1", "no value"],
        ["Outbox-Emission: 1", "broken: by\ra line"],
    ],
    ids=["no-number", "too-many-headers", "no-header", "half-a-line"],
)
def test_what_can_be_no_entry_is_refused(lines: list[str]) -> None:
    with pytest.raises(ValueError, match=r"number|header"):
        entries.packed(message(*lines))


def test_ids() -> None:
    assert parse_id(b"42-0") == (42, 0)
    assert parse_id(b"18446744073709551615-7") == (2**64 - 1, 7)
    for text in (b"", b"42", b"a-0", b"42-0 "):
        with pytest.raises(ValueError, match="no id"):
            parse_id(text)


def test_a_stream_and_its_companion_hash_together() -> None:
    assert companion("identity.user.v1.3") == "{identity.user.v1.3}:outbox"
