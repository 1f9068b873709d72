"""Secrets are read by name, remembered for a while, and missing ones are named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from outbox_operator.api.fields import SecretKeyRef
from outbox_operator.controller.reconcile.secrets import Secrets
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


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
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
        await secrets.postgres_target("n", REF, "spec.database.connectionSecretRef")
    assert "n/db" in raised.value.message
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
