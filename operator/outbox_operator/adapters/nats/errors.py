"""What NATS and JetStream answer, in our terms: one table of codes, one way to describe trouble.

Nothing outside this module knows a code of the server. Codes: `err_code` in the server's list of
errors (errors.json in its sources).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import nats.errors

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.driver import Denial, WireClient
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.adapters.network import network_problem
from outbox_operator.errors import (
    AccessDeniedError,
    ConflictError,
    CredentialsError,
    NatsError,
    OutboxError,
    SpecError,
    UnsafeChangeError,
    UnsupportedServerError,
)
from outbox_operator.reasons import Reason

_MOST_CHARACTERS: Final = 600
"""Of what a server says; a status has room for it."""
INBOXES: Final = "_INBOX.>"
"""Where answers come, to everybody."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """One line of the table.

    Attributes:
        error: Class of the error to raise.
        reason: Its reason; None: that of the class.
        text: The sentence; may name what, address and fault.
        updating: Class to raise instead when an existing thing was to be changed.
        specified: Class to raise instead, for its own reason, when somebody's specification
            asked for it.
    """

    kind: FaultKind
    error: type[OutboxError] = NatsError
    reason: Reason | None = None
    text: str = "{what}: NATS at {address} refused it: {fault}"
    updating: type[OutboxError] | None = None
    specified: type[OutboxError] | None = None


_NOT_ENABLED: Final = _Meaning(
    FaultKind.NOT_ENABLED,
    UnsupportedServerError,
    Reason.JETSTREAM_NOT_ENABLED,
    "NATS at {address}: JetStream is not enabled for this account; "
    "enable it on the server (jetstream {{}}) and in the account",
)
_UNAVAILABLE: Final = _Meaning(FaultKind.UNAVAILABLE, reason=Reason.JETSTREAM_UNAVAILABLE)
_OTHER: Final = _Meaning(FaultKind.OTHER, reason=Reason.JETSTREAM_ERROR)
_INVALID: Final = _Meaning(FaultKind.INVALID, SpecError)
_EXISTS: Final = _Meaning(
    FaultKind.EXISTS,
    ConflictError,
    text="{what}: somebody else created it a moment ago, differently",
)
_WORK_QUEUE_TAKEN: Final = _Meaning(
    FaultKind.EXISTS,
    ConflictError,
    text="{what}: its stream has retention WorkQueue, where each message belongs to one "
    "consumer, and another one already reads these subjects; set filterSubjects apart. "
    "{what}: NATS at {address} refused it: {fault}",
)
_LIMIT_REACHED: Final = _Meaning(FaultKind.INVALID, SpecError, Reason.LIMIT_REACHED)
_NO_REPLICAS: Final = _Meaning(
    FaultKind.INVALID,
    UnsupportedServerError,
    text="{what}: replicas > 1 needs a NATS cluster with that many JetStream servers. "
    "{what}: NATS at {address} refused it: {fault}",
)
_NO_ROOM: Final = _Meaning(FaultKind.NO_ROOM, reason=Reason.JETSTREAM_ERROR)
_OVER_LIMIT: Final = _Meaning(FaultKind.NO_ROOM, reason=Reason.JETSTREAM_ERROR, specified=SpecError)
_TOO_LARGE: Final = _Meaning(FaultKind.TOO_LARGE, reason=Reason.MESSAGE_TOO_LARGE)
_FENCE_BROKEN: Final = _Meaning(FaultKind.FENCE_BROKEN, reason=Reason.JETSTREAM_ERROR)

_CODES: Final[Mapping[int, _Meaning]] = {
    10002: _OVER_LIMIT,  # of the account
    10004: _UNAVAILABLE,
    10005: _UNAVAILABLE,  # no peers for the replicas
    10006: _UNAVAILABLE,
    10007: _UNAVAILABLE,
    10008: _UNAVAILABLE,
    10009: _UNAVAILABLE,
    10010: _NO_REPLICAS,
    10011: _UNAVAILABLE,  # peers with the tags
    10012: _Meaning(FaultKind.INVALID, SpecError, updating=UnsafeChangeError),  # of a consumer
    10013: _EXISTS,  # a consumer
    10014: _Meaning(
        FaultKind.CONSUMER_MISSING,
        reason=Reason.CONSUMER_MISSING,
        text="{what} does not exist at {address}",
    ),
    10023: _Meaning(FaultKind.NO_ROOM, reason=Reason.JETSTREAM_UNAVAILABLE),  # server limit
    10025: _Meaning(
        FaultKind.INVALID,
        UnsupportedServerError,
        text="{what}: this server does not know a field of the request. "
        "{what}: NATS at {address} refused it: {fault}",
    ),
    10026: _LIMIT_REACHED,  # of consumers
    10027: _LIMIT_REACHED,  # of streams
    10028: _NO_ROOM,  # memory
    10037: _Meaning(FaultKind.MESSAGE_MISSING, reason=Reason.JETSTREAM_ERROR),
    10039: _NOT_ENABLED,  # for the account
    10047: _NO_ROOM,  # storage
    10052: _INVALID,  # of a stream; comes with class 500, although waiting does not help
    10054: _TOO_LARGE,
    10055: _Meaning(FaultKind.IMMUTABLE, UnsafeChangeError),
    10058: _EXISTS,  # a stream
    10059: _Meaning(
        FaultKind.STREAM_MISSING,
        reason=Reason.STREAM_NOT_FOUND,
        text="{what}: the stream does not exist at {address}",
    ),
    10065: _Meaning(FaultKind.SUBJECT_OVERLAP, ConflictError, Reason.SUBJECT_OVERLAP),
    10070: _Meaning(FaultKind.CHAIN_BROKEN, reason=Reason.JETSTREAM_ERROR),
    10071: _FENCE_BROKEN,
    10074: _NO_REPLICAS,
    10076: _NOT_ENABLED,  # on the server
    10097: _TOO_LARGE,  # its headers
    10099: _WORK_QUEUE_TAKEN,
    10100: _WORK_QUEUE_TAKEN,
    10122: _OVER_LIMIT,  # largest stream of the account
    10148: _EXISTS,  # a consumer
    10164: _FENCE_BROKEN,  # where two are checked at once
    10208: _Meaning(FaultKind.UNKNOWN_BATCH, reason=Reason.JETSTREAM_ERROR),
}


class ApiFaultError(Exception):
    """JetStream's answer is an error; never leaves this package.

    Attributes:
        kind: What it means.
        code: Class of the error, like an HTTP status.
        err_code: Which error.
        description: The server's words.
    """

    def __init__(self, error: object) -> None:
        said: Mapping[str, Any] = error if isinstance(error, dict) else {"description": error}
        self.code = _number(said.get("code"), 500)
        self.err_code = _number(said.get("err_code"), 0)
        self.description = str(said.get("description") or "no description")[:_MOST_CHARACTERS]
        self.kind = _CODES.get(self.err_code, _OTHER).kind
        super().__init__(f"{self.description} (error {self.err_code})")


def _number(found: object, otherwise: int) -> int:
    return found if isinstance(found, int) and found else otherwise


def translate(
    fault: ApiFaultError,
    auth: NatsAuth,
    what: str,
    *,
    specified: bool = False,
    updating: bool = False,
) -> OutboxError:
    """An error of ours for one of theirs.

    Args:
        fault: The server's answer.
        auth: For the address.
        what: The thing: "stream ORDERS".
        specified: Whether somebody's specification asked for it, which may be at fault.
        updating: Whether it was to change an existing thing.
    """
    meaning = _CODES.get(fault.err_code)
    if meaning is None:
        if fault.code == 503:
            meaning = _UNAVAILABLE
        else:
            meaning = _INVALID if specified and fault.code < 500 else _OTHER
    if specified and meaning.specified:
        meaning = replace(meaning, error=meaning.specified, reason=None)
    make = meaning.updating if updating and meaning.updating else meaning.error
    text = meaning.text.format(what=what, address=auth.address, fault=fault)
    return make(text, reason=meaning.reason)


def denied(denial: Denial, auth: NatsAuth, what: str, allow: str = "") -> AccessDeniedError:
    """The NATS user may not do something.

    Args:
        what: What was to be done with it: "stream ORDERS".
        allow: What the user needs, for the message; nothing: just that.
    """
    # Each inbox has a name of its own; the right to one is the right to all.
    subject = INBOXES if denial.subject.startswith(INBOXES[:-1]) else denial.subject
    return AccessDeniedError(
        f"{what}: this NATS user may not {denial.action} on {subject} at {auth.address}"
        + (f"; {allow}" if allow else "")
    )


def connection_error(error: BaseException, auth: NatsAuth, what: str = "") -> OutboxError:
    """What kept us from NATS, or broke a plain request, in our terms; never holds a secret.

    Args:
        what: What was tried: "stream ORDERS: publish".
    """
    if isinstance(error, OutboxError):
        return error
    login = login_error(error, auth)
    if login is not None:
        return login
    return NatsError(
        f"{what}: NATS at {auth.address}: {_describe(error)}"
        if what
        else f"NATS at {auth.address}: {_describe(error)}"
    )


def disconnected_error(client: WireClient, auth: NatsAuth) -> OutboxError:
    """Why a connection that once stood does not stand now."""
    last = client.last_error
    if last is not None:
        return connection_error(last, auth)
    return NatsError(f"NATS at {auth.address}: the connection is lost, reconnecting")


def no_responders(auth: NatsAuth, client: WireClient, what: str) -> OutboxError:
    """Nobody answers the JetStream API: there is none, or none at the moment."""
    if auth.domain is None and not client.greeting.get("jetstream", False):
        return UnsupportedServerError(
            _NOT_ENABLED.text.format(address=auth.address), reason=_NOT_ENABLED.reason
        )
    where = f" in domain {auth.domain!r}" if auth.domain else ""
    return NatsError(
        f"{what}: nothing answers the JetStream API{where} at {auth.address}; "
        "the servers may be electing a leader, or the account may not use JetStream",
        reason=_UNAVAILABLE.reason,
    )


def login_error(error: BaseException, auth: NatsAuth) -> OutboxError | None:
    """Errors that a person must heal in a Secret or in the account; None for all others."""
    # The protocol has no codes: `-ERR 'Authorization Violation'` is text.
    text = str(error).lower()
    if isinstance(error, nats.errors.Error) and (
        isinstance(error, nats.errors.AuthorizationError)
        or "authorization" in text
        or "authentication" in text
    ):
        return CredentialsError(f"NATS at {auth.address}: the server refused the {auth.kind}")
    if isinstance(error, nats.errors.Error) and "permissions violation" in text:
        return AccessDeniedError(f"NATS at {auth.address}: {_describe(error)}")
    return None


def _describe(error: BaseException) -> str:
    """One reason in plain words."""
    if (problem := network_problem(error)) is not None:
        return problem
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed: {error.reason or 'connection ended'}"
    if isinstance(error, TimeoutError):  # those of nats-py are ones too
        return "no answer in time"
    if isinstance(error, nats.errors.SecureConnWantedError):
        return "TLS was asked for, but the server does not offer it"
    if isinstance(error, (nats.errors.UnexpectedEOF, ConnectionResetError, BrokenPipeError)):
        return "the server closed the connection"
    if isinstance(error, nats.errors.ConnectionClosedError):
        return "the connection is closed"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).removeprefix("nats: ") or type(error).__name__
