"""JetStream API errors in our terms, told apart by their code; the text is only passed on.

Used by adapters.jetstream_admin alone. Codes: `err_code` in the server's list of errors.
"""

from __future__ import annotations

from typing import Any, Final

from outbox_operator.adapters.nats.connection import NOT_ENABLED_CODES, NatsAuth, no_jetstream
from outbox_operator.errors import (
    ConflictError,
    NatsError,
    OutboxError,
    SpecError,
    UnsafeChangeError,
    UnsupportedServerError,
)

CONSUMER_NOT_FOUND: Final = 10014
STREAM_NOT_FOUND: Final = 10059
SUBJECT_OVERLAP: Final = 10065
RESOURCES: Final = frozenset({10002, 10023, 10028, 10047, 10122})
"""Account limit, server limit, memory, storage, largest stream of the account."""

_INVALID_JSON: Final = 10025
_LIMIT_REACHED: Final = frozenset({10026, 10027})
_EXISTS: Final = frozenset({10013, 10058, 10148})
_WORK_QUEUE_TAKEN: Final = frozenset({10099, 10100})
_CANNOT_CHANGE: Final = frozenset({10055})
_CONSUMER_REFUSED: Final = 10012
_INVALID_CONFIG: Final = 10052
"""This and the one above come with class 500, although waiting does not help."""
_NO_REPLICAS: Final = frozenset({10010, 10074})
_NO_PEERS: Final = frozenset({10005, 10011})
_NO_LEADER: Final = frozenset({10004, 10006, 10007, 10008, 10009})


class ApiFaultError(Exception):
    """The server's answer is an error; never leaves this package.

    Attributes:
        code: Class of the error, like an HTTP status.
        err_code: Which error.
        description: The server's words.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        self.code = int(error.get("code") or 500)
        self.err_code = int(error.get("err_code") or 0)
        self.description = str(error.get("description") or "no description")
        super().__init__(f"{self.description} (error {self.err_code})")


def translate(
    fault: ApiFaultError, auth: NatsAuth, what: str, *, updating: bool = False
) -> OutboxError:
    """An error of ours for one of theirs.

    Args:
        fault: The server's answer.
        auth: For the address.
        what: The thing: "stream ORDERS".
        updating: Whether an existing thing was to be changed.
    """
    code = fault.err_code
    said = f"{what}: NATS at {auth.address} refused it: {fault}"
    if code in NOT_ENABLED_CODES:
        return no_jetstream(auth)
    if code in _EXISTS:
        return ConflictError(f"{what}: somebody else created it a moment ago, differently")
    if code in _WORK_QUEUE_TAKEN:
        return ConflictError(
            f"{what}: its stream has retention WorkQueue, where each message belongs to one "
            f"consumer, and another one already reads these subjects; set filterSubjects apart. "
            f"{said}"
        )
    if code in _CANNOT_CHANGE or (code == _CONSUMER_REFUSED and updating):
        return UnsafeChangeError(said)
    if code in _LIMIT_REACHED:
        return SpecError(said, reason="LimitReached")
    if code in _NO_REPLICAS:
        return UnsupportedServerError(
            f"{what}: replicas > 1 needs a NATS cluster with that many JetStream servers. {said}"
        )
    if code == _INVALID_JSON:
        return UnsupportedServerError(
            f"{what}: this server does not know a field of the request. {said}"
        )
    if code in _NO_LEADER or code in _NO_PEERS or fault.code == 503:
        return NatsError(said, reason="JetStreamUnavailable")
    if code == STREAM_NOT_FOUND:
        return NatsError(said, reason="StreamNotFound")
    if fault.code < 500 or code in (_INVALID_CONFIG, _CONSUMER_REFUSED):
        return SpecError(said)
    return NatsError(said, reason="JetStreamError")
