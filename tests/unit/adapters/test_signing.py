"""Keys in PEM, and what they sign."""

from __future__ import annotations

import pytest

from outbox_operator.adapters.signing import public_key, signer
from outbox_operator.errors import CredentialsError
from outbox_operator.reasons import Reason

# RFC 8410, 10.3: the key of its example.
PRIVATE = """
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
"""
PUBLIC = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----"""


def test_what_one_signs_the_other_verifies() -> None:
    private, public = signer(PRIVATE, "key"), public_key(PUBLIC, "pub")
    assert private.public.fingerprint == public.fingerprint == public_key(PRIVATE, "x").fingerprint
    signature = private.sign(b"a")
    assert public.verifies(b"a", signature)
    assert not public.verifies(b"b", signature)
    assert not public.verifies(b"a", signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not public.verifies(b"a", b"short")


@pytest.mark.parametrize(
    ("pem", "found"),
    [
        ("", "something else"),
        ("secret words", "something else"),
        (PRIVATE.replace("PRIVATE", "RSA PRIVATE"), "something else"),
        (PRIVATE.replace("MC4C", "MC4D"), "a key of another kind"),
        (PRIVATE.replace("EdVhC", ""), "no base64|a key of another kind"),
        (PRIVATE.replace("MC4C", "=!"), "no base64"),
        (PUBLIC, "a public key"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(pem: str, found: str) -> None:
    with pytest.raises(
        CredentialsError, match=f"^key: wanted an Ed25519 key in PEM.*{found}"
    ) as no:
        signer(pem, "key")
    assert no.value.reason == Reason.INVALID_SECRET
    assert "MC4" not in no.value.message
    assert "secret" not in no.value.message
