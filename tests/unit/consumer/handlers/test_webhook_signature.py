"""Requests are signed as Standard Webhooks says: its library, and our page, are the judges."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from outbox_operator.consumer.handlers.webhook_signature import keys, signature_headers

PAGE = Path(__file__).parents[4] / "docs/how-to/consume-events.md"
KEY = b"0123456789abcdef01234567"
QUICK = settings(database=None, deadline=None, derandomize=True, max_examples=200)

Verifier = Callable[[dict[str, str], bytes, list[bytes]], bool]


def verifier() -> Verifier:
    """The function that the page shows to receivers."""
    [code] = [
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        if "def is_genuine" in block
    ]
    names: dict[str, Any] = {}
    exec(code, names)
    found: Verifier = names["is_genuine"]
    return found


def test_the_library_takes_it_as_the_page_shows() -> None:
    [code] = [
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        if "standardwebhooks" in block
    ]
    secret = f"whsec_{base64.b64encode(KEY).decode()}"
    names: dict[str, Any] = {"body": b"7", "headers": signature_headers("e", b"7", [KEY], now())}
    exec(code.replace("whsec_…", secret), names)
    with pytest.raises(WebhookVerificationError):
        exec(code.replace("whsec_…", secret), {**names, "body": b"8"})


def now() -> int:
    return int(time.time())


ids = st.binary(min_size=1, max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@QUICK
@given(ids, st.text(), st.lists(st.binary(min_size=1), min_size=1, max_size=3))
def test_the_library_verifies_what_we_sign(event_id: str, text: str, known: list[bytes]) -> None:
    body = text.encode()
    headers = signature_headers(event_id, body, known, now())
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    assert "." not in headers["webhook-id"]
    for key in known:
        Webhook(key).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(b"another" + known[0]).verify(body, headers, json_parse=False)
    for name in ("webhook-id", "webhook-timestamp"):
        forged = {**headers, name: headers[name] + "0"}
        with pytest.raises(WebhookVerificationError):
            Webhook(known[0]).verify(body, forged, json_parse=False)


@QUICK
@given(
    st.dictionaries(
        st.sampled_from(["webhook-id", "Webhook-Timestamp", "webhook-signature", "x"]),
        st.text() | st.sampled_from(["v1,", "v1,a b", "v1,ü", "9" * 5000, "-1", "1e9", "²"]) | ids,
    ),
    st.binary(),
)
def test_the_verifier_of_the_page_agrees_and_never_raises(
    garbage: dict[str, str], body: bytes
) -> None:
    is_genuine = verifier()
    headers = signature_headers("e-1", body, [KEY, b"old"], now())
    shouted = {name.title(): value for name, value in headers.items()}
    assert is_genuine(shouted, body, [b"unknown", KEY])
    assert is_genuine(headers, body, [b"old"])
    assert not is_genuine(headers, body + b"x", [KEY])
    assert not is_genuine({**headers, "webhook-id": "e-2"}, body, [KEY])
    assert not is_genuine(headers, body, [b"unknown"])
    assert not is_genuine(signature_headers("e-1", body, [KEY], now() - 301), body, [KEY])
    assert not is_genuine(garbage, body, [KEY])
    for name in headers:
        assert not is_genuine({k: v for k, v in headers.items() if k != name}, body, [KEY])
        changed = {**headers, **{k.lower(): v for k, v in garbage.items()}}
        assert is_genuine(changed, body, [KEY]) == all(changed[k] == headers[k] for k in headers)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"whsec_" + base64.b64encode(KEY) + b"\n", (KEY,)),
        (b"whsec_YQ", (b"a",)),
        (b"  old secret \r\n\r\nwhsec_YQ==\n", (b"old secret", b"a")),
    ],
)
def test_a_file_holds_one_key_a_line(text: bytes, wanted: tuple[bytes, ...]) -> None:
    assert keys(text) == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "it holds no key"),
        (b" \n\n", "it holds no key"),
        (b"ok\nwhsec_!", "line 2: what follows whsec_ is no base64"),
        (b"whsec_aGVs bG8=", "line 1: what follows whsec_ is no base64"),
        (b"whsec_aGVsbG8-", "line 1: what follows whsec_ is no base64"),
        (b"whsec_A", "line 1: what follows whsec_ is no base64"),
        (b"whsec_", "line 1: nothing follows whsec_"),
        (b"\x00\xff" * 16, "line 1: wanted printable ASCII"),
    ],
)
def test_what_is_no_key_is_said_without_the_key(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as raised:
        keys(text)
    assert "aGVs" not in str(raised.value)
