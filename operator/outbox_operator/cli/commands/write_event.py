"""`outbox write-event`: write an event read from standard input, with a pod's own login.

`kubectl outbox emit` runs it in a relay's pod, or in one made for it. The event comes as one line
of JSON on standard input, so that nothing of it is in a command, which API servers write down.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from outbox_operator.adapters.postgres.dead_letters import DeadLetterStore
    from outbox_operator.adapters.postgres.written_event import (
        MeantEvent,
        WrittenEvent,
        WrittenEvents,
    )
    from outbox_operator.adapters.sink import TailMessage
    from outbox_operator.wire.config import RedisConfig, RelayConfig
    from outbox_operator.wire.event import Event

HELP: Final = "write one event of standard input, for `kubectl outbox emit`"
EXTRA: Final = "relay"

_NAME: Final = "outbox-write-event"
_LOOK_SECONDS: Final = 0.2


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--config", metavar="FILE", help="JSON configuration (default: the value of OUTBOX_CONFIG)"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS",
        help="look so long for what becomes of it (default: not at all)",
    )  # fmt: skip
    parser.add_argument(
        "--once", action="store_true", help="not if it was written already, as far as rows are kept"
    )


def run(args: argparse.Namespace) -> int:
    """Write it, and print its id and what became of it, a JSON line each.

    What fails before the transaction's end says so by a line: without it nobody knows.
    """
    from outbox_operator import documents
    from outbox_operator.cli import event_document
    from outbox_operator.wire.config import RelayConfig

    text, name = documents.read(args.config, "relay")
    config = documents.parse(RelayConfig, text, name)
    event = event_document.decode(sys.stdin.buffer.readline(event_document.MOST_BYTES * 2))
    asyncio.run(_run(config, event, args.wait, once=args.once))
    return 0


async def _run(config: RelayConfig, event: Event, wait: float, *, once: bool) -> None:
    from outbox_operator.adapters.postgres import connection as postgres
    from outbox_operator.adapters.postgres.dead_letters import DeadLetterStore
    from outbox_operator.adapters.postgres.errors import errors
    from outbox_operator.adapters.postgres.url import Login, resolve
    from outbox_operator.adapters.postgres.written_event import MeantEvent, WrittenEvents
    from outbox_operator.client import Outbox
    from outbox_operator.client.rows import DEFAULT_MAX_BYTES, RowMaker

    schema = config.database.schema
    outbox = Outbox(schema=schema, payload_type=config.payload_type)
    async with contextlib.AsyncExitStack() as stack:
        ends: list[_End] = []
        with _unwritten(event):
            target = resolve(Login.from_files(config.database))
            connection = await postgres.connect(
                target, application_name=_NAME, statements_of_others=True
            )
            stack.push_async_callback(connection.close)
            if wait:  # before anything is written: what comes is behind this
                ends = await stack.enter_async_context(_ends(config))
            rows = WrittenEvents(connection, target, schema)
            row = RowMaker(config.payload_type, DEFAULT_MAX_BYTES).one(event)
            meant = MeantEvent(
                id=event.id, type=row.event_type, key=row.partition_key,
                routing_key=row.routing_key, payload=row.payload,
            )  # fmt: skip
            with errors(target):
                transaction = connection.transaction()
                await transaction.start()
                # Whoever tries again waits until it is known what became of this.
                await rows.lock(event.id)
                there = await _there(rows, meant) if once else None
                if there is None:
                    await outbox.add(connection, event)
        with errors(target):
            await transaction.commit()
        if there is not None:
            _say({"there": str(event.id)})
            if wait:
                _say(await _fate(meant, rows, there, wait))
            return
        _say({"written": str(event.id)})
        if wait:
            letters = DeadLetterStore(connection, target, schema, config.payload_type)
            _say(await _outcome(event, ends, letters, wait))


@contextlib.contextmanager
def _unwritten(event: Event) -> Iterator[None]:
    """Say of what fails in the block that nothing was written."""
    try:
        yield
    except Exception:
        _say({"unwritten": str(event.id)})
        raise


async def _there(rows: WrittenEvents, event: MeantEvent) -> WrittenEvent | None:
    """The event, if it was written already. Raises when another has its id, or nobody can see."""
    from outbox_operator.errors import AccessDeniedError, EventError

    try:
        there = await rows.find(event)
    except AccessDeniedError as error:
        raise AccessDeniedError(
            f"this login, which may only write, cannot see whether event {event.id} was written "
            f"already ({error.message}); leave --writer out, or --id for a new event"
        ) from error
    if there is not None and there.differs:
        raise EventError(
            f"another event with id {event.id} is there already: its {there.differs} is not what "
            "is to be written; take another id, or none for a new one"
        )
    return there


async def _fate(
    event: MeantEvent, rows: WrittenEvents, there: WrittenEvent, seconds: float
) -> dict[str, Any]:
    """What became of an event that was there; empty: nothing yet."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not (there.published or there.given_up) and there.dead_letter is None:
                await asyncio.sleep(_LOOK_SECONDS)
                there = await rows.find(event) or there
    if there.given_up:
        return {"givenUp": True}
    if there.dead_letter is not None:
        return {"deadLetter": there.dead_letter}
    return {"published": True} if there.published else {}


class _LastOf(Protocol):
    async def __call__(self, subjects: str, /) -> TailMessage | None: ...


@dataclass(slots=True)
class _End:
    """The end of a stream, or of one of its keys in Redis.

    Attributes:
        subjects: What is looked at; in Redis a key.
        behind: Reads all of that behind a place.
        at: The place up to which it was read.
        key: In Redis.
    """

    subjects: str
    behind: Callable[[str, int], AsyncIterator[TailMessage]]
    at: int
    key: str | None

    @classmethod
    async def of(
        cls,
        subjects: str,
        last_of: _LastOf,
        behind: Callable[[str, int], AsyncIterator[TailMessage]],
        key: str | None = None,
    ) -> _End:
        """Where it is now."""
        found = await last_of(subjects)
        return cls(subjects, behind, 0 if found is None else found.sequence, key)

    async def find(self, event_id: str) -> dict[str, Any] | None:
        """Where an event is in what came; None: it did not."""
        from outbox_operator.wire.headers import EVENT_ID

        async for message in self.behind(self.subjects, self.at):
            self.at = message.sequence
            if message.headers.get(EVENT_ID) == event_id:
                key = {} if self.key is None else {"key": self.key}
                return {"sequence": message.sequence, **key}
        return None


@contextlib.asynccontextmanager
async def _ends(config: RelayConfig) -> AsyncIterator[list[_End]]:
    """The ends at which an event may appear, read as the relay does, with its rights."""
    from outbox_operator.wire.subjects import SubjectTemplate

    template = SubjectTemplate.parse(config.subject)
    if config.redis is not None:
        keys = dict.fromkeys(template.filter(shard=shard) for shard in range(config.shards))
        async with _redis(config.redis, list(keys)) as ends:
            yield ends
        return
    from outbox_operator.adapters.nats import connection as nats
    from outbox_operator.adapters.nats.api import JetStreamApi
    from outbox_operator.adapters.nats.auth import NatsAuth
    from outbox_operator.adapters.nats.tail import TailReader

    auth = NatsAuth.from_files(config.jetstream)
    client = await nats.connect(auth, name=_NAME)
    try:
        tail = TailReader(JetStreamApi(client, auth), config.stream)
        yield [await _End.of(template.filter(), tail.last_of, tail.read)]
    finally:
        await nats.finish(client)


@contextlib.asynccontextmanager
async def _redis(config: RedisConfig, keys: list[str]) -> AsyncIterator[list[_End]]:
    from outbox_operator.relay.sinks import open_redis

    sink = await open_redis(config, _NAME)
    try:
        yield [await _End.of(key, sink.last_of, sink.tail, key) for key in keys]
    finally:
        await sink.close()


async def _outcome(
    event: Event, ends: list[_End], letters: DeadLetterStore, seconds: float
) -> dict[str, Any]:
    """What became of an event: its place in the stream, or why it is dead; empty: nothing yet."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                for end in ends:
                    if (place := await end.find(str(event.id))) is not None:
                        return place
                if (reason := await _death(event, letters)) is not None:
                    return {"deadLetter": reason}
                await asyncio.sleep(_LOOK_SECONDS)
    return {}


async def _death(event: Event, letters: DeadLetterStore) -> str | None:
    """Why it is a dead letter; None: it is none, as far as this login may know."""
    from outbox_operator.adapters.postgres.dead_letters import DeadLetterFilter
    from outbox_operator.errors import AccessDeniedError

    try:
        found = await letters.find(DeadLetterFilter(event_ids=(str(event.id),)), limit=1)
    except AccessDeniedError:  # a writer's: it may write events and do nothing else
        return None
    return found[0].reason if found else None


def _say(fact: dict[str, Any]) -> None:
    print(json.dumps(fact), flush=True)
