"""The publishing side of JetStream: send without waiting, hear about each message later.

Called by the relay. Built on the driver's plain publish and subscribe, because the futures of
its `publish_async` are never completed when a connection is lost. One `Publisher` lives as long
as one connection: after a loss it is closed and a new one opened, so that nothing of the old
connection's send buffer can follow later messages. Decides nothing about retries.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from outbox_operator.adapters.nats import (
    NatsAuth,
    abandon,
    connect,
    connection_error,
    discard_unsent,
    jetstream_error,
    no_responders,
)
from outbox_operator.errors import NatsError, OutboxError
from outbox_operator.wire import headers as names

EXPECTED_LAST_MSG_ID: Final = "Nats-Expected-Last-Msg-Id"
_API_SECONDS: Final = 5.0
_SEND_SECONDS: Final = 30.0
"""How long the connection may take no data. The driver would wait until it is connected anew."""
_STREAM_MISSING: Final = 10059
_NO_RESPONDERS: Final = "503"


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What a stream accepts.

    Attributes:
        subjects: Its subject filters.
        max_message_bytes: Headers and payload together; the smaller of stream and server.
    """

    stream: str
    subjects: tuple[str, ...]
    max_message_bytes: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message was not stored.

    Attributes:
        reason: CamelCase word, for metrics.
        code: JetStream's error code, 0 when there is none.
        text: For a person.
    """

    reason: str
    code: int
    text: str


Verdict = Refusal | None
"""None: stored, or stored before."""
OnVerdict = Callable[[int, Verdict], None]


class Publisher:
    """Publishes into one stream over one connection. Make one with `Publisher.open`."""

    def __init__(self, client: Client, auth: NatsAuth, stream: str) -> None:
        self._client = client
        self._auth = auth
        self._stream = stream
        self._api = f"$JS.{auth.domain}.API" if auth.domain else "$JS.API"
        self._inbox = ""
        self._on_verdict: OnVerdict | None = None
        self._on_lost: list[Callable[[], None]] = []
        self._lost = False
        self._why = ""

    @classmethod
    async def open(cls, auth: NatsAuth, *, name: str, stream: str) -> Publisher:
        """Connect and subscribe to acknowledgements.

        Raises:
            OutboxError: As `adapters.nats.connect`.
        """
        publisher: Publisher | None = None

        def on_disconnected() -> None:
            if publisher is not None:
                discard_unsent(publisher._client)
                publisher._mark_lost()

        client = await connect(
            auth, name=name, on_disconnected=on_disconnected, on_closed=on_disconnected
        )
        publisher = cls(client, auth, stream)
        try:
            publisher._inbox = client.new_inbox()
            await client.subscribe(f"{publisher._inbox}.*", cb=publisher._receive)
        except nats.errors.Error as error:
            await client.close()
            raise connection_error(error, auth) from error
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

    def on_verdict(self, callback: OnVerdict | None) -> None:
        """Where the fate of each message is told: its token, and a refusal or None."""
        self._on_verdict = callback

    def lost_error(self) -> NatsError:
        """The loss as an error."""
        why = self._why or self.last_server_error()
        return NatsError(
            f"NATS at {self.address}: the connection was lost" + (f": {why}" if why else "")
        )

    def last_server_error(self) -> str:
        """What the server complained about last, for example a missing permission; or ''."""
        said = self._client.last_error
        return str(said).removeprefix("nats: ") if said is not None else ""

    async def limits(self) -> StreamLimits:
        """Ask the server what the stream accepts.

        Raises:
            NatsError: No such stream (reason StreamMissing), or the request failed.
            UnsupportedServerError: JetStream is not enabled.
        """
        doing = f"stream {self._stream}: look it up"
        try:
            answer = await self._client.request(
                f"{self._api}.STREAM.INFO.{self._stream}", b"", timeout=_API_SECONDS
            )
            document = json.loads(answer.data)
        except nats.errors.NoRespondersError as error:
            raise no_responders(self._auth, self._client, doing) from error
        except (nats.errors.Error, TimeoutError, ValueError) as error:
            raise jetstream_error(error, self._auth, self._client, doing) from error
        if "error" in document:
            raise self._api_error(document["error"], doing)
        config = document["config"]
        bounds = [self._client.max_payload]
        if config.get("max_msg_size", -1) >= 0:
            bounds.append(config["max_msg_size"])
        return StreamLimits(self._stream, tuple(config.get("subjects") or ()), min(bounds))

    def _api_error(self, error: Mapping[str, Any], doing: str) -> OutboxError:
        code = error.get("err_code")
        if code == _STREAM_MISSING:
            return NatsError(
                f"stream {self._stream} does not exist on NATS at {self.address}",
                reason="StreamMissing",
            )
        return NatsError(
            f"{doing}: refused by NATS at {self.address}: {error.get('description')} "
            f"(error {code})",
            reason="JetStreamError",
        )

    async def send(
        self, token: int, subject: str, headers: dict[str, str], payload: bytes, previous: str
    ) -> None:
        """Hand a message to the connection; its fate is told to `on_verdict` under `token`.

        Args:
            previous: Message id that must be the stream's last one, or '' for any. The server
                then refuses this message if the one before it was refused.

        Raises:
            NatsError: The connection is lost, or takes no data.
        """
        if self.lost:
            raise self.lost_error()
        if previous:
            headers[EXPECTED_LAST_MSG_ID] = previous
        else:
            headers.pop(EXPECTED_LAST_MSG_ID, None)
        deadline = asyncio.timeout(_SEND_SECONDS)
        try:
            async with deadline:
                await self._client.publish(
                    subject, payload, reply=f"{self._inbox}.{token}", headers=headers
                )
        except (nats.errors.Error, OSError) as error:
            if not deadline.expired():
                raise connection_error(error, self._auth) from error
        if deadline.expired():  # the driver swallows the cancellation
            self._why = f"it took no data for {_SEND_SECONDS:g} s"
            self._mark_lost()
            raise self.lost_error()

    async def subscribe(self, subject: str, callback: Callable[[], None]) -> None:
        """Call `callback` for each core-NATS message on `subject`; what it says is ignored.

        Raises:
            NatsError: The connection is lost.
        """

        async def receive(_: Msg) -> None:
            callback()

        try:
            await self._client.subscribe(subject, cb=receive)
        except nats.errors.Error as error:
            raise connection_error(error, self._auth) from error

    async def close(self) -> None:
        """End the connection at once; messages on the way may or may not arrive."""
        self._on_lost.clear()
        self._on_verdict = None
        await abandon(self._client)

    def _mark_lost(self) -> None:
        self._lost = True
        callbacks, self._on_lost = self._on_lost, []
        for callback in callbacks:
            callback()

    async def _receive(self, message: Msg) -> None:
        if self._on_verdict is None:
            return
        token = int(message.subject.rpartition(".")[2])
        self._on_verdict(token, self._verdict(message))

    def _verdict(self, message: Msg) -> Verdict:
        if message.headers and message.headers.get("Status") == _NO_RESPONDERS:
            return Refusal(
                "NoStreamResponse", 503, f"nothing answers for stream {self._stream} at the moment"
            )
        try:
            answer = json.loads(message.data)
            error = answer.get("error")
            if error is not None:
                code = int(error.get("err_code", 0))
                return Refusal("StreamRefused", code, f"{error.get('description')} (error {code})")
            if answer["stream"] == self._stream:
                return None
            return Refusal("WrongStream", 0, f"stored by stream {answer['stream']!r} instead")
        except (ValueError, TypeError, KeyError, AttributeError):
            return Refusal(
                "UnexpectedReply", 0, "a program other than JetStream answers on this subject"
            )


def message_id(headers: Mapping[str, str]) -> str:
    """The id a message is de-duplicated by."""
    return headers[names.MSG_ID]
