"""An issuer of tokens with real keys, and the file or server that it publishes them by."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://login.example"
AUDIENCE = "archive"
EVERYTHING = "events:read events:export reports:read payload:read"
_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
"""Of all issuers: to make one takes a tenth of a second."""


class Issuer:
    """Signs tokens, and publishes its public keys in a file.

    Attributes:
        path: The file.
        rsa: Its private key of the name `rsa`; there are `ec` and `ed` too.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jwks.json"
        self.rsa = _RSA
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()
        self.publish()

    def jwks(self) -> dict[str, Any]:
        """Its public keys."""
        documents = {
            "rsa": RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True),
            "ec": ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True),
            "ed": OKPAlgorithm.to_jwk(self.ed.public_key(), as_dict=True),
        }
        return {"keys": [{**one, "kid": name, "use": "sig"} for name, one in documents.items()]}

    def publish(self) -> None:
        """Write its public keys."""
        self.path.write_text(json.dumps(self.jwks()))

    def token(
        self,
        scope: str | None = EVERYTHING,
        *,
        algorithm: str = "EdDSA",
        kid: str | None = "ed",
        key: Any = None,
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token; a claim of None is left out."""
        now = time.time()
        said = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 600,
            "scope": scope, **claims,
        }  # fmt: skip
        return jwt.encode(
            {name: value for name, value in said.items() if value is not None},
            self.ed if key is None else key,
            algorithm=algorithm,
            headers={**({} if kid is None else {"kid": kid}), **(headers or {})},
        )
