"""Which source a consumer reads from: the only place of the runtime that knows drivers.

Called by `consumer.app` for each session. What a source is, `adapters.source` says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from typing import Final

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.pull_session import has_new_login, pull_session
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.adapters.source import Delivery, Others, Source
from outbox_operator.counted import counted
from outbox_operator.errors import SpecError
from outbox_operator.telemetry.readiness import ServerState
from outbox_operator.wire import dead_letters
from outbox_operator.wire.config import ConsumerConfig, NatsConfig, RedisConfig

_MOST_NAMES: Final = 10
_NAME_CHARACTERS: Final = 100
_MOST_COMPARED: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Whom a source reports to, see there."""

    state: ServerState
    """Of the connection."""
    on_delivery: Callable[[Delivery], None]
    on_change: Callable[[], None]
    on_refused: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Session:
    """A source that is not open yet.

    Attributes:
        is_over: Whether only another session can read: the connection is closed for good, or
            there is a new login.
    """

    source: Source
    is_over: Callable[[], bool]


def what(config: ConsumerConfig) -> str:
    """What is read, for messages."""
    kind = "durable consumer" if config.redis is None else "consumer group"
    return f"{kind} {config.durable!r}"


def no_room(config: ConsumerConfig, waiting: int) -> str:
    """Why nothing is delivered while so many messages wait, for people."""
    if config.redis is not None:
        return (
            f"{counted(waiting, 'event waits', 'events wait')} in this pod for another "
            "try, as many as it keeps; it reads no other meanwhile"
        )
    return (
        f"{counted(waiting, 'event waits', 'events wait')} for another try or "
        f"{'is' if waiting == 1 else 'are'} with other pods, as many as maxAckPending allows; "
        "no other is delivered meanwhile"
    )


def nearest(config: ConsumerConfig, others: Others) -> str:
    """What there is in place of what was named, the most alike first, for people."""
    compared = [
        SequenceMatcher(None, "", one[:_NAME_CHARACTERS]) for one in (config.durable, config.stream)
    ]

    def unlike(name: str) -> float:
        for one in compared:
            one.set_seq1(name)
        return -max(one.ratio() for one in compared)

    # A server may have many, and long ones: to compare them takes longer than to cut them.
    cut = [name[:_NAME_CHARACTERS] for name in others.names[:_MOST_COMPARED]]
    shown = ", ".join(sorted(cut, key=unlike)[:_MOST_NAMES])
    left = len(others.names) - _MOST_NAMES
    return f"{others.kind}: {shown or 'none'}{f' and {left} more' if left > 0 else ''}"


def check_url(config: ConsumerConfig) -> None:
    """Refuse the URL of a server that can be none.

    Raises:
        SpecError: See above.
    """
    if config.redis is not None:
        RedisLogin(url=config.redis.url).server()
    else:
        NatsAuth(url=config.jetstream.url).check_servers()


def letters_to(config: ConsumerConfig) -> str | None:
    """Where dead letters are stored; None: nowhere."""
    prefix = config.dead_letter_subject
    if prefix is None or config.redis is not None:
        return prefix
    return dead_letters.subject(prefix, config.durable)


def session(
    config: ConsumerConfig, reports: Reports, stopping: asyncio.Event
) -> contextlib.AbstractAsyncContextManager[Session]:
    """A session with the server of a configuration; what it holds ends with the block.

    Args:
        config: Where and how.
        reports: Whom to report to.
        stopping: Once it is set nothing is said of a lost connection.

    Raises:
        OutboxError: No connection can be made.
    """
    if config.redis is not None:
        return _redis(config, config.redis, reports)
    return _jetstream(config, config.jetstream, reports, stopping)


@contextlib.asynccontextmanager
async def _jetstream(
    config: ConsumerConfig, nats: NatsConfig, reports: Reports, stopping: asyncio.Event
) -> AsyncIterator[Session]:
    reading = pull_session(
        nats,
        name=f"outbox-consumer {config.namespace}/{config.consumer}",
        stream=config.stream,
        durable=config.durable,
        state=reports.state,
        stopping=stopping,
        on_delivery=reports.on_delivery,
        on_change=reports.on_change,
        on_refused=reports.on_refused,
    )
    async with reading as source:
        yield Session(source, lambda: source.closed or has_new_login(nats, source))


@contextlib.asynccontextmanager
async def _redis(
    config: ConsumerConfig, redis: RedisConfig, reports: Reports
) -> AsyncIterator[Session]:
    try:
        from outbox_operator.adapters.redis.group import RedisGroup
    except ImportError as error:
        raise SpecError(
            f"Redis at {redis.url}: the client is not installed: "
            "pip install 'outbox-operator[consumer,redis]'"
        ) from error
    with reports.state.reporting():
        group = RedisGroup(
            partial(RedisLogin.from_files, redis),
            name=f"outbox-consumer {config.namespace}/{config.consumer}",
            stream=config.stream,
            keys=config.shard_streams or (config.stream,),
            group=config.durable,
            event_types=config.event_types or (),
            ack_wait=config.ack_wait_seconds,
            state=reports.state,
            on_delivery=reports.on_delivery,
            on_change=reports.on_change,
            on_refused=reports.on_refused,
        )
    try:
        yield Session(group, lambda: group.has_new_login)
    finally:
        await group.end()
