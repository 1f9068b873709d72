"""The publishing side of JetStream: send without waiting, learn about each message later.

Called by the relay. Built on the driver's plain publish and subscribe, because the futures of
its `publish_async` are never completed when a connection is lost. One `Publisher` lives as long
as one connection: after a loss it is closed and a new one opened, so that nothing of the old
connection's send buffer can follow later messages. Decides nothing about retries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import nats.errors

from outbox_operator.adapters.nats.ack_router import ACK_SECONDS, AckRouter
from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.connection import connect
from outbox_operator.adapters.nats.driver import Denial, WireClient
from outbox_operator.adapters.nats.errors import connection_error, denied
from outbox_operator.adapters.nats.messages import (
    JetStreamFacts,
    batch_names,
    keeps_what_came_last,
)
from outbox_operator.adapters.nats.publish_fast import FastRun, end_batch
from outbox_operator.adapters.nats.publish_run import Run
from outbox_operator.adapters.nats.publish_window import AdaptiveWindow, WindowRun
from outbox_operator.adapters.nats.tail import TailReader
from outbox_operator.adapters.sink import Fence, Owner, Refusal, TailMessage
from outbox_operator.errors import NatsError, OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.wire.subjects import common_subject

log = logging.getLogger(__name__)

_FENCE_LEVEL: Final = 1
_FAST_LEVEL: Final = 4
"""JetStream API levels of nats-server 2.11 and 2.14."""
WINDOW_MESSAGES: Final = 1024
_UNFIT: Final = (
    "mirror", "no_ack", "sealed", "allow_msg_counter", "subject_transform",
    "subject_delete_marker_ttl",
)  # fmt: skip
"""Settings that a pipeline's stream must not have; the same as the CRD refuses."""


class Publisher:
    """Publishes into one stream over one connection. Make one with `Publisher.open`."""

    def __init__(
        self,
        client: WireClient,
        auth: NatsAuth,
        stream: str,
        *,
        window: int,
        ack_seconds: float,
        read_login: Callable[[], NatsAuth] | None,
    ) -> None:
        self._read_login = read_login
        self._end: OutboxError | None = None
        """Why it is of no use, when the connection itself is not lost."""
        self._client = client
        self._auth = auth
        self._stream = stream
        self._api = JetStreamApi(client, auth)
        self._on_lost: list[Callable[[], None]] = []
        self._lost = False
        self._fast: bool | None = None
        self._subjects: tuple[str, ...] = ()
        self._chains = False
        self._window = AdaptiveWindow(window, window)
        self._router = AckRouter(
            client,
            stream=stream,
            address=auth.address,
            why_lost=lambda: self.lost_error().message,
            last_server_error=self.last_server_error,
            ack_seconds=ack_seconds,
        )
        self._tail = TailReader(self._api, stream)

    @classmethod
    async def open(
        cls,
        auth: NatsAuth,
        *,
        name: str,
        stream: str,
        subjects: str = "",
        window: int = WINDOW_MESSAGES,
        ack_seconds: float = ACK_SECONDS,
        read_login: Callable[[], NatsAuth] | None = None,
    ) -> Publisher:
        """Connect and subscribe to acknowledgements.

        Args:
            subjects: Filter of all that will be published; nothing, if nothing will.
            name: Shown in the server's connection list.
            window: Most messages in flight where the stream takes no fast-ingest batches.
            ack_seconds: Longest wait for an acknowledgement.
            read_login: Reads how to log in, which may have changed; None: it never does.

        Raises:
            OutboxError: As `adapters.nats.connection.connect`.
            AccessDeniedError: The user may not hear acknowledgements.
        """
        publisher: Publisher | None = None

        def on_disconnected() -> None:
            if publisher is not None:
                publisher._client.discard_unsent()
                publisher._mark_lost()

        client = await connect(
            auth, name=name, on_disconnected=on_disconnected, on_closed=on_disconnected
        )
        publisher = cls(
            client, auth, stream, window=window, ack_seconds=ack_seconds, read_login=read_login
        )
        try:
            await publisher._router.start(publisher._on_deaf)
        except (nats.errors.Error, OSError) as error:
            await publisher.close()
            raise connection_error(error, auth) from error
        if publisher._end is not None:
            await publisher.close()
            raise publisher._end
        if subjects:
            client.on_denied("publish", subjects, publisher._on_denied)
        return publisher

    @property
    def address(self) -> str:
        """Where the server is, safe to show."""
        return self._auth.address

    @property
    def lost(self) -> bool:
        """Whether the connection is gone; this publisher is of no use then."""
        return self._lost or not self._client.is_connected

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the connection is lost for whatever reason but `close`."""
        self._on_lost.append(callback)

    def lost_error(self) -> OutboxError:
        """The loss as an error."""
        if self._end is not None:
            return self._end
        why = self.last_server_error()
        return NatsError(
            f"NATS at {self.address}: the connection was lost" + (f": {why}" if why else "")
        )

    def last_server_error(self) -> str:
        """What the server complained about last, for example a missing permission; or ''."""
        said = self._client.last_error
        return str(said).removeprefix("nats: ") if said is not None else ""

    def end_if_outdated(self) -> None:
        """See `Sink`: the rights of a user may be in its credentials."""
        if self._read_login is not None and self._read_login() != self._auth:
            self._end = NatsError(f"NATS at {self.address}: there is a new login, connecting anew")
            self._mark_lost()

    async def facts(self, subjects: str = "") -> JetStreamFacts:
        """Ask the server about the stream; runs opened from now on go by the answer.

        Raises:
            NatsError: No such stream (reason StreamNotFound), or the request failed.
            UnsupportedServerError: JetStream is not enabled.
        """
        document = await self._stream_info()
        config = document["config"]
        # Servers before 2.11 say neither. What they say is about the server that leads the
        # stream, which in a mixed cluster is another than the one we are connected to.
        metadata = config.get("metadata") or {}
        level = int(metadata.get("_nats.level") or 0)
        republishes = bool(config.get("republish"))
        fast = level >= _FAST_LEVEL and bool(config.get("allow_batched"))
        fences = level >= _FENCE_LEVEL and config["retention"] == "limits" and not republishes
        facts = JetStreamFacts(
            stream=self._stream,
            subjects=tuple(config.get("subjects") or ()),
            max_message_bytes=self._max_message_bytes(config),
            keeps_tail=config["retention"] == "limits",
            duplicate_window_seconds=config.get("duplicate_window", 0) / 1e9,
            fast=fast,
            fences=fences,
            republishes=republishes,
            unfit=next((name for name in _UNFIT if config.get(name)), ""),
            created=str(document["created"]),
            exact=fast and fences and keeps_what_came_last(config),
        )
        if facts.fast != self._fast:
            _log_how(facts, level)
        self._subjects = facts.subjects
        self._fast, self._chains = facts.fast, level < _FAST_LEVEL and not republishes
        return facts

    def open_run(
        self,
        *,
        owner: Owner,
        fence: Fence | None,
        ordered: bool,
        subjects: str = ">",
        on_ack: Callable[[int, float], None] | None = None,
    ) -> Run:
        """Begin a run; `facts` must have been asked before, and again after a refusal.

        Args:
            owner: Who publishes; has one batch open at a time, where the stream takes batches.
            fence: To be checked by the stream before it stores the first message.
            ordered: Whether the messages must be stored in the order they are sent in.
            subjects: Filter of what it will publish; tells which refusals concern it.
            on_ack: As `Run` takes it.
        """
        if self._fast is None:
            raise ValueError(f"stream {self._stream}: facts() was not asked before open_run()")
        if self._fast:
            return FastRun(
                self._router, batch=batch_names(owner)[0],
                subjects=subjects, fence=fence, on_ack=on_ack,
            )  # fmt: skip
        return WindowRun(
            self._router,
            window=self._window,
            ordered=ordered,
            chains=self._chains,
            subjects=subjects,
            fence=fence,
            on_ack=on_ack,
        )

    async def shut_out(self, owner: Owner, subjects: str, last: TailMessage | None) -> bool:
        """See `Sink`: their batches are ended. Single messages are left to the fence."""
        # Without messages, too: a purge takes them, and leaves the batches that they came in.
        subject = last.subject if last is not None else self._some_subject(subjects)
        if subject is None or not self._fast:
            return False
        names = batch_names(owner)
        try:
            ends = await asyncio.gather(*(end_batch(self._router, name, subject) for name in names))
        except nats.errors.Error as error:
            raise connection_error(error, self._auth) from error
        for refusal in filter(None, ends):
            if last is None and refusal.reason is Reason.PERMISSION_DENIED:
                continue  # to publish there, which nobody said that we would
            raise NatsError(
                f"stream {self._stream}: end an open batch: {refusal.text}", reason=refusal.reason
            )
        return True

    async def last_of(self, subject_filter: str) -> TailMessage | None:
        """The last message on these subjects, asked of the stream's leader; None: there is none.

        Raises:
            OutboxError: As `facts`.
        """
        return await self._tail.last_of(subject_filter)

    async def last_sequence(self, subjects: str = ">") -> int:
        """The sequence of the last message that the stream ever took, whatever became of it.

        Raises:
            OutboxError: As `facts`.
        """
        return int((await self._stream_info())["state"]["last_seq"])

    async def message_at(self, subjects: str, sequence: int) -> TailMessage | None:
        """The message at a sequence; None: there is none (any more). Raises as `facts`."""
        return await self._tail.message_at(sequence)

    def tail(self, subject_filter: str, after_sequence: int) -> AsyncIterator[TailMessage]:
        """The messages on these subjects behind a sequence, in order, to the last there is now.

        Raises:
            OutboxError: As `facts`, and when the reading stops before the last.
        """
        return self._tail.read(subject_filter, after_sequence)

    def _some_subject(self, subjects: str) -> str | None:
        found = (common_subject(subjects, each) for each in self._subjects)
        return next(filter(None, found), None)

    def _max_message_bytes(self, config: Mapping[str, Any]) -> int:
        bounds = [self._client.max_payload]
        if config.get("max_msg_size", -1) >= 0:
            bounds.append(config["max_msg_size"])
        return min(bounds)

    async def _stream_info(self) -> dict[str, Any]:
        return await self._api.request(
            f"STREAM.INFO.{self._stream}", None, f"stream {self._stream}"
        )

    async def listen(
        self, subject: str, callback: Callable[[], None], accepted: Callable[[], None]
    ) -> OutboxError:
        """Call `callback` for each core-NATS message on `subject`, whatever it says.

        Args:
            accepted: Called once the server lets us.

        Returns:
            That it does not, or does not any more.

        Raises:
            NatsError: The connection is lost.
        """
        refused: asyncio.Future[Denial] = asyncio.get_running_loop().create_future()

        def receive(*_: bytes) -> None:
            callback()

        def refuse(denial: Denial) -> None:
            if not refused.done():
                refused.set_result(denial)

        forget = self._client.on_denied("subscribe", subject, refuse)
        subscription = None
        try:
            subscription = await self._client.listen(subject, receive)
            await self._client.confirm(self._router.ack_seconds)
            if not refused.done():
                accepted()
            return denied(await refused, self._auth, "nudges of writers are not heard")
        except (nats.errors.Error, OSError) as error:
            raise connection_error(error, self._auth) from error
        finally:
            forget()
            if subscription is not None:
                await self._client.unlisten(subscription)

    async def close(self) -> None:
        """End the connection at once; messages on the way may or may not arrive."""
        self._on_lost.clear()
        await self._client.abandon()

    def _on_denied(self, denial: Denial) -> None:
        error = denied(denial, self._auth, f"stream {self._stream}: publish events")
        self._router.denied(denial.subject, Refusal(Reason.PERMISSION_DENIED, error.message))

    def _on_deaf(self, denial: Denial) -> None:
        """Every acknowledgement is lost on us."""
        self._end = denied(denial, self._auth, f"stream {self._stream}: hear acknowledgements")
        self._mark_lost()

    def _mark_lost(self) -> None:
        self._lost = True
        self._router.lost()
        callbacks, self._on_lost = self._on_lost, []
        for callback in callbacks:
            callback()


def _log_how(facts: JetStreamFacts, level: int) -> None:
    if facts.fast:
        log.info("stream %s: publishing in fast-ingest batches", facts.stream)
    elif level < _FAST_LEVEL:
        log.info(
            "stream %s: publishing message by message, which is slower: fast-ingest batches need "
            "nats-server 2.14 (JetStream API level %d), found level %d",
            facts.stream, _FAST_LEVEL, level,
        )  # fmt: skip
    else:
        log.info(
            "stream %s: publishing message by message, which is far slower: the stream does not "
            "allow fast-ingest batches; set its allowBatchPublish to true",
            facts.stream,
        )
