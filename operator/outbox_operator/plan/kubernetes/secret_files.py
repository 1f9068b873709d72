"""Which keys of which Secrets a pod needs and where it finds them. Pure: references, no values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from outbox_operator.api.v1alpha1.archive import ArchiveHandler
from outbox_operator.api.v1alpha1.common import NatsConnection, UserSecret
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.api.v1alpha1.database import PostgresConnection
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec
from outbox_operator.api.v1alpha1.redis import RedisConnection
from outbox_operator.plan.archives import api_login, api_of, archive_of
from outbox_operator.wire.config import SECRETS_MOUNT

DATABASE: Final = "database"
INBOX: Final = "inbox"
ARCHIVE: Final = "archive"
ARCHIVE_API: Final = "archive-api"
BACKFILL: Final = "backfill"
"""Directories of a login: the files in them are named as in a Secret, see `_login`."""
_LOGIN_KEYS: Final = ("url", "uri", "host", "port", "dbname", "username", "password")
HTTP_TOKEN: Final = "http/token"  # noqa: S105 - a path
HTTP_SIGNING_KEY: Final = "http/signing-key"
HTTP_CA: Final = "http/ca.crt"
JWKS: Final = "jwks/keys.json"

Broker = NatsConnection | RedisConnection
"""Where events are."""


@dataclass(frozen=True, slots=True, order=True)
class SecretFile:
    """One key of a Secret that a pod finds as a file.

    Attributes:
        path: File below SECRETS_MOUNT; says what it is for (`database/url`).
        secret: Name of the Secret.
        key: Key in its data.
        optional: The pod starts without it.
    """

    path: str
    secret: str
    key: str
    optional: bool = False

    @property
    def file(self) -> str:
        """Where the file is in the pod."""
        return f"{SECRETS_MOUNT}/{self.path}"


def nats_files(connection: NatsConnection) -> tuple[SecretFile, ...]:
    """What it takes to log in to NATS."""
    tls = connection.tls
    refs = {
        "nats/creds": connection.credentialsSecretRef,
        "nats/token": connection.tokenSecretRef,
        "nats/nkey": connection.nkeySecretRef,
        "nats/ca.crt": tls.caSecretRef if tls else None,
        "nats/tls.crt": tls.certSecretRef if tls else None,
        "nats/tls.key": tls.keySecretRef if tls else None,
    }
    files = [SecretFile(path, ref.name, ref.key) for path, ref in refs.items() if ref is not None]
    return tuple(sorted([*files, *_user("nats", connection.userSecretRef)]))


def redis_files(connection: RedisConnection) -> tuple[SecretFile, ...]:
    """What it takes to log in to Redis."""
    tls = connection.tls
    refs = {
        "redis/ca.crt": tls.caSecretRef if tls else None,
        "redis/tls.crt": tls.certSecretRef if tls else None,
        "redis/tls.key": tls.keySecretRef if tls else None,
    }
    files = [SecretFile(path, ref.name, ref.key) for path, ref in refs.items() if ref is not None]
    return tuple(sorted([*files, *_user("redis", connection.userSecretRef)]))


def broker_files(connection: Broker) -> tuple[SecretFile, ...]:
    """What it takes to log in to where events are."""
    if isinstance(connection, RedisConnection):
        return redis_files(connection)
    return nats_files(connection)


def _user(directory: str, user: UserSecret | None) -> list[SecretFile]:
    if user is None:
        return []
    return [
        SecretFile(f"{directory}/username", user.name, user.usernameKey),
        SecretFile(f"{directory}/password", user.name, user.passwordKey),
    ]


def relay_files(spec: OutboxPipelineSpec) -> tuple[SecretFile, ...]:
    """What a relay pod needs: its database, and NATS or Redis."""
    return (*_login(DATABASE, spec.database), *broker_files(spec.redis or spec.jetstream))


def consumer_files(spec: EventConsumerSpec, broker: Broker) -> tuple[SecretFile, ...]:
    """What a consumer pod needs: the handler's database with an inbox, its endpoint's, NATS or
    Redis."""
    http = spec.handler.http if spec.handler else None
    refs = {
        HTTP_TOKEN: http.bearerTokenSecretRef if http else None,
        HTTP_SIGNING_KEY: http.signingSecretRef if http else None,
        HTTP_CA: http.caSecretRef if http else None,
    }
    files = [SecretFile(path, ref.name, ref.key) for path, ref in refs.items() if ref is not None]
    return (*consumer_login_files(spec, broker), *files)


def consumer_login_files(spec: EventConsumerSpec, broker: Broker) -> tuple[SecretFile, ...]:
    """What of it decides where the pod is at work: the handler's or archive's database, NATS or
    Redis."""
    archive = spec.handler.archive if spec.handler else None
    login = _login(INBOX, spec.inbox) if spec.inbox else ()
    # Not that of the role that makes tables: a pod that writes need not be able to drop them.
    of_archive = archive_files(archive) if archive else ()
    if archive is not None and archive.backfill is not None:
        # The stream is archived all the same when it is not there.
        of_outbox = _login(BACKFILL, archive.backfill)
        of_archive += tuple(replace(file, optional=True) for file in of_outbox)
    return (*login, *of_archive, *broker_files(broker))


def archive_files(archive: ArchiveHandler) -> tuple[SecretFile, ...]:
    """What it takes to log in to an archive as what writes it does."""
    return _login(ARCHIVE, archive)


def archive_api_files(spec: EventConsumerSpec) -> tuple[SecretFile, ...]:
    """What a pod needs that answers questions about an archive: a login that reads, and keys."""
    archive, api = archive_of(spec), api_of(spec)
    if archive is None or api is None:
        return ()
    ref = api.jwt.jwksSecretRef
    keys = () if ref is None else (SecretFile(JWKS, ref.name, ref.key),)
    return (*_login(ARCHIVE_API, api_login(archive, api)), *keys)


def _login(directory: str, connection: PostgresConnection) -> tuple[SecretFile, ...]:
    """What it takes to log in to a database.

    Without a key nobody knows which form the Secret has before it is read, and it may change:
    whatever is there of it is mounted, and the process makes of it what the operator does.
    """
    ref, tls = connection.connectionSecretRef, connection.tls
    keys = _LOGIN_KEYS if ref.key is None else ()
    files = [SecretFile(f"{directory}/{key}", ref.name, key, optional=True) for key in keys]
    if ref.key is not None:
        files.append(SecretFile(f"{directory}/url", ref.name, ref.key))
    refs = {
        "ca.crt": tls.caSecretRef if tls else None,
        "tls.crt": tls.certSecretRef if tls else None,
        "tls.key": tls.keySecretRef if tls else None,
    }
    files += [
        SecretFile(f"{directory}/{path}", found.name, found.key)
        for path, found in refs.items()
        if found is not None
    ]
    return tuple(files)


def secret_refs(files: Iterable[SecretFile]) -> tuple[tuple[str, str], ...]:
    """The Secrets and keys behind files, as (name, key), each once, sorted."""
    return tuple(sorted({(file.secret, file.key) for file in files}))


def volume(files: Iterable[SecretFile]) -> dict[str, Any]:
    """Source of a volume that holds just these keys.

    A Secret or key that is missing keeps the pod from starting, unless it is optional, and the
    kubelet says which.
    """
    items: dict[tuple[str, bool], list[dict[str, str]]] = {}
    for file in sorted(files):
        found = items.setdefault((file.secret, file.optional), [])
        found.append({"key": file.key, "path": file.path})
    return {
        "projected": {
            # Read by the pod's group, never by others; the owner of the files is root.
            "defaultMode": 0o440,
            "sources": [
                {"secret": {"name": name, "items": keys} | ({"optional": True} if optional else {})}
                for (name, optional), keys in sorted(items.items())
            ],
        }
    }
