"""Handlers that end in ways nobody expects: each is a failed delivery like any other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from nats.aio.client import Client

from outbox_operator.consumer import Context, DeadLetter, ReceivedEvent, RetryAfter
from outbox_operator.telemetry.logging import JsonFormatter
from support.consuming import Source, calling, consuming, metric, readiness
from support.waiting import eventually

pytestmark = pytest.mark.integration


class PanicError(BaseException):
    """As panics of extensions come, past `except Exception`."""


ENDS = {
    "panic": PanicError("index out of bounds"),
    "group": BaseExceptionGroup("several", [PanicError("one"), ValueError("two")]),
    "generator": GeneratorExit(),
    "cancelled": asyncio.CancelledError(),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
}


@pytest.mark.parametrize("ordering", ["None", "PerKey"])
@pytest.mark.parametrize("end", ENDS)
async def test_whatever_a_handler_raises_is_a_failed_delivery(
    client: Client, stream_prefix: str, end: str, ordering: str
) -> None:
    source = await Source.create(
        client, stream_prefix, max_deliver=2, ordering=ordering, concurrency=4, breaker_failures=0
    )
    if ordering == "PerKey":
        await source.create_ordered()
    handled: list[str] = []

    async def handle(event: ReceivedEvent, context: Context) -> None:
        if event.type == "bad":
            raise ENDS[end]
        handled.append(event.id)

    for _ in range(5):
        await source.publish(type="bad", **{"Ce-Partitionkey": "k"})
    good = [await source.publish(type="good", **{"Ce-Partitionkey": "k"}) for _ in range(3)]
    async with consuming(replace(source.config), calling(handle)) as app:
        await source.settled(8)
        assert (await readiness(app))[0] == 200
        assert metric(app, "outbox_consumer_in_flight") == 0
    assert handled == good
    letters = await source.dead_letters()
    assert len(letters) == 5
    headers = letters[0].headers or {}
    assert type(ENDS[end]).__name__ in headers["Outbox-Dead-Letter-Error"]


class WordlessError(DeadLetter):
    """Does not tell its base anything."""

    def __init__(self) -> None:
        pass


class NoTextError(ValueError):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError("no text")


ANSWERS: dict[str, tuple[Callable[[], Exception], str]] = {
    "exception": (lambda: DeadLetter(ValueError("no such order")), "no such order"),
    "nothing": (lambda: RetryAfter(None, None), "None"),
    "wordless": (WordlessError, ""),
    "no text": (lambda: DeadLetter(NoTextError()), "no text"),
    "no Unicode": (lambda: FileNotFoundError("no file a\udcff"), r"no file a\udcff"),
    "a payload": (lambda: ValueError("no picture: " + "ab" * 500_000), "no picture: abab"),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_whatever_a_handler_gives_as_its_reason_is_one(
    client: Client, stream_prefix: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Reports of workers are UTF-8, and one of these tracebacks is not.
    monkeypatch.setattr(logging.getLogger("outbox_operator.consumer"), "propagate", False)
    source = await Source.create(client, stream_prefix, max_deliver=1)
    make, wanted = ANSWERS[answer]

    async def handle(event: ReceivedEvent, context: Context) -> None:
        raise make()

    await source.publish()
    async with consuming(source.config, calling(handle)):
        await source.settled(1)
    [letter] = await source.dead_letters()
    assert wanted in str((letter.headers or {})["Outbox-Dead-Letter-Error"])


async def test_the_log_has_the_whole_traceback_at_the_first_failure_and_at_the_last(
    client: Client, stream_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=3)
    raised: list[Exception] = []
    cards: dict[str, str] = {}

    async def handle(event: ReceivedEvent, context: Context) -> None:
        try:
            cards["card"]
        except KeyError as error:
            raised.append(ValueError("no card"))
            raise raised[-1] from error

    await source.publish()
    async with consuming(source.config, calling(handle)):
        await source.settled(1)
    shown = [record.exc_info for record in caplog.records if record.getMessage()[:6] == "event "]
    assert [info and info[1] for info in shown] == [raised[0], None, raised[2]]
    text = JsonFormatter("consumer").format(caplog.records[-1]) if shown else ""
    assert text.index("KeyError: 'card'") < text.index("direct cause") < text.rindex("in handle")
    [letter] = await source.dead_letters()
    told = str((letter.headers or {})["Outbox-Dead-Letter-Error"])
    assert told.startswith("ValueError: no card at handle (")
    assert "caused by KeyError: 'card' at handle (" in told


async def test_a_handler_that_ends_the_loop_of_others_stops_with_the_process(
    client: Client, stream_prefix: str
) -> None:
    source = await Source.create(client, stream_prefix, drain_seconds=1.0)
    begun = asyncio.Event()

    async def handle(event: ReceivedEvent, context: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    await source.publish()
    async with consuming(source.config, calling(handle)):
        await eventually(begun.is_set, "the handler")
    assert not await source.dead_letters()
