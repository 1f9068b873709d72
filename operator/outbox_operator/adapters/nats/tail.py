"""What a stream holds at its end: the last message of some subjects, and all behind a sequence.

Called by the publisher, to find out what an earlier relay has stored. Only the stream's leader
is believed: a replica may lag behind, and what it does not know yet would be published twice.
Needs the right to STREAM.MSG.GET, CONSUMER.CREATE and CONSUMER.MSG.NEXT of the stream, the
latter two only when there is something to read.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from typing import Final

from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.adapters.nats.frame_reader import parse_headers
from outbox_operator.adapters.nats.pull_requests import PulledMessage, PullRequests
from outbox_operator.adapters.sink import TailMessage
from outbox_operator.aio import wait
from outbox_operator.errors import NatsError

_BATCH: Final = 1000
_PULL_SECONDS: Final = 1.0
_SILENCE_SECONDS: Final = 5.0
"""Longest wait for another message. How long all take depends on the network and their headers."""
_EMPTY_PULLS: Final = 5
"""Pulls in a row that may bring nothing before the last message is reached: a replica lags."""
_CONSUMER_IDLE_SECONDS: Final = 30


class TailReader:
    """Reads one stream over one connection.

    Args:
        api: The connection.
        stream: Name of the stream.
        silence_seconds: Longest wait for another message.
    """

    def __init__(
        self, api: JetStreamApi, stream: str, silence_seconds: float = _SILENCE_SECONDS
    ) -> None:
        self._api = api
        self._stream = stream
        self._silence_seconds = silence_seconds

    async def last_of(self, subject_filter: str) -> TailMessage | None:
        """See `Publisher.last_of`."""
        return await self._get(
            {"last_by_subj": subject_filter}, f"read the last message on {subject_filter}"
        )

    async def message_at(self, sequence: int) -> TailMessage | None:
        """See `Publisher.message_at`."""
        return await self._get({"seq": sequence}, f"read message {sequence}")

    async def _get(self, wanted: Mapping[str, object], doing: str) -> TailMessage | None:
        found = await self._api.find(
            f"STREAM.MSG.GET.{self._stream}",
            wanted,
            f"stream {self._stream}: {doing}",
            FaultKind.MESSAGE_MISSING,
        )
        if found is None:
            return None
        message = found["message"]
        headers = base64.b64decode(message.get("hdrs") or "")
        return TailMessage(int(message["seq"]), message["subject"], parse_headers(headers))

    async def read(self, subject_filter: str, after_sequence: int) -> AsyncIterator[TailMessage]:
        """See `Publisher.tail`."""
        last = await self.last_of(subject_filter)
        if last is None or last.sequence <= after_sequence:
            return
        if last.sequence == after_sequence + 1:
            yield last
            return
        doing = f"stream {self._stream}: read {subject_filter} behind {after_sequence}"
        consumer = await self._consumer(subject_filter, after_sequence + 1)
        pull = _Pull(self._api, self._stream, consumer, self._silence_seconds)
        reached, empty_pulls = after_sequence, 0
        try:
            await pull.requests.listen()
            while last is not None and reached < last.sequence:
                messages = await pull.fetch(last.sequence)
                for message in messages:
                    reached = message.sequence
                    yield message
                empty_pulls = 0 if messages else empty_pulls + 1
                if pull.requests.failure is not None:
                    raise pull.requests.failure
                if pull.failed or empty_pulls == _EMPTY_PULLS:
                    raise NatsError(
                        f"{doing}: stopped at sequence {reached} before {last.sequence}: "
                        f"{pull.failed or 'the server sends no more'}"
                    )
                if not messages:  # what is missing may have expired, or been purged
                    last = await self.last_of(subject_filter)
        finally:
            await pull.requests.close(drain_seconds=0)

    async def _consumer(self, subject_filter: str, first_sequence: int) -> str:
        """Make a consumer that ends by itself; returns its name."""
        created = await self._api.request(
            f"CONSUMER.CREATE.{self._stream}",
            {
                "stream_name": self._stream,
                "config": {
                    "filter_subject": subject_filter,
                    "deliver_policy": "by_start_sequence",
                    "opt_start_seq": first_sequence,
                    "ack_policy": "none",
                    "headers_only": True,
                    "mem_storage": True,
                    "num_replicas": 1,
                    "inactive_threshold": _CONSUMER_IDLE_SECONDS * 1_000_000_000,
                },
            },
            f"stream {self._stream}: read {subject_filter} from sequence {first_sequence}",
        )
        return str(created["name"])


class _Pull:
    """Pulls a batch at a time.

    Attributes:
        failed: Why no more can come, when `requests.failure` does not say it.
    """

    def __init__(
        self, api: JetStreamApi, stream: str, consumer: str, silence_seconds: float
    ) -> None:
        self.failed = ""
        self._silence_seconds = silence_seconds
        self.requests = PullRequests(
            api, stream, consumer, expires_seconds=_PULL_SECONDS,
            on_message=self._on_message, on_change=self._on_change,
        )  # fmt: skip
        self._messages: list[TailMessage] = []
        self._last_sequence = 0
        self._complete = asyncio.Event()

    async def fetch(self, last_sequence: int) -> list[TailMessage]:
        """A batch, or less when the last is reached or the server falls silent."""
        self._messages, self._last_sequence = [], last_sequence
        self._complete.clear()
        await self.requests.request(_BATCH)
        arrived = 0
        while not await wait(self._complete, self._silence_seconds):
            if len(self._messages) == arrived:
                self.failed = "no answer in time"
                break
            arrived = len(self._messages)
        return self._messages

    def _on_message(self, message: PulledMessage) -> None:
        self._messages.append(TailMessage(message.sequence, message.subject, message.headers))
        if not self.requests.requested or message.sequence >= self._last_sequence:
            self._complete.set()

    def _on_change(self) -> None:
        requests = self.requests
        self.failed = requests.refusal
        if not requests.requested or requests.failure is not None:
            self._complete.set()
