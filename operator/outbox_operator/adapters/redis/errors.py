"""What a server's error is called here."""

from __future__ import annotations

from outbox_operator.adapters.network import network_problem
from outbox_operator.errors import AccessDeniedError, CredentialsError, OutboxError, RedisError
from outbox_operator.reasons import Reason

_MOST_CHARACTERS = 300
_FULL = "OOM"
_DENIED = "NOPERM"
_DENIED_IN_SCRIPT = ("ACL failure in script", "The user executing the script can't")
"""As Valkey and Redis 7.2 say it, and as Redis 7.0 does."""
_REPEATED = ", with args"
"""Behind it a server repeats what it was sent: a password, or an event."""
_LOGIN = ("WRONGPASS", "NOAUTH")
ELSEWHERE = ("READONLY", "MOVED", "ASK", "CLUSTERDOWN", "MASTERDOWN")
"""The server is not, or not any more, the one that takes writes for the key."""


def said(error: BaseException) -> str:
    """Return the words of an error, bounded, and nothing of what we sent."""
    text = str(error).partition(_REPEATED)[0]
    code = getattr(error, "status_code", None)
    if code and code != "ERR" and word(text) != code:  # the driver takes those it knows away
        text = f"{code} {text}"
    return text[:_MOST_CHARACTERS]


def word(text: str) -> str:
    """Return the code that an error of the server begins with."""
    return text.split(" ", 1)[0].rstrip(":")


def explained(text: str) -> str:
    """Return what the server said, and what to do about it, where that is not plain."""
    if word(text) == _FULL:
        return (
            f"Redis is full ({text}): nothing is lost, publishing waits; raise maxmemory, or trim "
            "streams"
        )
    if word(text) in ELSEWHERE:
        return f"the server does not take writes ({text})"
    return text


def translate(text: str, address: str, doing: str) -> OutboxError:
    """Make an error of ours of one of the server.

    Args:
        text: What it said.
        doing: What was asked.
    """
    where = f"Redis at {address}: {doing}"
    code = word(text)
    if _is_denied(text):
        return AccessDeniedError(f"{where}: the user may not: {text}")
    if code in _LOGIN:
        return login_refused(text, address, doing)
    if code == "WRONGTYPE":
        return RedisError(
            f"{where}: the key holds something other than a stream", reason=Reason.STREAM_REFUSED
        )
    return RedisError(f"{where}: {explained(text)}", reason=Reason.STREAM_REFUSED)


def login_refused(text: str, address: str, doing: str = "log in") -> CredentialsError:
    """Make an error of what a server said to our user and password."""
    return CredentialsError(f"Redis at {address}: {doing}: the user or password is refused: {text}")


def reason_of(text: str) -> Reason:
    """Return what a refusal of the server is called in metrics."""
    return Reason.PERMISSION_DENIED if _is_denied(text) else Reason.STREAM_REFUSED


def _is_denied(text: str) -> bool:
    return word(text) == _DENIED or any(part in text for part in _DENIED_IN_SCRIPT)


def unreachable(error: BaseException, address: str) -> RedisError:
    """Say that there is no connection, or none any more."""
    cause: BaseException | None = error
    while cause is not None and network_problem(cause) is None:
        cause = cause.__cause__ or cause.__context__
    why = network_problem(cause) if cause is not None else None
    return RedisError(f"Redis at {address}: {why or said(error) or type(error).__name__}")
