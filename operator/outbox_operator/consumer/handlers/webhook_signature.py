"""Sign requests as Standard Webhooks says, so that receivers can use its libraries. Pure.

https://www.standardwebhooks.com: HMAC-SHA256 over id, time and body, with the keys of both sides
while one takes the other's place.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from outbox_operator.wire.headers import encode_value

HEADER_PREFIX: Final = "webhook-"
"""Lower-cased; an event must not set such headers for the endpoint."""

_KEY_PREFIX: Final = "whsec_"


def keys(text: bytes) -> tuple[bytes, ...]:
    """Read the keys in a file: one a line, `whsec_` and base64, or any other text as it is.

    Raises:
        ValueError: There is none, or it is none; says which line, and nothing of the key.
    """
    found: list[bytes] = []
    for number, line in enumerate(text.splitlines(), 1):
        key = line.strip()
        if not key:
            continue
        if not (key.isascii() and key.decode("ascii").isprintable()):
            raise ValueError(
                f"line {number}: wanted printable ASCII, found other bytes; write random ones as "
                f"{_KEY_PREFIX} and base64"
            )
        if key.startswith(_KEY_PREFIX.encode()):
            try:
                coded = key[len(_KEY_PREFIX) :].rstrip(b"=")
                key = base64.b64decode(coded + b"=" * (-len(coded) % 4), validate=True)
            except binascii.Error:
                raise ValueError(
                    f"line {number}: what follows {_KEY_PREFIX} is no base64"
                ) from None
            if not key:
                raise ValueError(f"line {number}: nothing follows {_KEY_PREFIX}")
        found.append(key)
    if not found:
        raise ValueError("it holds no key")
    return tuple(found)


def signature_headers(
    event_id: str, body: bytes, signing_keys: Sequence[bytes], moment: int
) -> dict[str, str]:
    """Make the headers of a signed request.

    Args:
        event_id: Stays the same when the event is sent again.
        body: The request's.
        signing_keys: What both sides know; a receiver that knows one of them is content.
        moment: Seconds since 1970; the receiver refuses old ones, so that nobody sends it again.
    """
    # Without full stops, which separate what is signed.
    name = encode_value(event_id).replace(".", "%2E")
    signed = f"{name}.{moment}.".encode() + body
    signatures = (
        base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for key in signing_keys
    )
    return {
        "webhook-id": name,
        "webhook-timestamp": str(moment),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
