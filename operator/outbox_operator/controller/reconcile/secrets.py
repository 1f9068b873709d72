"""Secrets, read by name and remembered for a short while; and what we build from them.

Secrets are never listed or watched, so the operator needs no more than `get` on them. The price
is that a rotation is noticed by the next look, at most the age of the cache later. Whoever sees a
password refused calls `forget`, and the next pass reads the Secret anew.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.postgres.url import (
    Login,
    PostgresTarget,
    chosen_keys,
    from_keys,
    resolve,
)
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.api.fields import SecretKeyRef
from outbox_operator.api.v1alpha1.common import NatsConnection, Tls, UserSecret
from outbox_operator.api.v1alpha1.database import LoginSecretRef, MigratedConnection, PostgresTls
from outbox_operator.api.v1alpha1.redis import RedisConnection
from outbox_operator.errors import CredentialsError
from outbox_operator.plan.kubernetes.runtime_config import TLS_MODES
from outbox_operator.reasons import Reason

MOST_VALUE_BYTES: Final = 256 * 1024
"""Of a key of a Secret: the bundles of public authorities take less."""
MOST_CACHED_BYTES: Final = 16 * 1024 * 1024
"""Of all Secrets that are remembered. There is no bound on how many a tenant makes."""

SHOWN_KEYS: Final = 10


class SecretSource(Protocol):
    """What reads a Secret from the API server."""

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Decoded data of a Secret, None when there is no such Secret."""


class Secrets:
    """Reads Secrets through a short-lived cache; one request at a time per Secret.

    Args:
        source: Reads them from the API server.
        clock: Monotonic seconds.
        age_seconds: How long one is remembered.
    """

    def __init__(
        self, source: SecretSource, clock: Callable[[], float], age_seconds: float
    ) -> None:
        self._source = source
        self._age_seconds = age_seconds
        self._clock = clock
        self._cache: dict[tuple[str, str], tuple[float, Mapping[str, bytes] | None]] = {}
        """From the oldest to the newest."""
        self._cached_bytes = 0
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def data(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """All keys of a Secret; None when it does not exist."""
        key = (namespace, name)
        async with self._locks.setdefault(key, asyncio.Lock()):
            cached = self._cache.get(key)
            if cached is not None and self._clock() - cached[0] < self._age_seconds:
                return cached[1]
            found = await self._source.secret(namespace, name)
            self._remember(key, found)
            return found

    def _remember(self, key: tuple[str, str], found: Mapping[str, bytes] | None) -> None:
        """Keep a Secret; the oldest ones make room for it."""
        self._drop(key)
        self._cache[key] = (self._clock(), found)
        self._cached_bytes += _size(found)
        while self._cached_bytes > MOST_CACHED_BYTES:
            self._drop(next(iter(self._cache)))

    def _drop(self, key: tuple[str, str]) -> None:
        _, data = self._cache.pop(key, (0.0, None))
        self._cached_bytes -= _size(data)

    async def value(self, namespace: str, ref: SecretKeyRef, field: str) -> bytes:
        """One key.

        Raises:
            CredentialsError: The Secret or the key is missing; names both and the spec's field.
        """
        return await self._value(namespace, ref.name, ref.key, field)

    async def _value(self, namespace: str, name: str, key: str, field: str) -> bytes:
        data = await self.data(namespace, name)
        if data is None:
            raise CredentialsError(
                f"{field}: Secret {namespace}/{name} does not exist; create it with key {key!r}",
                reason=Reason.SECRET_NOT_FOUND,
            )
        if key not in data:
            found = ", ".join(sorted(data)[:SHOWN_KEYS]) or "none"
            found += f" and {len(data) - SHOWN_KEYS} more" if len(data) > SHOWN_KEYS else ""
            raise CredentialsError(
                f"{field}: Secret {namespace}/{name} has no key {key!r} (its keys: {found})",
                reason=Reason.SECRET_KEY_NOT_FOUND,
            )
        value = data[key].strip()
        if len(value) > MOST_VALUE_BYTES:
            raise CredentialsError(
                f"{field}: key {key!r} of Secret {namespace}/{name} has {len(value)} bytes; at "
                f"most {MOST_VALUE_BYTES} are taken",
                reason=Reason.INVALID_SECRET,
            )
        if not value.isascii() and not _is_text(value):
            raise CredentialsError(
                f"{field}: key {key!r} of Secret {namespace}/{name} is not UTF-8 text",
                reason=Reason.SECRET_KEY_NOT_TEXT,
            )
        if not value:
            raise CredentialsError(
                f"{field}: key {key!r} of Secret {namespace}/{name} is empty",
                reason=Reason.SECRET_KEY_NOT_FOUND,
            )
        return value

    def forget(self, namespace: str, names: Iterable[str]) -> None:
        """Read these Secrets anew at the next look (a server refused what they hold)."""
        for name in names:
            self._drop((namespace, name))

    def sweep(self) -> None:
        """Drop what is too old to be used: Secrets do not stay in memory without need."""
        now = self._clock()
        for key, (read_at, _) in list(self._cache.items()):
            if now - read_at >= self._age_seconds:
                self._drop(key)
        for key, lock in list(self._locks.items()):
            if key not in self._cache and not lock.locked():
                del self._locks[key]

    async def checksum(self, namespace: str, refs: Iterable[tuple[str, str]]) -> str:
        """Hash over Secret keys that pods mount, so that a rotation rolls them.

        A missing key counts as missing: the pods then wait for it by themselves.
        """
        digest = hashlib.sha256()
        for name, key in sorted(set(refs)):
            data = await self.data(namespace, name) or {}
            value = data.get(key, b"<missing>")
            digest.update(f"{name}/{key}:{len(value)}:".encode() + value)
        return digest.hexdigest()[:32]

    async def digest(self, namespace: str, names: Iterable[str]) -> str:
        """Hash over all that some Secrets hold: another one means that one of them changed."""
        digest = hashlib.sha256()
        for name in sorted(names):
            data = await self.data(namespace, name)
            digest.update(f"{name}:{'-' if data is None else len(data)}:".encode())
            for key, value in sorted((data or {}).items()):
                digest.update(f"{key}:{len(value)}:".encode() + value)
        return digest.hexdigest()[:32]

    async def postgres_targets(
        self, namespace: str, connection: MigratedConnection, field: str
    ) -> tuple[PostgresTarget, PostgresTarget]:
        """The login that uses our tables, and the one that makes them.

        Args:
            namespace: Of the resource.
            connection: What it says.
            field: Where it says that, for messages.

        Raises:
            CredentialsError: Says what is missing or wrong, and shows no value.
        """
        login = _Login(connection, connection.connectionSecretRef, connection.tls)
        user = await self._target(namespace, login, field, "connectionSecretRef", "tls")
        ref, tls = connection.migrationSecretRef, connection.migrationTls
        if ref is None:
            return user, user
        name = "tls" if tls is None else "migrationTls"
        login = _Login(connection, ref, tls or connection.tls)
        return user, await self._target(namespace, login, field, "migrationSecretRef", name)

    async def _target(
        self, namespace: str, login: _Login, field: str, ref_name: str, tls_name: str
    ) -> PostgresTarget:
        where, connection, tls = f"{field}.{ref_name}", login.connection, login.tls
        said = {
            "host": connection.host,
            "port": None if connection.port is None else str(connection.port),
            "database": connection.name,
        } | await self._login(namespace, login.ref, where)
        tls_field, mode = f"{field}.{tls_name}", None
        ca = cert = private = None
        if tls is not None:
            mode = TLS_MODES[tls.mode]
            ca = await self._text(namespace, tls.caSecretRef, f"{tls_field}.caSecretRef")
            cert = await self._text(namespace, tls.certSecretRef, f"{tls_field}.certSecretRef")
            private = await self._text(namespace, tls.keySecretRef, f"{tls_field}.keySecretRef")
        try:
            target = resolve(
                Login(**said, tls_mode=mode, ca_pem=ca, cert_pem=cert, key_pem=private)
            )
        except CredentialsError as error:
            key = f", key {login.ref.key!r}" if login.ref.key else ""
            secret = f"{where}: Secret {namespace}/{login.ref.name}{key}"
            raise CredentialsError(f"{secret}: {error.message}", reason=error.reason) from None
        return target.within(namespace)

    async def _login(self, namespace: str, ref: LoginSecretRef, where: str) -> dict[str, str]:
        keys = [ref.key] if ref.key is not None else []
        if not keys:
            data = await self.data(namespace, ref.name) or {}
            # Without any: the error says that there is no Secret, or what it holds instead.
            keys = chosen_keys(data) or ["url"]
        texts = {key: (await self._value(namespace, ref.name, key, where)).decode() for key in keys}
        return {"url": texts[ref.key]} if ref.key is not None else from_keys(texts)

    async def _text(self, namespace: str, ref: SecretKeyRef | None, where: str) -> str | None:
        return None if ref is None else (await self.value(namespace, ref, where)).decode()

    async def nats_auth(self, namespace: str, nats: NatsConnection, field: str) -> NatsAuth:
        """Everything needed to log in to NATS, as pods of the namespace see it.

        Raises CredentialsError, and SpecError for a malformed URL.
        """

        def text(ref: SecretKeyRef | None, name: str) -> Awaitable[str | None]:
            return self._text(namespace, ref, f"{field}.{name}")

        username, password = await self._user(namespace, nats.userSecretRef, field)
        tls = nats.tls
        auth = NatsAuth(
            url=nats.url,
            creds=await text(nats.credentialsSecretRef, "credentialsSecretRef"),
            username=username,
            password=password,
            token=await text(nats.tokenSecretRef, "tokenSecretRef"),
            nkey_seed=await text(nats.nkeySecretRef, "nkeySecretRef"),
            ca_pem=await text(tls.caSecretRef if tls else None, "tls.caSecretRef"),
            cert_pem=await text(tls.certSecretRef if tls else None, "tls.certSecretRef"),
            key_pem=await text(tls.keySecretRef if tls else None, "tls.keySecretRef"),
            tls_handshake_first=bool(tls and tls.handshakeFirst),
            domain=nats.domain,
        )
        return auth.within(namespace)

    async def redis_login(self, namespace: str, redis: RedisConnection, field: str) -> RedisLogin:
        """As `nats_auth`, to Redis."""
        username, password = await self._user(namespace, redis.userSecretRef, field)
        tls = redis.tls
        login = RedisLogin(
            url=redis.url,
            username=username,
            password=password,
            ca_pem=await self._text(
                namespace, tls.caSecretRef if tls else None, f"{field}.tls.caSecretRef"
            ),
            cert_pem=await self._text(
                namespace, tls.certSecretRef if tls else None, f"{field}.tls.certSecretRef"
            ),
            key_pem=await self._text(
                namespace, tls.keySecretRef if tls else None, f"{field}.tls.keySecretRef"
            ),
        )
        return login.within(namespace)

    async def _user(
        self, namespace: str, user: UserSecret | None, field: str
    ) -> tuple[str | None, str | None]:
        if user is None:
            return None, None
        where = f"{field}.userSecretRef"
        username = await self._value(namespace, user.name, user.usernameKey, where)
        password = await self._value(namespace, user.name, user.passwordKey, where)
        return username.decode(), password.decode()


@dataclass(frozen=True, slots=True)
class _Login:
    connection: MigratedConnection
    ref: LoginSecretRef
    tls: PostgresTls | None


def _size(data: Mapping[str, bytes] | None) -> int:
    return sum(len(key) + len(value) for key, value in (data or {}).items())


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def database_secret_names(connection: MigratedConnection) -> set[str]:
    """Names of all Secrets that the logins to a database use."""
    refs: list[SecretKeyRef | LoginSecretRef | None] = [
        connection.connectionSecretRef,
        connection.migrationSecretRef,
    ]
    for tls in (connection.tls, connection.migrationTls):
        if tls is not None:
            refs += [tls.caSecretRef, tls.certSecretRef, tls.keySecretRef]
    return {ref.name for ref in refs if ref is not None}


def secret_names(nats: NatsConnection) -> set[str]:
    """Names of all Secrets a NATS connection uses."""
    refs: list[SecretKeyRef | None] = [
        nats.credentialsSecretRef,
        nats.tokenSecretRef,
        nats.nkeySecretRef,
    ]
    return _names(nats.userSecretRef, nats.tls, refs)


def redis_secret_names(redis: RedisConnection) -> set[str]:
    """Names of all Secrets a Redis connection uses."""
    return _names(redis.userSecretRef, redis.tls, [])


def _names(
    user: UserSecret | None, tls: Tls | None, refs: Sequence[SecretKeyRef | None]
) -> set[str]:
    of_tls = () if tls is None else (tls.caSecretRef, tls.certSecretRef, tls.keySecretRef)
    names = {ref.name for ref in (*refs, *of_tls) if ref is not None}
    return names if user is None else names | {user.name}
