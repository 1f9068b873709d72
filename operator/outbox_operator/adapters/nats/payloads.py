"""Reads whole messages of a stream once, without a durable consumer and without a trace.

For whoever looks at what flows. Needs the right to STREAM.INFO, CONSUMER.CREATE and
CONSUMER.MSG.NEXT of the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from outbox_operator.adapters.nats.api import JetStreamApi
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.adapters.nats.pull_requests import PulledMessage, PullRequests
from outbox_operator.aio import wait
from outbox_operator.counted import counted
from outbox_operator.errors import NatsError, SpecError

_BATCH: Final = 500
_PULL_SECONDS: Final = 1.0
_SILENCE_SECONDS: Final = 5.0
_EMPTY_PULLS: Final = 3
_CONSUMER_IDLE_SECONDS: Final = 30


class PayloadReader:
    """Reads one stream over one connection. Each message is handed on as it comes; none is kept.

    Args:
        api: The connection.
        stream: Name of the stream.
        on_message: Called for each message, in order.
    """

    def __init__(
        self, api: JetStreamApi, stream: str, on_message: Callable[[PulledMessage], None]
    ) -> None:
        self._api = api
        self._stream = stream
        self._on_message = on_message
        self._left = 0
        self._complete = asyncio.Event()
        self._requests: PullRequests | None = None

    async def read(self, subject_filter: str, most: int) -> None:
        """Read the last messages that there are now.

        Args:
            subject_filter: Only these subjects.
            most: How many of the stream's last messages to look among.

        Raises:
            SpecError: There is no such stream.
            OutboxError: It cannot be read.
        """
        doing = f"stream {self._stream}: read {subject_filter}"
        info = await self._api.find(
            f"STREAM.INFO.{self._stream}", {}, doing, FaultKind.STREAM_MISSING
        )
        if info is None:
            raise SpecError(f"there is no stream {self._stream!r} on {self._api.auth.address}")
        state: dict[str, Any] = info["state"]
        first = max(int(state["first_seq"]), int(state["last_seq"]) - most + 1, 1)
        created = await self._api.request(
            f"CONSUMER.CREATE.{self._stream}",
            {
                "stream_name": self._stream,
                "config": {
                    "filter_subject": subject_filter,
                    "deliver_policy": "by_start_sequence",
                    "opt_start_seq": first,
                    "ack_policy": "none",
                    "mem_storage": True,
                    "num_replicas": 1,
                    "inactive_threshold": _CONSUMER_IDLE_SECONDS * 1_000_000_000,
                },
            },
            doing,
        )
        # What comes meanwhile is not waited for, else a busy stream had no end.
        self._left = min(int(created.get("num_pending", 0)), most)
        requests = self._requests = PullRequests(
            self._api, self._stream, str(created["name"]), expires_seconds=_PULL_SECONDS,
            on_message=self._took, on_change=self._changed,
        )  # fmt: skip
        try:
            await requests.listen()
            await self._drain(requests, doing)
        finally:
            await requests.close(drain_seconds=0)

    async def _drain(self, requests: PullRequests, doing: str) -> None:
        empty = 0
        while self._left and empty < _EMPTY_PULLS:  # what is missing may have expired meanwhile
            before = self._left
            self._complete.clear()
            await requests.request(min(_BATCH, self._left))
            while not await wait(self._complete, _SILENCE_SECONDS):
                if self._left == before:
                    left = counted(before, "message")
                    raise NatsError(f"{doing}: no answer in time, {left} before the end")
                before = self._left
            if requests.failure is not None:
                raise requests.failure
            if requests.refusal:
                raise NatsError(f"{doing}: the server refuses: {requests.refusal}")
            empty = 0 if self._left < before else empty + 1

    def _took(self, message: PulledMessage) -> None:
        if self._left:
            self._left -= 1
            self._on_message(message)
        if not self._left or (self._requests is not None and not self._requests.requested):
            self._complete.set()

    def _changed(self) -> None:
        requests = self._requests
        if requests is not None and (not requests.requested or requests.failure is not None):
            self._complete.set()
