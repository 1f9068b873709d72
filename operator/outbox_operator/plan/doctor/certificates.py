"""When certificates and NATS credentials end. Pure.

Reads the date and nothing else, and decides nothing: whether one is taken, servers and TLS
libraries say.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_MOST: Final = 200
"""Certificates of a bundle that are looked at."""
_SEQUENCE: Final = 0x30
_EXPLICIT_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18


def end_of_pem(text: str) -> datetime | None:
    """When the first of the certificates in a PEM text ends; None: none can be read.

    Of a bundle of authorities the last end counts instead, see `last_end_of_pem`.
    """
    return min(_ends(text), default=None)


def last_end_of_pem(text: str) -> datetime | None:
    """When the last of the certificates in a PEM text ends; until then one may be in use."""
    return max(_ends(text), default=None)


def _ends(text: str) -> Iterator[datetime]:
    for number, piece in enumerate(text.split(_BEGIN)[1:]):
        if number == _MOST:
            return
        try:
            der = base64.b64decode(piece.partition(_END)[0])
        except binascii.Error:
            continue
        end = end_of_der(der)
        if end is not None:
            yield end


def end_of_der(der: bytes) -> datetime | None:
    """When an X.509 certificate ends; None: it is none."""
    try:
        body, _, _ = _element(der, 0)  # Certificate
        tbs, _, _ = _element(body, 0)  # TBSCertificate
        at = 0
        if tbs[0] == _EXPLICIT_VERSION:
            _, at, _ = _element(tbs, at)
        for _ in range(3):  # serial number, signature algorithm, issuer
            _, at, _ = _element(tbs, at)
        validity, _, tag = _element(tbs, at)
        if tag != _SEQUENCE:
            return None
        _, at, _ = _element(validity, 0)  # not before
        text, _, tag = _element(validity, at)
        return _moment(text.decode("ascii"), tag)
    except (IndexError, ValueError):
        return None


def _element(data: bytes, at: int) -> tuple[bytes, int, int]:
    """Content of the DER element there, where the next one begins, and its tag."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        many = length & 0x7F
        length, start = int.from_bytes(data[start : start + many], "big"), start + many
    if start + length > len(data):
        raise ValueError
    return data[start : start + length], start + length, tag


def _moment(text: str, tag: int) -> datetime | None:
    if tag == _UTC_TIME:  # two digits of a year, of 1950 to 2049
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        return None
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def end_of_credentials(creds: str) -> datetime | None:
    """When the user JWT of a `.creds` file ends; None: never, or it cannot be read."""
    _, _, rest = creds.partition("BEGIN NATS USER JWT")
    token = "".join(rest.partition("END NATS USER JWT")[0].strip("- \r\n").split())
    try:
        claims = token.split(".")[1]
        document = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        expires = document.get("exp")
        if not isinstance(expires, int) or not expires:
            return None
        return datetime.fromtimestamp(expires, UTC)
    except (IndexError, ValueError, AttributeError, OverflowError, OSError, RecursionError):
        return None
