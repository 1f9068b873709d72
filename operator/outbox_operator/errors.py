"""The one error tree of the project. Importable by every layer but `reasons` and `aio`.

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
    │   ├── RedisError
    │   └── KubernetesError
    ├── EventError               an event is malformed; refused before it is written or sent
    ├── TaskFailedError          a one-shot task cannot be carried out, and ends
    ├── TransactionError         the application has no transaction open to write an event in
    └── HandlerUnavailableError  the handler cannot be asked at all; says nothing about the event

`reason` is the word that appears in a condition, an event and a metric label (`reasons`).
`retryable` says whether time alone can help: it picks the back-off, not whether we try again
(the operator always tries again). Messages name object, field, wanted and found, and never
hold a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from outbox_operator.reasons import Reason


class OutboxError(Exception):
    """Root of all errors this project raises on purpose.

    Args:
        message: One sentence for a person: object, field, wanted, found, what to do.
        reason: For conditions, logs and metrics; defaults to the class's own.
    """

    reason: Reason = Reason.INTERNAL_ERROR
    retryable: bool = True

    def __init__(self, message: str, *, reason: Reason | None = None) -> None:
        # Half a surrogate pair, say of an event's type, could not be printed or logged.
        message = message.encode("utf-8", "backslashreplace").decode()
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class SpecError(OutboxError):
    """The resource cannot be carried out as written."""

    reason = Reason.INVALID_SPEC
    retryable = False


class UnknownFieldError(SpecError):
    """The resource says something that this version has no word for."""


class NotSupportedError(SpecError):
    """A field of the vocabulary whose behaviour does not exist yet."""

    reason = Reason.NOT_SUPPORTED_YET


class ConflictError(OutboxError):
    """Another owner holds the table, stream, durable consumer or child."""

    reason = Reason.RESOURCE_CONFLICT
    retryable = False


class UnsafeChangeError(OutboxError):
    """The change would lose data or cannot be made in place."""

    reason = Reason.IMMUTABLE_FIELD_CHANGED
    retryable = False


class AccessDeniedError(OutboxError):
    """The role or account lacks a right; the message says which and how to grant it."""

    reason = Reason.PERMISSION_DENIED
    retryable = False


class CredentialsError(OutboxError):
    """A Secret or a key in it is missing, malformed, or the server refused it."""

    reason = Reason.CREDENTIALS_REJECTED
    retryable = False


class UnsupportedServerError(OutboxError):
    """The server is reachable but too old or lacks a needed feature."""

    reason = Reason.UNSUPPORTED_SERVER
    retryable = False


class DependencyError(OutboxError):
    """A server this project depends on is away or faulty. Retry with back-off."""

    reason = Reason.DEPENDENCY_UNAVAILABLE
    retryable = True


class PostgresError(DependencyError):
    """PostgreSQL is unreachable or failed a statement."""

    reason = Reason.POSTGRES_UNREACHABLE


class NatsError(DependencyError):
    """NATS or JetStream is unreachable or failed a request."""

    reason = Reason.NATS_UNREACHABLE


class RedisError(DependencyError):
    """Redis is unreachable or failed a request."""

    reason = Reason.REDIS_UNREACHABLE


class KubernetesError(DependencyError):
    """The Kubernetes API is unreachable or failed a request."""

    reason = Reason.KUBERNETES_UNAVAILABLE


class EventError(OutboxError):
    """An event that must not be written or published as it is."""

    reason = Reason.INVALID_EVENT
    retryable = False


class TaskFailedError(OutboxError):
    """A task cannot be carried out, and time will not help: it ends as Failed.

    Other errors in a task are told and tried again.
    """

    reason = Reason.INVALID_SPEC
    retryable = False


class TransactionError(OutboxError):
    """The application's connection has no open transaction that a row could be part of."""

    reason = Reason.NO_TRANSACTION
    retryable = False


class HandlerUnavailableError(OutboxError):
    """A consumer's handler cannot be asked at all: nothing listens at its address."""

    reason = Reason.HANDLER_UNAVAILABLE


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Say of a package that is not installed which extra of ours brings it.

    Raises:
        SpecError: It is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("outbox_operator"):
            raise
        raise SpecError(
            f"{error.name} is not installed; pip install 'outbox-operator[{extra}]'"
        ) from error
