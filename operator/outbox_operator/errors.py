"""The one error tree of the project. Importable by every layer.

    OutboxError                  reason, retryable, message
    ├── SpecError                the resource or configuration is wrong; a person must edit it
    │   └── NotSupportedError    the field is known, its behaviour does not exist yet
    ├── ConflictError            somebody else owns or changed the thing; waiting may help
    ├── UnsafeChangeError        refused, because doing it would lose or rewrite data
    ├── AccessDeniedError        the credentials work, but may not do this
    ├── CredentialsError         a Secret is missing, incomplete, or refused by the server
    ├── UnsupportedServerError   the server is too old or lacks a feature (for example JetStream)
    ├── DependencyError          a server cannot be reached or answers with a fault; retry
    │   ├── PostgresError
    │   ├── NatsError
    │   └── KubernetesError
    ├── EventError               an event is malformed; refused before it is written or sent
    ├── TransactionError         the application has no transaction open to write an event in
    └── HandlerUnavailableError  the handler cannot be asked at all; says nothing about the event

`reason` is the CamelCase word that appears in a condition, an event and a metric label.
`retryable` says whether time alone can help: it picks the back-off, not whether we try again
(the operator always tries again). Messages name object, field, wanted and found, and never
hold a secret.
"""

from __future__ import annotations


class OutboxError(Exception):
    """Root of all errors this project raises on purpose.

    Args:
        message: One sentence for a person: object, field, wanted, found, what to do.
        reason: CamelCase word for conditions; defaults to the class's own.
    """

    reason: str = "InternalError"
    retryable: bool = True

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class SpecError(OutboxError):
    """The resource cannot be carried out as written."""

    reason = "InvalidSpec"
    retryable = False


class NotSupportedError(SpecError):
    """A field of the vocabulary whose behaviour does not exist yet."""

    reason = "NotSupportedYet"


class ConflictError(OutboxError):
    """Another owner holds the table, stream, durable consumer or child."""

    reason = "ResourceConflict"
    retryable = False


class UnsafeChangeError(OutboxError):
    """The change would lose data or cannot be made in place."""

    reason = "ImmutableFieldChanged"
    retryable = False


class AccessDeniedError(OutboxError):
    """The role or account lacks a right; the message says which and how to grant it."""

    reason = "PermissionDenied"
    retryable = False


class CredentialsError(OutboxError):
    """A Secret or a key in it is missing, malformed, or the server refused it."""

    reason = "CredentialsRejected"
    retryable = False


class UnsupportedServerError(OutboxError):
    """The server is reachable but too old or lacks a needed feature."""

    reason = "UnsupportedServer"
    retryable = False


class DependencyError(OutboxError):
    """A server this project depends on is away or faulty. Retry with back-off."""

    reason = "DependencyUnavailable"
    retryable = True


class PostgresError(DependencyError):
    """PostgreSQL is unreachable or failed a statement."""

    reason = "PostgresUnreachable"


class NatsError(DependencyError):
    """NATS or JetStream is unreachable or failed a request."""

    reason = "NatsUnreachable"


class KubernetesError(DependencyError):
    """The Kubernetes API is unreachable or failed a request."""

    reason = "KubernetesUnavailable"


class EventError(OutboxError):
    """An event that must not be written or published as it is."""

    reason = "InvalidEvent"
    retryable = False


class TransactionError(OutboxError):
    """The application's connection has no open transaction that a row could be part of."""

    reason = "NoTransaction"
    retryable = False


class HandlerUnavailableError(OutboxError):
    """A consumer's handler cannot be asked at all: nothing listens at its address."""

    reason = "HandlerUnavailable"
