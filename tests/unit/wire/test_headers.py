"""Header values and reserved names."""

from __future__ import annotations

import pytest

from outbox_operator.wire import headers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("order-42", "order-42"),
        ("a b", "a%20b"),
        ("100%", "100%25"),
        ('say "x"', "say%20%22x%22"),
        ("Zürich", "Z%C3%BCrich"),
        ("line\r\nNats-Msg-Id: x", "line%0D%0ANats-Msg-Id:%20x"),
        ("", ""),
    ],
)
def test_values_survive_and_stay_in_one_line(text: str, value: str) -> None:
    assert headers.encode_value(text) == value
    assert headers.decode_value(value) == text


def test_every_character_survives() -> None:
    text = "".join(map(chr, [*range(0x800), 0x20AC, 0x1F600]))
    encoded = headers.encode_value(text)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert headers.decode_value(encoded) == text


def test_our_headers_are_reserved() -> None:
    ours = {
        value
        for name, value in vars(headers).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    }
    free = {
        headers.CONTENT_TYPE, headers.TRACEPARENT, headers.TRACESTATE, headers.DELIVER_AFTER,
    }  # fmt: skip
    for name in ours - free:
        assert name.lower().startswith(headers.RESERVED_PREFIXES), name
