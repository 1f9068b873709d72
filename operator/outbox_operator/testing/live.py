"""A real pipeline for one test: database, stream, relay, and a way to wait for events.

Made by the fixtures in `testing.plugin`. Everything is as in production, on loopback.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from outbox_operator.adapters.nats import connection as nats
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.api.resource import Pipeline, Stream
from outbox_operator.dev.processes import Job, Processes
from outbox_operator.dev.said import STARTS
from outbox_operator.plan.redis.keys import keys_of
from outbox_operator.testing import redis_stream
from outbox_operator.wire.headers import CONTENT_TYPE, EVENT_ID, EVENT_KEY, EVENT_TYPE, decode_value

T = TypeVar("T")

WAIT_SECONDS: Final = 15.0
_FETCH_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedEvent:
    """An event as a consumer finds it in the stream.

    Attributes:
        payload: Decoded JSON; bytes where the pipeline's payload type is bytea.
        sequence: Its place in the stream.
    """

    id: str
    type: str
    key: str
    payload: Any
    headers: Mapping[str, str]
    subject: str
    sequence: int


class LivePipeline:
    """One pipeline with servers, tables, stream and relay of its own.

    Attributes:
        database_url: Of a database that holds the outbox and what the template was prepared with.
        nats_url: Of the broker; empty where all is in Redis.
        redis_url: Of the server where the stream is in Redis; else None.
        stream: Name of the stream.
        schema: Of the outbox tables.
        secrets: Folder with what HTTP handlers prove themselves with: a file `<Secret>/<key>` each.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        stream: Stream,
        *,
        database_url: str,
        nats_url: str,
        redis_url: str | None = None,
        logs: Path,
        secrets: Path,
    ) -> None:
        self.pipeline = pipeline
        self.secrets = secrets
        self.stream = stream.spec.name
        self.schema = pipeline.spec.database.schema_
        self.database_url = database_url
        self.nats_url = nats_url
        self.redis_url = None if stream.spec.redis is None else redis_url
        self._keys = keys_of(stream.spec)
        self._logs = logs
        self._seen = 0
        self._seen_in: dict[str, str] = {}
        """In Redis, by key."""
        self._waiting: list[PublishedEvent] = []

    async def wait_for(
        self,
        *,
        event_type: str | None = None,
        key: str | None = None,
        timeout: float = WAIT_SECONDS,
    ) -> PublishedEvent:
        """The next event in the stream with this type and key; each is returned once.

        Events that do not match stay for later calls.

        Raises:
            AssertionError: None came in time; says which did, and shows the end of the relay's log.
        """
        wanted = {"type": event_type, "key": key}
        deadline = time.monotonic() + timeout
        while True:
            for event in self._waiting:
                if event_type in (None, event.type) and key in (None, event.key):
                    self._waiting.remove(event)
                    return event
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(
                    f"no event with {wanted} within {timeout:g} s; {self._others()}\n{self.log()}"
                )
            self._waiting += await self._read(min(left, 1.0))

    async def published(self) -> list[PublishedEvent]:
        """Every event in the stream by now, whether waited for or not."""
        return await self._fetch(0, {}, _FETCH_SECONDS)

    def wait_for_sync(
        self,
        *,
        event_type: str | None = None,
        key: str | None = None,
        timeout: float = WAIT_SECONDS,
    ) -> PublishedEvent:
        """`wait_for` for tests that are plain functions."""
        return in_thread(self.wait_for(event_type=event_type, key=key, timeout=timeout))

    def log(self) -> str:
        """The end of what the processes logged."""
        texts = [f"{path.name}:\n{path.read_text()[-1500:]}" for path in self._logs.glob("*.log")]
        return "\n".join(texts)

    def _others(self) -> str:
        """What there is in the place of an event that did not come."""
        if not self._seen:
            return (
                "nothing was published: was the transaction committed, and is it one of the "
                f"database in outbox_pipeline.database_url?{not_begun(self._logs)}"
            )
        others = ", ".join(f"{e.type} of {e.key!r}" for e in self._waiting)
        return f"other events: {others or 'none that no earlier call has returned'}"

    async def _read(self, seconds: float) -> list[PublishedEvent]:
        events = await self._fetch(self._seen, self._seen_in, seconds)
        if events:
            self._seen = events[-1].sequence
        return events

    async def _fetch(
        self, after: int, seen: dict[str, str], seconds: float
    ) -> list[PublishedEvent]:
        # A connection for each call: the fixture lives longer than the event loop of a test.
        if self.redis_url is not None:
            entries = await redis_stream.fetch(self.redis_url, self._keys, seen, seconds)
            return [_event(one.key, one.headers, one.data, one.number) for one in entries]
        client = await nats.connect(NatsAuth(url=self.nats_url), name="outbox-testing")
        try:
            return await fetch(client, self.stream, after, seconds)
        finally:
            await client.close()


def not_begun(logs: Path) -> str:
    """What is to be done when a relay is still starting; empty: it has begun."""
    lines = [one for path in logs.glob("relay-*.log") for one in path.read_text().splitlines()]
    if any(STARTS not in one for one in lines):
        return ""
    return (
        " The relay has not begun yet: if this machine is slow, wait longer, "
        "wait_for(…, timeout=60)."
    )


async def fetch(client: Client, stream: str, after: int, seconds: float) -> list[PublishedEvent]:
    """Events behind a sequence; waits for the first, then takes what is there."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=after + 1,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=30.0,
        mem_storage=True,
    )
    jetstream = client.jetstream()
    info = await jetstream.add_consumer(stream, config)
    subscription = await jetstream.pull_subscribe_bind(consumer=info.name, stream=stream)
    found: list[PublishedEvent] = []
    patience = seconds
    try:
        while True:
            for message in await subscription.fetch(500, timeout=patience):
                sequence = message.metadata.sequence.stream
                found.append(_event(message.subject, message.headers or {}, message.data, sequence))
            patience = 0.02
    except TimeoutError:
        return found
    finally:
        await jetstream.delete_consumer(stream, info.name)


def _event(subject: str, headers: Mapping[str, str], data: bytes, sequence: int) -> PublishedEvent:
    is_json = "json" in headers.get(CONTENT_TYPE, "")
    return PublishedEvent(
        id=headers.get(EVENT_ID, ""),
        type=decode_value(headers.get(EVENT_TYPE, "")),
        key=decode_value(headers.get(EVENT_KEY, "")),
        payload=json.loads(data) if is_json else data,
        headers=dict(headers),
        subject=subject,
        sequence=sequence,
    )


class BackgroundProcesses:
    """Runs jobs in a thread with an event loop of its own; a test may have another, or none."""

    def __init__(self, jobs: Sequence[Job], folder: Path) -> None:
        self._jobs = list(jobs)
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="outbox-processes")
        self._processes = Processes(self._jobs, folder)

    def __enter__(self) -> BackgroundProcesses:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._processes.__aenter__(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._processes.__aexit__(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a thread of its own, wherever we are."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            future.set_exception(error)

    thread = threading.Thread(target=run, name="outbox-testing")
    thread.start()
    thread.join()
    return future.result()
