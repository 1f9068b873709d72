"""The only place that asks the JetStream API, and that stores a message with an answer awaited.

Used by every module of this package that asks something of JetStream. Raw JSON, so that a field
the driver does not know still reaches the server. Every refusal, silence and missing right has
one diagnosis here, whoever asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import nats.errors
from nats.aio.msg import Msg

from outbox_operator.adapters.json_memory import decoded_within
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.driver import Denial, WireClient
from outbox_operator.adapters.nats.errors import (
    INBOXES,
    ApiFaultError,
    connection_error,
    denied,
    disconnected_error,
    no_responders,
    translate,
)
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.errors import DependencyError, NatsError, OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.wire import dead_letters
from outbox_operator.wire.headers import block_bytes

T = TypeVar("T")

REQUEST_SECONDS: Final = 5.0
_USER_INFO: Final = "$SYS.REQ.USER.INFO"
_MOST_MEMORY: Final = 16 * 1024 * 1024
"""A server that a tenant names may answer anything. A page of a hundred thousand subjects takes
12 MB."""
_MOST_OF_ONE: Final = 2 * 1024 * 1024
"""Of what is kept while others are asked: the configuration of a stream or durable consumer."""
_OF_ONE: Final = (
    "STREAM.INFO.", "STREAM.CREATE.", "STREAM.UPDATE.", "CONSUMER.INFO.", "CONSUMER.CREATE.",
)  # fmt: skip


class JetStreamApi:
    """The API of one account over one connection.

    All methods raise NatsError when the server is away, silent or faulty, UnsupportedServerError
    without JetStream, AccessDeniedError when the user may not ask this, and otherwise what
    `errors.translate` makes of the server's refusal.

    Args:
        client: A connection; stays the caller's.
        auth: What it was made from: address for messages, JetStream domain.
        specified: As `errors.translate`, of everything but `publish`.
    """

    def __init__(self, client: WireClient, auth: NatsAuth, *, specified: bool = False) -> None:
        self.client = client
        self.auth = auth
        self._specified = specified
        self._prefix = f"$JS.{auth.domain}.API" if auth.domain else "$JS.API"

    def subject(self, verb: str) -> str:
        """Where requests of this kind go: `STREAM.INFO.ORDERS`."""
        return f"{self._prefix}.{verb}"

    async def request(
        self,
        verb: str,
        body: Mapping[str, Any] | None,
        what: str,
        *,
        updating: bool = False,
        until: float | None = None,
    ) -> dict[str, Any]:
        """Ask, and return the answer.

        Args:
            verb: What: `STREAM.INFO.ORDERS`.
            what: The thing, for messages: "stream ORDERS".
            updating: As `errors.translate`.
            until: As `ask`.
        """
        try:
            return await self.ask(verb, body, what, until=until)
        except ApiFaultError as fault:
            raise translate(
                fault, self.auth, what, specified=self._specified, updating=updating
            ) from fault

    async def find(
        self,
        verb: str,
        body: Mapping[str, Any] | None,
        what: str,
        *absent: FaultKind,
        until: float | None = None,
    ) -> dict[str, Any] | None:
        """Like `request`, but None when the answer is an error of one of these kinds."""
        try:
            return await self.ask(verb, body, what, until=until)
        except ApiFaultError as fault:
            if fault.kind in absent:
                return None
            raise translate(fault, self.auth, what, specified=self._specified) from fault

    async def ask(
        self,
        verb: str,
        body: Mapping[str, Any] | None,
        what: str,
        *,
        until: float | None = None,
    ) -> dict[str, Any]:
        """Like `request`, for who looks at a refusal first.

        Args:
            until: By the clock of the loop: later than that nothing is sent, because another
                process may do it by then.

        Raises:
            ApiFaultError: The server's answer is an error.
        """
        payload = b"" if body is None else json.dumps(body).encode()
        allow = f"allow publish on {self._prefix}.> and subscribe on {INBOXES}"
        try:
            answer = await self._exchange(
                self.subject(verb), payload, None, what, allow, until=until
            )
        except nats.errors.NoRespondersError as error:
            raise no_responders(self.auth, self.client, what) from error
        one = verb.startswith(_OF_ONE) and "subjects_filter" not in (body or {})
        return _document(answer, self.auth, what, _MOST_OF_ONE if one else _MOST_MEMORY)

    def understood(self, make: Callable[[Mapping[str, Any]], T], answer: Any, what: str) -> T:
        """What is made of an answer of a server that may say anything. Raises NatsError."""
        try:
            return make(answer)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise NatsError(
                f"{what}: a program other than JetStream answers at {self.auth.address}",
                reason=Reason.JETSTREAM_ERROR,
            ) from error

    async def user_info(self) -> dict[str, Any]:
        """Who we are there: `user`, `account` and more, as the server says it.

        Raises:
            nats.errors.NoRespondersError: The server knows no such question.
        """
        what, allow = "the user's account", f"allow publish on {_USER_INFO}"
        answer = await self._exchange(_USER_INFO, b"", None, what, allow)
        found = _document(answer, self.auth, what).get("data")
        return found if isinstance(found, dict) else {}

    async def publish(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str],
        what: str,
        *,
        nobody: Reason = Reason.NO_STREAM_RESPONSE,
    ) -> None:
        """Publish a message and wait until a stream has it.

        Args:
            what: What is published, for messages.
            nobody: Reason of the error when no stream takes the subject.

        Raises:
            NatsError: With reason MessageTooLarge, it exceeds a limit of the server or the stream;
                others as the reason says.
        """
        what = f"{what} on {subject!r}"
        size, most = block_bytes(headers) + len(data), self.client.max_payload
        if size > most:  # a server ends the connection for it
            raise NatsError(
                f"{what}: {size} bytes with headers, max_payload of {self.auth.address} is {most}",
                reason=Reason.MESSAGE_TOO_LARGE,
            )
        allow = f"allow publish on {subject} and subscribe on {INBOXES}"
        try:
            answer = await self._exchange(subject, data, dict(headers), what, allow)
        except nats.errors.NoRespondersError as error:
            raise NatsError(
                f"{what}: no stream takes this subject at {self.auth.address}", reason=nobody
            ) from error
        try:
            _document(answer, self.auth, what)
        except ApiFaultError as fault:
            raise translate(fault, self.auth, what) from fault

    async def _exchange(
        self,
        subject: str,
        data: bytes,
        headers: dict[str, str] | None,
        what: str,
        allow: str,
        *,
        until: float | None = None,
    ) -> bytes:
        """One request and its answer.

        Args:
            allow: What the user needs for it.

        Raises:
            nats.errors.NoRespondersError: Nobody listens on the subject.
        """
        client = self.client
        if not client.is_connected:
            raise disconnected_error(client, self.auth)
        refused: asyncio.Future[Denial] = asyncio.get_running_loop().create_future()

        def refuse(denial: Denial) -> None:
            if not refused.done():
                refused.set_result(denial)

        if until is not None and asyncio.get_running_loop().time() >= until:
            raise DependencyError(f"{what}: not changed, because it took too long until here")
        asking = asyncio.ensure_future(
            client.request(subject, data, timeout=REQUEST_SECONDS, headers=headers)
        )
        # Never cancelled: the driver forgets a request by its answer or its timeout only.
        asking.add_done_callback(_look_at)
        # A user who lacks a right gets no answer, only an error on the side.
        forget = [
            client.on_denied("publish", subject, refuse),
            client.on_denied("subscribe", INBOXES, refuse),
        ]
        try:
            either: set[asyncio.Future[Any]] = {asking, refused}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if refused.done():
                raise denied(refused.result(), self.auth, what, allow)
            return asking.result().data
        except nats.errors.NoRespondersError:
            raise
        except TimeoutError as error:
            raise self._silence(what) from error
        except (OSError, nats.errors.Error) as error:
            raise connection_error(error, self.auth, what) from error
        finally:
            if refused.done() and not asking.done():
                # Other requests there heard the same word; the words about them are on the way.
                asking.add_done_callback(lambda _: _undo(forget))
            else:
                _undo(forget)

    async def publish_letter(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str],
        what: str,
        *,
        nobody: Reason = Reason.NO_STREAM_RESPONSE,
    ) -> None:
        """Publish a dead letter, with less of what we add to it if it is too large else.

        Args, Raises: as `publish`.
        """
        for fewer in dead_letters.smaller(headers):
            try:
                await self.publish(subject, data, fewer, what, nobody=nobody)
            except NatsError as error:
                if error.reason is not Reason.MESSAGE_TOO_LARGE:
                    raise
                refusal = error
            else:
                return
        raise refusal

    def _silence(self, what: str) -> OutboxError:
        return NatsError(
            f"{what}: no answer from JetStream at {self.auth.address} within "
            f"{REQUEST_SECONDS:.0f} s"
        )


def _undo(watches: list[Callable[[], None]]) -> None:
    for undo in watches:
        undo()


def _look_at(asking: asyncio.Task[Msg]) -> None:
    """Nobody may be waiting for it any more; its error is no news then."""
    if not asking.cancelled():
        asking.exception()


def _document(answer: bytes, auth: NatsAuth, what: str, most: int = _MOST_MEMORY) -> dict[str, Any]:
    try:
        document = decoded_within(answer, most)
        error = document.get("error")
    except (ValueError, AttributeError, RecursionError) as problem:
        raise NatsError(
            f"{what}: a program other than JetStream answers at {auth.address}",
            reason=Reason.JETSTREAM_ERROR,
        ) from problem
    if error:
        raise ApiFaultError(error)
    found: dict[str, Any] = document
    return found
