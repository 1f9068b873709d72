"""Who asks, by the token that comes along: a JWT that the issuer has signed. Reads the
clock and nothing else.

Only algorithms with a pair of keys: whoever verifies a token cannot make one. The header of a
token says nothing but which of the issuer's keys to try.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from outbox_operator.archive.api.asking import is_storable
from outbox_operator.archive.api.problems import ProblemError, forbidden, shown, unauthorized
from outbox_operator.wire.archive_api import JwtConfig

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")
EVENTS_READ: Final = "events:read"
EVENTS_EXPORT: Final = "events:export"
REPORTS_READ: Final = "reports:read"
PAYLOAD_READ: Final = "payload:read"
TENANTS_ALL: Final = "tenants:all"
SCOPES: Final = {
    EVENTS_READ: "look events up",
    EVENTS_EXPORT: "export them",
    REPORTS_READ: "read reports",
    PAYLOAD_READ: "see payloads",
    TENANTS_ALL: "see the events of every tenant, where there are several",
}
MOST_BYTES: Final = 16 * 1024
"""Of a token."""
_MOST_CLAIM: Final = 256
"""Characters of a claim that is used."""
_MOST_SCOPES: Final = 256
_SMALLEST_RSA: Final = 2048


class Keys(Protocol):
    """The issuer's keys."""

    async def find(self, kid: str) -> Mapping[str, Any] | None:
        """The key of that name, as a JWK; None: the issuer has none, even asked again.

        Raises:
            OutboxError: The issuer's keys are not known.
        """


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        subject: `sub` of the token.
        tenant: Whose events may be seen; None: all.
        scopes: What may be done.
        token_id: `jti` of the token.
    """

    subject: str
    tenant: str | None
    scopes: frozenset[str]
    token_id: str | None

    def needs(self, scope: str) -> None:
        """Refuse who may not do this. Raises ProblemError."""
        if scope not in self.scopes:
            held = " ".join(sorted(self.scopes & SCOPES.keys()))
            raise forbidden(scope, held or "none that is known here")

    @property
    def sees_payload(self) -> bool:
        """Whether payloads may be seen."""
        return PAYLOAD_READ in self.scopes


async def verify(
    authorization: str | None, keys: Keys, config: JwtConfig, *, tenants: bool
) -> Caller:
    """Who has sent this `Authorization` header.

    Args:
        authorization: The header.
        keys: Of the issuer.
        config: Which tokens are believed.
        tenants: Whether a token has to say whose events it is about.

    Raises:
        ProblemError: Nobody who is believed; says why, and nothing of the token.
        OutboxError: The issuer's keys are not known.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized("wanted a header Authorization: Bearer <token>, found none")
    if len(token) > MOST_BYTES:
        raise unauthorized(f"the token is over {MOST_BYTES} bytes")
    claims = _verified(token, *await _key(token, keys), config)
    return _caller(claims, config, tenants=tenants)


async def _key(token: str, keys: Keys) -> tuple[str, Any]:
    """The algorithm and the key that a token says it was signed with, if both may be."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise unauthorized("the token is no JWT") from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise unauthorized(f"the token's alg: wanted one of {', '.join(ALGORITHMS)}")
    if not isinstance(kid, str) or not 0 < len(kid) <= _MOST_CLAIM:
        raise unauthorized("the token's kid: wanted the name of a key of the issuer")
    document = await keys.find(kid)
    if document is None:
        raise unauthorized("the token's kid: the issuer has no key of that name")
    if document.get("alg", algorithm) != algorithm:
        raise unauthorized("the token's alg is not that of the issuer's key")
    try:
        key = jwt.PyJWK.from_dict(dict(document), algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise unauthorized("the token's alg does not fit the issuer's key") from error
    if isinstance(key, RSAPublicKey) and key.key_size < _SMALLEST_RSA:
        raise unauthorized(f"the issuer's key has less than {_SMALLEST_RSA} bits")
    return algorithm, key


def _verified(token: str, algorithm: str, key: Any, config: JwtConfig) -> dict[str, Any]:
    try:
        found: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=config.audience,
            issuer=config.issuer,
            leeway=config.leeway_seconds,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except jwt.PyJWTError as error:
        raise _refused(error, config) from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise unauthorized("the token holds values that nobody understands") from error
    return found


def _refused(error: jwt.PyJWTError, config: JwtConfig) -> ProblemError:
    match error:
        case jwt.ExpiredSignatureError():
            return unauthorized("the token has expired; get another one")
        case jwt.ImmatureSignatureError():
            return unauthorized("the token is not valid yet; are the clocks the same?")
        case jwt.InvalidAudienceError():
            return unauthorized(f"the token's aud: wanted {config.audience}")
        case jwt.InvalidIssuerError():
            return unauthorized(f"the token's iss: wanted {config.issuer}")
        case jwt.MissingRequiredClaimError():
            return unauthorized(f"the token's {error.claim}: wanted one, found none")
        case jwt.InvalidSignatureError():
            return unauthorized("the token's signature is not the issuer's")
        case _:
            return unauthorized("the token is not valid")


def _caller(claims: Mapping[str, Any], config: JwtConfig, *, tenants: bool) -> Caller:
    subject = _text(claims, "sub")
    if subject is None:
        raise unauthorized("the token's sub: wanted who it is for")
    scopes = _scopes(claims)
    tenant = None
    if tenants and (config.tenant_claim in claims or TENANTS_ALL not in scopes):
        # Who may see all and names a tenant sees that one.
        tenant = _text(claims, config.tenant_claim)
        if tenant is None:
            raise forbidden(
                "a text, whose events it is about", shown(claims.get(config.tenant_claim)),
                claim=config.tenant_claim,
            )  # fmt: skip
    return Caller(subject, tenant, scopes, _text(claims, "jti"))


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    found = claims.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= _MOST_CLAIM or not is_storable(found):
        return None
    return found


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    found = claims.get("scope", claims.get("scp", ()))
    names = found.split(" ") if isinstance(found, str) else found
    if not isinstance(names, list | tuple) or len(names) > _MOST_SCOPES:
        return frozenset()
    return frozenset(one for one in names if isinstance(one, str))
