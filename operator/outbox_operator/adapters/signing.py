"""Ed25519: signatures of seals, by a private key in PEM, and their check by the public one.

`openssl genpkey -algorithm ed25519` makes the one, `openssl pkey -pubout` the other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from outbox_operator.errors import CredentialsError
from outbox_operator.reasons import Reason

_KEY_BYTES: Final = 32
_FORMS: Final = {
    # RFC 8410: all that stands before the key is the same for every key.
    "PRIVATE KEY": bytes.fromhex("302e020100300506032b657004220420"),
    "PUBLIC KEY": bytes.fromhex("302a300506032b6570032100"),
}
_MOST_CHARACTERS: Final = 4096


class PublicKey:
    """Checks signatures.

    Attributes:
        fingerprint: First half of the SHA-256 of the key, in hexadecimal.
    """

    def __init__(self, key: VerifyKey) -> None:
        self._key = key
        self.fingerprint = hashlib.sha256(bytes(key)).hexdigest()[:32]

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether a signature is of this text, by this key."""
        try:
            self._key.verify(text, signature)
        except (BadSignatureError, ValueError):
            return False
        return True


class Signer:
    """Signs."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.public = PublicKey(key.verify_key)

    def sign(self, text: bytes) -> bytes:
        """The signature of a text: 64 bytes."""
        return self._key.sign(text).signature


def signer(pem: str, where: str) -> Signer:
    """From a private key in PEM.

    Args:
        pem: The text.
        where: Names it in messages, which never show it.

    Raises:
        CredentialsError: It is none (reason InvalidSecret).
    """
    kind, key = _read(pem, where)
    if kind != "PRIVATE KEY":
        raise _refused(where, "a public key")
    return Signer(SigningKey(key))


def public_key(pem: str, where: str) -> PublicKey:
    """From a public key in PEM, or the private one that it belongs to.

    Raises:
        CredentialsError: It is neither (reason InvalidSecret).
    """
    kind, key = _read(pem, where)
    return PublicKey(SigningKey(key).verify_key if kind == "PRIVATE KEY" else VerifyKey(key))


def _read(pem: str, where: str) -> tuple[str, bytes]:
    text = pem.strip()
    for kind, prefix in _FORMS.items():
        head, foot = f"-----BEGIN {kind}-----", f"-----END {kind}-----"
        if not (text.startswith(head) and text.endswith(foot) and len(text) < _MOST_CHARACTERS):
            continue
        body = "".join(text.removeprefix(head).removesuffix(foot).split())
        try:
            der = base64.b64decode(body, validate=True)
        except binascii.Error:
            raise _refused(where, "no base64 between its first and last line") from None
        if der.startswith(prefix) and len(der) == len(prefix) + _KEY_BYTES:
            return kind, der[len(prefix) :]
        raise _refused(where, "a key of another kind")
    raise _refused(where, "something else")


def _refused(where: str, found: str) -> CredentialsError:
    return CredentialsError(
        f"{where}: wanted an Ed25519 key in PEM (openssl genpkey -algorithm ed25519), "
        f"found {found}",
        reason=Reason.INVALID_SECRET,
    )
