"""What is stored of a payload: JSON as it was written, or bytes, or nothing but a hash."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox_operator.archive.payloads import (
    NotStorableError,
    Number,
    Payload,
    parse,
    payload_of,
    scalar,
    written,
)
from outbox_operator.wire.json_paths import JsonPath

JSON = "application/json"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfe", "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "no JSON at character 0"),
        (b"{", "no JSON"),
        (b"{} x", "no JSON at character 3"),
        (b"'a'", "no JSON"),
        (b'{"a": NaN}', "NaN"),
        (b"-Infinity", "-Infinity"),
        (b'"\\u0000"', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"a": ["\\udc00\\ud800"]}', "surrogate"),
        (b"9" * 5000, "thousands of digits"),
        (b"1e" + b"9" * 400, "too large"),
        (b"1E+301", "too large"),
        (b"0." + b"1" * 400, "too exact"),
        (b"[" * 257 + b"]" * 257, "nested"),
        (b"[" * 3000 + b"]" * 3000, "nested"),
        (b'{"a":' * 100_000, "nested"),
    ],
)
def test_what_postgres_would_refuse_is_found(data: bytes, why: str) -> None:
    with pytest.raises(NotStorableError, match=why):
        parse(data)
    assert payload_of(data, JSON, ()).raw == data
    assert why in str(payload_of(data, JSON, ()).note)


@pytest.mark.parametrize(
    "text",
    [
        "null", "0", '""', "1e300", "-0.0", "9" * 4000, '"\\ud83d\\ude00"', '"\\\\u0000"',
        "[" * 256 + "]" * 256, '["[[[["]', '{"a": "' + "[" * 1000 + '"}', "  {} \n",
    ],
)  # fmt: skip
def test_what_it_takes_is_stored_as_it_was_written(text: str) -> None:
    assert payload_of(text.encode(), JSON, ()).text == text


@pytest.mark.parametrize(
    ("content_type", "parsed"),
    [(None, True), ("", True), (JSON, True), ("Application/JSON; charset=utf-8", True),
     ("application/cloudevents+json", True), ("text/plain", False), ("application/json5", False),
     ("application/octet-stream", False)],
)  # fmt: skip
def test_the_content_type_says_whether_it_is_json(content_type: str | None, parsed: bool) -> None:
    payload = payload_of(b'{"a": 1}', content_type, ())
    assert (payload.text is not None) is parsed
    assert (payload.raw is not None) is not parsed
    assert payload.note is None


def test_an_empty_payload_is_nothing() -> None:
    assert payload_of(b"", JSON, (JsonPath.parse("$.a"),)) == Payload()


CARD = (JsonPath.parse("$.card.number"), JsonPath.parse("$.lines[*].pin"))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"card": {"number": 1, "x": 1.10}}', '{"card":{"x":1.10}}'),
        (b'{"lines": [{"pin": 1}, {"pin": 2, "n": 12345678901234567890.5}]}',
         '{"lines":[{},{"n":12345678901234567890.5}]}'),
        (b'{"card":  {}}', '{"card":  {}}'),
        (b'{"card": {"number": "\xc3\xa9", "n": "\xc3\xa9"}}', '{"card":{"n":"\\u00e9"}}'),
    ],
)  # fmt: skip
def test_what_is_redacted_is_left_out_and_the_rest_stays(data: bytes, text: str) -> None:
    assert payload_of(data, JSON, CARD).text == text


@pytest.mark.parametrize(
    ("data", "content_type"),
    [(b'{"card": {"number": 4111', JSON), (b"4111", "text/plain"), (b'"\\u0000 4111"', None)],
)
def test_what_nobody_can_look_into_is_withheld(data: bytes, content_type: str | None) -> None:
    payload = payload_of(data, content_type, CARD)
    assert (payload.text, payload.raw, payload.document) == (None, None, None)
    assert payload.sha256 == hashlib.sha256(data).digest()
    assert "withheld" in str(payload.note)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (1, "1"), (True, "true"), (False, "false"), (Number("1.50"), "1.50"),
     (None, None), ([1], None), ({}, None)],
)  # fmt: skip
def test_single_values_fill_columns(value: object, text: str | None) -> None:
    assert scalar(value) == text


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) < 1e300),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS)
def test_what_is_written_anew_means_the_same(document: object) -> None:
    text = json.dumps(document)
    try:
        _, parsed = parse(text.encode())
    except NotStorableError:
        assert "\\u0000" in text or "e-3" in text
        return
    assert json.loads(written(parsed)) == document
