"""While relay and consumers run: the table, what they say, and a new start when code changes.

Called by `dev.app` for as long as it runs; servers that are away for a while are waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.letter_counts import LetterCounts
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.aio import wait
from outbox_operator.api.resource import Consumer
from outbox_operator.dev import counts, ends, setup
from outbox_operator.dev.manifest import Resources
from outbox_operator.dev.processes import Processes
from outbox_operator.dev.said import Said
from outbox_operator.dev.servers import Servers
from outbox_operator.dev.sources import Files, Sources
from outbox_operator.dev.table import (
    ConsumerNumbers,
    PipelineNumbers,
    Restarted,
    Runs,
    Sample,
    Shown,
    render,
)
from outbox_operator.errors import OutboxError
from outbox_operator.plan.names import durable_name
from outbox_operator.plan.passes.source import any_source_in
from outbox_operator.plan.sources import RedisSource
from outbox_operator.telemetry.readable import clock
from outbox_operator.wire.times import format_time

_SAMPLE_SECONDS: Final = 1.0
_SAID_SECONDS: Final = 0.2
_READY_SECONDS: Final = 0.05
_SOURCES_SECONDS: Final = 0.5
_SOURCES_SHARE: Final = 10
"""Looks at the sources take no more than one part in so many of the time."""


class Live:
    """What is looked at while everything runs.

    Args:
        resources: What runs.
        processes: As what.
        where: The servers.
        stop: Set when all this is to end.
        say: Takes one line for a person.
        show: Takes what is on the screen anew each second.
    """

    def __init__(
        self,
        resources: Resources,
        processes: Processes,
        where: Servers,
        stop: asyncio.Event,
        say: Callable[[str], None],
        show: Callable[[Shown], None],
    ) -> None:
        self.resources = resources
        self._processes = processes
        self._where = where
        self._stop = stop
        self._say = say
        self._show = show
        self._letter_counts = LetterCounts()
        self._said = {name: self._new(name) for name in processes.ends}
        self._handled = {name: counts.Handled() for name in processes.ends}

    async def run(
        self,
        sources: Path | None,
        manifests: Sequence[Path],
        apply: Callable[[], Awaitable[None]],
        began: float,
    ) -> None:
        """Until `stop` is set.

        Args:
            sources: Folder of the code of handlers, which begin anew when it changes; None: not.
            manifests: Files that are looked at.
            apply: Called when one of them has changed.
            began: When the start began, as `time.monotonic` counts.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._table())
            tasks.create_task(self._repeat_news())
            tasks.create_task(self._ready(began))
            if sources is not None:
                tasks.create_task(self._reload(sources))
            if manifests:
                tasks.create_task(self._follow(Files(manifests), apply))

    def adopt(self, resources: Resources) -> None:
        """Look at these resources, and the processes that there are now."""
        self.resources = resources
        names = self._processes.ends
        self._said = {one: self._said.get(one) or self._new(one) for one in names}
        self._handled = {one: self._handled.get(one) or counts.Handled() for one in names}

    def _new(self, name: str) -> Said:
        return Said(name, self._processes.log(name))

    def say_news(self) -> None:
        """Say what the processes have said since the last time."""
        for said in self._said.values():
            for line in said.news():
                self._say(line)

    async def _repeat_news(self) -> None:
        while not await wait(self._stop, _SAID_SECONDS):
            self.say_news()

    async def _ready(self, began: float) -> None:
        """Say when all processes are ready, once."""
        names = set(self._said)
        while names and not await wait(self._stop, _READY_SECONDS):
            ports = self._processes.ports
            for name in [one for one in names if one in ports]:
                if await counts.is_ready(ports[name]):
                    names.discard(name)
        if not names:
            self._say(f"ready after {time.monotonic() - began:.1f} s")

    async def _reload(self, folder: Path) -> None:
        """Begin all Python consumers anew when a file of theirs was saved."""
        sources = await asyncio.to_thread(Sources, folder)
        pause, waiting = _SOURCES_SECONDS, list[str]()
        while not await wait(self._stop, pause):
            before = time.monotonic()
            changed = await asyncio.to_thread(sources.changed)
            pause = max(_SOURCES_SECONDS, _SOURCES_SHARE * (time.monotonic() - before))
            waiting += changed
            if not waiting or changed:
                continue  # an editor, or a switch of branches, may be at it still
            files = sorted(set(waiting))
            rest = f" and {len(files) - 3} more" if len(files) > 3 else ""
            self._say(f"changed: {', '.join(files[:3])}{rest}; consumers begin anew")
            waiting.clear()
            for name in self._processes.python:
                self._said[name].forget()
                self._processes.begin_anew(name)

    async def _follow(self, files: Files, apply: Callable[[], Awaitable[None]]) -> None:
        """Apply manifests when one of them was saved."""
        waiting = False
        while not await wait(self._stop, _SOURCES_SECONDS):
            changed = files.changed()
            if waiting and not changed:  # else an editor may be at it still
                await apply()
            waiting = changed

    async def _table(self) -> None:
        before: Sample | None = None
        database_url = self._where.database_url
        while not self._stop.is_set():
            try:
                async with (
                    setup.database(database_url) as admin,
                    setup.jetstream(self._where.nats_url) as streams,
                ):
                    while not self._stop.is_set():
                        now = await self._sample(admin, streams)
                        self._show(render(now, before, self._restarted()))
                        before = now
                        await wait(self._stop, _SAMPLE_SECONDS)
            except OutboxError as error:
                self._show([error.message])
                await wait(self._stop, _SAMPLE_SECONDS)

    def _restarted(self) -> list[Restarted]:
        return [
            Restarted(
                name=name,
                times=found.times,
                how=ends.how(found.code),
                at=clock(format_time(found.at, "milliseconds")),
                runs=(runs := self._runs(name) == "here"),
                last=self._said[name].last_words(lives=runs) if ends.says_why(found.code) else "",
            )
            for name, found in self._processes.ends.items()
            if found is not None
        ]

    async def _sample(self, admin: PostgresAdmin, streams: JetStreamAdmin) -> Sample:
        """The numbers of now."""
        resources = self.resources
        letters = {one.meta.key: await self._letters(streams, one) for one in resources.consumers}
        pipelines = []
        for pipeline in resources.pipelines:
            numbers = await admin.sample(pipeline.spec.database.schema_)
            own = resources.stream_of(pipeline)
            stored = await setup.stored(own, streams, self._where.redis_url)
            if own.spec.redis is not None:
                dead = await setup.letters(self._where.redis_url, own)
            else:
                readers = (one for one in resources.consumers if resources.source_of(one) is own)
                dead = sum(letters[one.meta.key] for one in readers)
            pipelines.append(
                PipelineNumbers(
                    name=pipeline.meta.name,
                    backlog=numbers.backlog_rows,
                    backlog_is_estimate=numbers.backlog_is_estimate,
                    oldest_seconds=numbers.oldest_age_seconds,
                    dead_letters=numbers.dead_letters + dead,
                    published=numbers.published_total,
                    stored=stored,
                    runs=self._runs(f"relay-{pipeline.meta.name}"),
                )
            )
        consumers = [
            one
            for consumer in resources.consumers
            if (one := await self._consumer(consumer, streams, letters)) is not None
        ]
        return Sample(
            seconds=time.monotonic(), pipelines=tuple(pipelines), consumers=tuple(consumers)
        )

    async def _consumer(
        self,
        consumer: Consumer,
        streams: JetStreamAdmin,
        letters: Mapping[str, int],
    ) -> ConsumerNumbers | None:
        """None: its durable consumer is gone."""
        source = any_source_in(consumer, self.resources.source_of(consumer))
        dead: int | None = letters[consumer.meta.key]
        if isinstance(source, RedisSource):
            numbers = await setup.group_numbers(self._where.redis_url, consumer, source)
            found = None if numbers is None else numbers.group
            dead = None if numbers is None else numbers.dead_letters
        else:
            found = await streams.consumer_info(source.stream, durable_name(consumer))
        if found is None:
            return None
        name = f"consumer-{consumer.meta.name}"
        return ConsumerNumbers(
            name=consumer.meta.name,
            pending=found.pending,
            ack_pending=found.ack_pending,
            redelivered=found.redelivered,
            handled=await self._handled_by(name),
            dead_letters=dead,
            runs=self._runs(name),
        )

    def _runs(self, name: str) -> Runs:
        """What of a process runs; one that lives for moments each time has ended."""
        if name not in self._said:
            return "elsewhere"
        ended, lives = self._processes.ends.get(name), name in self._processes.running
        return "here" if ends.lasts(ended, datetime.now(UTC), lives=lives) else "ended"

    async def _handled_by(self, name: str) -> int | None:
        handled = self._handled.get(name)
        if handled is None:
            return None
        port = self._processes.ports.get(name)
        metrics = None if port is None else await counts.metrics_of(port)
        return handled.total if metrics is None else handled.said(counts.acknowledged(metrics))

    async def _letters(self, streams: JetStreamAdmin, consumer: Consumer) -> int:
        """Of a consumer in JetStream; what the server gave up on is one of them from here on."""
        source = any_source_in(consumer, self.resources.source_of(consumer))
        if isinstance(source, RedisSource):
            return 0
        seen = await self._letter_counts.look(consumer, source, streams)
        if isinstance(seen.count, OutboxError):
            raise seen.count
        return seen.count or 0
