"""Which keys of which Secrets a pod needs and where it finds them. Pure: references, no values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec
from outbox_operator.wire.config import SECRETS_MOUNT

INBOX_URL: Final = "inbox/url"
HTTP_TOKEN: Final = "http/token"  # noqa: S105 - a path
HTTP_SIGNING_KEY: Final = "http/signing-key"
HTTP_CA: Final = "http/ca.crt"


@dataclass(frozen=True, slots=True, order=True)
class SecretFile:
    """One key of a Secret that a pod finds as a file.

    Attributes:
        path: File below SECRETS_MOUNT; says what it is for (`database/url`).
        secret: Name of the Secret.
        key: Key in its data.
    """

    path: str
    secret: str
    key: str

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
    user = connection.userSecretRef
    if user is not None:
        files.append(SecretFile("nats/username", user.name, user.usernameKey))
        files.append(SecretFile("nats/password", user.name, user.passwordKey))
    return tuple(sorted(files))


def relay_files(spec: OutboxPipelineSpec) -> tuple[SecretFile, ...]:
    """What a relay pod needs: its database and NATS."""
    ref = spec.database.connectionSecretRef
    return (SecretFile("database/url", ref.name, ref.key), *nats_files(spec.nats))


def consumer_files(spec: EventConsumerSpec, nats: NatsConnection) -> tuple[SecretFile, ...]:
    """What a consumer pod needs: the handler's database with an inbox, its endpoint's, NATS."""
    http = spec.handler.http if spec.handler else None
    refs = {
        INBOX_URL: spec.inbox.connectionSecretRef if spec.inbox else None,
        HTTP_TOKEN: http.bearerTokenSecretRef if http else None,
        HTTP_SIGNING_KEY: http.signingSecretRef if http else None,
        HTTP_CA: http.caSecretRef if http else None,
    }
    files = [SecretFile(path, ref.name, ref.key) for path, ref in refs.items() if ref is not None]
    return (*files, *nats_files(nats))


def secret_refs(files: Iterable[SecretFile]) -> tuple[tuple[str, str], ...]:
    """The Secrets and keys behind files, as (name, key), each once, sorted."""
    return tuple(sorted({(file.secret, file.key) for file in files}))


def volume(files: Iterable[SecretFile]) -> dict[str, Any]:
    """Source of a volume that holds just these keys.

    A Secret or key that is missing keeps the pod from starting, and the kubelet says which.
    """
    items: dict[str, list[dict[str, str]]] = {}
    for file in sorted(files):
        items.setdefault(file.secret, []).append({"key": file.key, "path": file.path})
    return {
        "projected": {
            # Read by the pod's group, never by others; the owner of the files is root.
            "defaultMode": 0o440,
            "sources": [
                {"secret": {"name": name, "items": keys}} for name, keys in sorted(items.items())
            ],
        }
    }
