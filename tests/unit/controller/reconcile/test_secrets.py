"""Secrets are read by name, remembered for a while, and missing ones are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from outbox_operator.api.fields import SecretKeyRef
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.database import MigratedConnection
from outbox_operator.controller.reconcile.secrets import (
    MOST_CACHED_BYTES,
    Secrets,
    database_secret_names,
)
from outbox_operator.errors import CredentialsError


class Source:
    """Secrets in memory; counts the reads."""

    def __init__(self, data: dict[str, Mapping[str, bytes]]) -> None:
        self.data = data
        self.reads = 0

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        self.reads += 1
        return self.data.get(f"{namespace}/{name}")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


AGE = 15.0


def connection(*, key: str | None = None, **more: Any) -> MigratedConnection:
    ref = {"name": "db"} if key is None else {"name": "db", "key": key}
    return MigratedConnection.model_validate({"connectionSecretRef": ref, **more})


REF = SecretKeyRef(name="db", key="url")


async def test_reads_once_within_the_lifetime() -> None:
    source, clock = Source({"n/db": {"url": b"a\n"}}), Clock()
    secrets = Secrets(source, clock, AGE)
    assert await secrets.value("n", REF, "f") == b"a"
    source.data["n/db"] = {"url": b"b"}
    assert await secrets.value("n", REF, "f") == b"a"
    clock.now = AGE
    assert await secrets.value("n", REF, "f") == b"b"
    assert source.reads == 2


async def test_forgetting_reads_anew() -> None:
    source = Source({"n/db": {"url": b"a"}})
    secrets = Secrets(source, Clock(), AGE)
    await secrets.value("n", REF, "f")
    secrets.forget("n", ["db"])
    await secrets.value("n", REF, "f")
    assert source.reads == 2


async def test_what_is_remembered_is_bounded_however_many_there_are() -> None:
    count = 2 * MOST_CACHED_BYTES // 1_000_000
    source = Source({f"n/s{number}": {"url": bytes(1_000_000)} for number in range(count)})
    secrets = Secrets(source, Clock(), AGE)
    for number in range(count):
        await secrets.data("n", f"s{number}")
    for number in reversed(range(count)):
        await secrets.data("n", f"s{number}")
    kept = 2 * count - source.reads
    assert 0.9 < kept * 1_000_000 / MOST_CACHED_BYTES <= 1


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        ({"n/db": {"url": b"x" * 300_000}}, "InvalidSecret", ["n/db", "'url'", "300000", "262144"]),
        ({"n/db": {f"k{n}": b"" for n in range(4000)}}, "SecretKeyNotFound", ["k0", "3990 more"]),
        ({}, "SecretNotFound", ["spec.x", "n/db", "does not exist", "'url'"]),
        ({"n/db": {"uri": b"a"}}, "SecretKeyNotFound", ["spec.x", "n/db", "'url'", "uri"]),
        ({"n/db": {"url": b" \n"}}, "SecretKeyNotFound", ["spec.x", "n/db", "empty"]),
    ],
)
async def test_what_is_missing_is_named(
    data: dict[str, Mapping[str, bytes]], reason: str, words: list[str]
) -> None:
    with pytest.raises(CredentialsError) as raised:
        await Secrets(Source(data), Clock(), AGE).value("n", REF, "spec.x")
    assert raised.value.reason == reason
    for word in words:
        assert word in raised.value.message


async def test_a_bad_url_is_named_without_being_shown() -> None:
    secrets = Secrets(Source({"n/db": {"url": b"mysql://root:hunter2@h/d"}}), Clock(), AGE)
    with pytest.raises(CredentialsError) as raised:
        await secrets.postgres_targets("n", connection(key="url"), "spec.database")
    assert "spec.database.connectionSecretRef: Secret n/db, key 'url'" in raised.value.message
    assert raised.value.reason == "InvalidSecret"
    assert "hunter2" not in raised.value.message


async def test_the_checksum_follows_the_values() -> None:
    source, clock = Source({"n/db": {"url": b"a", "other": b"x"}}), Clock()
    secrets = Secrets(source, clock, AGE)
    first = await secrets.checksum("n", [("db", "url")])
    clock.now += AGE
    source.data["n/db"] = {"url": b"a", "other": b"y"}
    assert await secrets.checksum("n", [("db", "url")]) == first
    clock.now += AGE
    source.data["n/db"] = {"url": b"b", "other": b"y"}
    assert await secrets.checksum("n", [("db", "url")]) != first
    assert await secrets.checksum("n", [("db", "url"), ("gone", "k")]) != first


async def test_what_is_not_text_is_named_and_not_shown() -> None:
    secrets = Secrets(Source({"n/db": {"url": b"\xff\xfe secret"}}), Clock(), AGE)
    with pytest.raises(CredentialsError) as caught:
        await secrets.value("n", REF, "spec.x")
    assert caught.value.reason == "SecretKeyNotText"
    assert "n/db" in str(caught.value)
    assert "secret" not in str(caught.value).replace("Secret", "")


async def test_old_values_do_not_stay_in_memory() -> None:
    source, clock = Source({"n/db": {"url": b"a"}}), Clock()
    secrets = Secrets(source, clock, AGE)
    await secrets.value("n", REF, "f")
    clock.now = AGE
    secrets.sweep()
    assert not secrets._cache
    assert not secrets._locks


CNPG = {
    "username": b"app", "password": b"pw", "dbname": b"app", "host": b"shop-rw", "port": b"5432",
    "uri": b"postgresql://app:pw@shop-rw.n:5432/app", "pgpass": b"x", "jdbc-uri": b"jdbc:x",
}  # fmt: skip
"""As CloudNativePG writes it."""


@pytest.mark.parametrize(
    ("data", "more", "address", "user"),
    [
        (CNPG, {}, "shop-rw.n:5432/app", "app"),
        ({key: CNPG[key] for key in CNPG if key != "uri"}, {}, "shop-rw.n.svc:5432/app", "app"),
        # As Zalando's operator writes it: the rest is in the resource.
        (
            {"username": b"zalando", "password": b"pw"},
            {"host": "acid-shop", "port": 5433, "name": "shop"},
            "acid-shop.n.svc:5433/shop",
            "zalando",
        ),
        ({"url": b"postgresql://u:p@h.x/d", "uri": b"nonsense"}, {}, "h.x:5432/d", "u"),
    ],
)
async def test_secrets_of_database_operators_work_as_they_are(
    data: dict[str, bytes], more: dict[str, Any], address: str, user: str
) -> None:
    secrets = Secrets(Source({"n/db": data}), Clock(), AGE)
    target, owner = await secrets.postgres_targets("n", connection(**more), "spec.database")
    assert (target.address, target.user, owner) == (address, user, target)


async def test_tls_by_reference_and_another_certificate_to_migrate() -> None:
    tls = {"ca": b"CA", "crt": b"C", "key": b"K", "crt2": b"C2", "key2": b"K2"}
    url = b"postgresql://u:p@h.x/d?sslmode=disable"
    source = Source({"n/db": {"url": url}, "n/owner": {"url": url}, "n/tls": tls})
    asked = connection(
        migrationSecretRef={"name": "owner"},
        tls={
            "caSecretRef": {"name": "tls", "key": "ca"},
            "certSecretRef": {"name": "tls", "key": "crt"},
            "keySecretRef": {"name": "tls", "key": "key"},
        },
        migrationTls={
            "mode": "Require",
            "certSecretRef": {"name": "tls", "key": "crt2"},
            "keySecretRef": {"name": "tls", "key": "key2"},
        },
    )
    target, owner = await Secrets(source, Clock(), AGE).postgres_targets("n", asked, "f")
    assert (target.sslmode, target.ca_pem, target.cert_pem, target.key_pem) == (
        "verify-full", "CA", "C", "K",
    )  # fmt: skip
    assert (owner.sslmode, owner.ca_pem, owner.cert_pem) == ("require", None, "C2")
    assert database_secret_names(asked) == {"db", "owner", "tls"}


async def test_a_missing_certificate_is_named() -> None:
    source = Source({"n/db": {"url": b"postgresql://u:p@h.x/d"}})
    asked = connection(tls={"caSecretRef": {"name": "ca", "key": "ca.crt"}})
    with pytest.raises(CredentialsError, match=r"f\.tls\.caSecretRef: Secret n/ca does not exist"):
        await Secrets(source, Clock(), AGE).postgres_targets("n", asked, "f")


async def test_a_secret_without_any_login_says_what_it_holds() -> None:
    source = Source({"n/db": {"token": b"x"}})
    with pytest.raises(CredentialsError, match=r"no key 'url' \(its keys: token\)"):
        await Secrets(source, Clock(), AGE).postgres_targets("n", connection(), "f")


async def test_a_bare_host_of_nats_is_looked_for_in_the_tenants_namespace() -> None:
    """Two tenants may name it alike: they share no connection."""
    secrets = Secrets(Source({}), Clock(), AGE)
    nats = NatsConnection(url="nats://nats:4222")
    found = [await secrets.nats_auth(name, nats, "spec.nats") for name in ("shop", "other")]
    assert [auth.url for auth in found] == [
        "nats://nats.shop.svc:4222",
        "nats://nats.other.svc:4222",
    ]
