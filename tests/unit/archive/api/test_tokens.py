"""Which tokens are believed: a table of those that are, and of every way in that is known."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from outbox_operator.archive.api.problems import ProblemError
from outbox_operator.archive.api.tokens import Caller, verify
from outbox_operator.wire.archive_api import JwtConfig
from support.tokens import AUDIENCE, ISSUER, Issuer

CONFIG = JwtConfig(issuer=ISSUER, audience=AUDIENCE, jwks_file="jwks.json", leeway_seconds=5.0)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(Path(tmp_path_factory.mktemp("issuer")))


class _Keys:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self.by_name = {one["kid"]: one for one in document["keys"]}

    async def find(self, kid: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self.by_name.get(kid)
        return found


async def _caller(token: str, issuer: Issuer, *, tenants: bool = False) -> Caller:
    return await verify(f"Bearer {token}", _Keys(issuer.jwks()), CONFIG, tenants=tenants)


def _b64(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _claims(**more: object) -> dict[str, object]:
    return {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 600,
        "scope": "events:read", **more,
    }  # fmt: skip


def _unsigned(alg: str, signature: str = "") -> str:
    return f"{_b64({'alg': alg, 'kid': 'rsa', 'typ': 'JWT'})}.{_b64(_claims())}.{signature}"


def _hs_with_public_key(issuer: Issuer) -> str:
    """The oldest trick: the public key, which everybody has, as the secret of an HMAC."""
    secret = issuer.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = f"{_b64({'alg': 'HS256', 'kid': 'rsa', 'typ': 'JWT'})}.{_b64(_claims())}"
    return f"{body}.{_b64(hmac.digest(secret, body.encode(), hashlib.sha256))}"


def _with_payload_of_another(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    return f"{head}.{_b64(_claims(sub='root'))}.{signature}"


GOOD: dict[str, Callable[[Issuer], str]] = {
    "RS256": lambda i: i.token(algorithm="RS256", kid="rsa", key=i.rsa),
    "RS512": lambda i: i.token(algorithm="RS512", kid="rsa", key=i.rsa),
    "ES256": lambda i: i.token(algorithm="ES256", kid="ec", key=i.ec),
    "EdDSA": lambda i: i.token(),
    "several audiences": lambda i: i.token(aud=["other", AUDIENCE]),
    "a clock that is a little ahead": lambda i: i.token(nbf=time.time() + 2),
    "just expired, within the leeway": lambda i: i.token(exp=time.time() - 1),
    "scopes as a list": lambda i: i.token(None, scp=["events:read"]),
}
BAD: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "nothing": (lambda i: "", "Authorization"),
    "no JWT": (lambda i: "abc", "no JWT"),
    "dots": (lambda i: "..", "no JWT"),
    "no JSON": (lambda i: f"{_b64(b'{')}.{_b64(b'{')}.x", "no JWT"),
    "a header that is a list": (lambda i: f"{_b64([])}.{_b64({})}.x", "no JWT"),
    "alg none": (lambda i: _unsigned("none"), "alg"),
    "alg nOnE": (lambda i: _unsigned("nOnE"), "alg"),
    "alg none with a signature": (lambda i: _unsigned("none", "eA"), "alg"),
    "HS256 with the public key": (_hs_with_public_key, "alg"),
    "HS256 with a secret": (
        lambda i: i.token(algorithm="HS256", kid="rsa", key="s" * 64), "alg"),
    "PS256": (lambda i: i.token(algorithm="PS256", kid="rsa", key=i.rsa), "alg"),
    "an alg that the key is not for": (
        lambda i: i.token(algorithm="ES256", kid="rsa", key=i.ec), "does not fit"),
    "another curve": (
        lambda i: i.token(algorithm="ES384", kid="ec", key=ec.generate_private_key(ec.SECP384R1())),
        ""),
    "somebody's own key": (
        lambda i: i.token(key=ed25519.Ed25519PrivateKey.generate()), "signature"),
    "a key in the header": (
        lambda i: i.token(
            algorithm="RS256", kid="rsa",
            key=(own := rsa.generate_private_key(public_exponent=65537, key_size=2048)),
            headers={"jwk": RSAAlgorithm.to_jwk(own.public_key(), as_dict=True)}),
        "signature"),
    "an address of keys in the header": (
        lambda i: i.token(key=ed25519.Ed25519PrivateKey.generate(),
                          headers={"jku": "https://evil.example/jwks"}), "signature"),
    "extensions": (lambda i: i.token(headers={"crit": ["exp"], "exp": 1}), "no JWT"),
    "another payload": (_with_payload_of_another, "signature"),
    "no signature": (lambda i: i.token().rpartition(".")[0] + ".", "signature"),
    "an unknown kid": (lambda i: i.token(kid="new"), "no key of that name"),
    "no kid": (lambda i: i.token(kid=None), "kid"),
    "a huge kid": (lambda i: i.token(kid="k" * 1000), "kid"),
    "a wrong issuer": (lambda i: i.token(iss="https://evil.example"), "iss"),
    "no issuer": (lambda i: i.token(iss=None), "iss"),
    "a wrong audience": (lambda i: i.token(aud="other"), "aud"),
    "no audience": (lambda i: i.token(aud=None), "aud"),
    "expired": (lambda i: i.token(exp=time.time() - 60), "expired"),
    "for ever": (lambda i: i.token(exp=None), "exp"),
    "not valid yet": (lambda i: i.token(nbf=time.time() + 60), "not valid yet"),
    "made in the future": (lambda i: i.token(iat=time.time() + 60), "not valid yet"),
    "an end that is no number": (lambda i: i.token(exp="soon"), ""),
    "an end beyond all": (lambda i: i.token(exp=1e400), ""),
    "for nobody": (lambda i: i.token(sub=None), "sub"),
    "for a NUL": (lambda i: i.token(sub="a\0"), "sub"),
    "huge": (lambda i: i.token(more="x" * 20_000), "bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
async def test_believed(name: str, issuer: Issuer) -> None:
    caller = await _caller(GOOD[name](issuer), issuer)
    assert caller.subject == "ann"
    caller.needs("events:read")


@pytest.mark.parametrize("name", BAD)
async def test_not_believed(name: str, issuer: Issuer) -> None:
    make, said = BAD[name]
    with pytest.raises(ProblemError) as refused:
        await _caller(make(issuer), issuer)
    assert refused.value.status == 401
    assert said in refused.value.detail
    assert ("WWW-Authenticate", "Bearer") in refused.value.headers


async def test_small_keys_are_refused_and_so_is_an_alg_that_is_not_the_keys(issuer: Issuer) -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    document = RSAAlgorithm.to_jwk(small.public_key(), as_dict=True)
    keys = _Keys({"keys": [{**document, "kid": "small"}]})
    token = f"Bearer {_signed_small(issuer, small)}"
    with pytest.raises(ProblemError, match="2048"):
        await verify(token, keys, CONFIG, tenants=False)
    bound = _Keys(issuer.jwks())
    bound.by_name["rsa"] = {**bound.by_name["rsa"], "alg": "RS512"}
    token = issuer.token(algorithm="RS256", kid="rsa", key=issuer.rsa)
    with pytest.raises(ProblemError, match="not that of the issuer's key"):
        await verify(f"Bearer {token}", bound, CONFIG, tenants=False)


def _signed_small(issuer: Issuer, key: rsa.RSAPrivateKey) -> str:
    body = f"{_b64({'alg': 'RS256', 'kid': 'small'})}.{_b64(_claims())}"
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    return f"{body}.{_b64(key.sign(body.encode(), PKCS1v15(), SHA256()))}"


TENANTS: dict[str, tuple[dict[str, Any], str | type[Exception] | None]] = {
    "of a tenant": ({"tenant": "acme"}, "acme"),
    "of none": ({}, ProblemError),
    "of an empty one": ({"tenant": ""}, ProblemError),
    "of a list": ({"tenant": ["acme"]}, ProblemError),
    "of a number": ({"tenant": 7}, ProblemError),
    "of a NUL": ({"tenant": "a\0b"}, ProblemError),
    "of a long one": ({"tenant": "t" * 300}, ProblemError),
    "of all": ({"scope": "tenants:all"}, None),
    "of all, but of one now": ({"scope": "tenants:all", "tenant": "acme"}, "acme"),
    "of all, and of what is none": ({"scope": "tenants:all", "tenant": None}, None),
}


@pytest.mark.parametrize("name", TENANTS)
async def test_whose_events_a_token_is_about(name: str, issuer: Issuer) -> None:
    claims, expected = TENANTS[name]
    token = issuer.token(**claims)
    if expected is ProblemError:
        with pytest.raises(ProblemError) as refused:
            await _caller(token, issuer, tenants=True)
        assert refused.value.status == 403
    else:
        assert (await _caller(token, issuer, tenants=True)).tenant == expected
    assert (await _caller(token, issuer)).tenant is None


async def test_a_scope_is_named_that_is_lacking(issuer: Issuer) -> None:
    caller = await _caller(issuer.token("events:readx openid reports:read"), issuer)
    with pytest.raises(ProblemError, match="wanted events:read, found reports:read"):
        caller.needs("events:read")
    assert not caller.sees_payload
