"""Handlers by event type, and what they are called with."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import time
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import pytest
from pydantic import BaseModel

from outbox_operator.consumer import Answers, Call, Next, TableSink
from outbox_operator.consumer.app import App
from outbox_operator.consumer.handlers.python import PythonHandler
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.consumer.handlers.types import (
    Ack,
    Context,
    DeadLetter,
    ReceivedEvent,
    RetryAfter,
    Unhandled,
)
from outbox_operator.errors import SpecError
from outbox_operator.wire.config import ConsumerConfig, NatsConfig


class Order(BaseModel):
    id: int
    total: int = 0


@dataclasses.dataclass
class Plain:
    id: int


def event(kind: str = "order.created", data: bytes = b'{"id": 7}') -> ReceivedEvent:
    return ReceivedEvent(
        id="e", type=kind, source="/s", key="k", subject="s", content_type="application/json",
        headers={}, time=dt.datetime(2026, 11, 21, tzinfo=dt.UTC), data=data,
    )  # fmt: skip


def context() -> Context:
    return Context(consumer="billing", deliveries=1, stream="S", sequence=1)


def python(loaded: Callable[..., Any] | Handlers, timeout: float = 5.0) -> PythonHandler:
    return PythonHandler("shop:app", loaded, timeout=timeout, threads=2)


@pytest.mark.parametrize(
    ("pattern", "kind", "takes"),
    [
        ("order.created", "order.created", True),
        ("order.created", "order.created.v2", False),
        ("order.*", "order.created", True),
        ("order.*", "order", False),
        ("order.*", "order.created.v2", False),
        ("order.>", "order.created.v2", True),
        ("order.>", "order", False),
        (">", "anything.at.all", True),
        ("*", "order", True),
        ("*.created", "order.created", True),
    ],
)
def test_types_are_matched_by_tokens(pattern: str, kind: str, takes: bool) -> None:
    app = Handlers()
    app.handler(pattern)(print)
    assert (app.route(kind) is not None) == takes


def test_the_most_specific_handler_is_called() -> None:
    app = Handlers()
    for pattern in (">", "order.>", "order.*", "*.created", "order.created"):
        app.handler(pattern)(print)

    def chosen(kind: str) -> str:
        route = app.route(kind)
        assert route is not None
        return route.pattern

    assert chosen("order.created") == "order.created"
    assert chosen("order.paid") == "order.*"
    assert chosen("order.paid.late") == "order.>"
    assert chosen("invoice.created") == "*.created"
    assert chosen("invoice") == ">"


@pytest.mark.parametrize(
    "pattern",
    [
        "", "order..created", "order.>.late", ".", " order.created", "order.created, order.paid",
        "order*", "order.**", "order.>>",
    ],
)  # fmt: skip
def test_a_malformed_type_is_refused(pattern: str) -> None:
    with pytest.raises(SpecError, match="wanted tokens separated by dots"):
        Handlers().handler(pattern)


def test_one_type_has_one_handler() -> None:
    app = Handlers()
    app.handler("order.created")(print)
    with pytest.raises(SpecError, match="has a handler already"):
        app.handler("order.created")


@pytest.mark.parametrize("size", [0, -1, 100_000, 1.5, "10", True])
def test_a_batch_has_a_size(size: Any) -> None:
    with pytest.raises(SpecError, match="size: wanted 1 to 10000"):
        Handlers().batch("order.created", size=size)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), "10", dt.timedelta(seconds=5)])
def test_a_timeout_is_seconds(timeout: Any) -> None:
    for decorator in (Handlers().handler, partial(Handlers().batch, size=2)):
        with pytest.raises(SpecError, match="timeout: wanted more than 0 seconds, found"):
            decorator("order.created", timeout=timeout)


def test_retries_are_said_by_a_retry() -> None:
    wrong: Any = 5
    with pytest.raises(SpecError, match=r"wanted Retry\(…\), such as .*, found 5"):
        Handlers(retry=wrong)
    for decorator in (Handlers().handler, partial(Handlers().batch, size=2)):
        with pytest.raises(SpecError, match=r"wanted Retry\(…\)"):
            decorator("order.created", retry=wrong)


async def test_parameters_are_filled_by_their_annotations() -> None:
    given: list[Any] = []
    app = Handlers()

    @app.handler("a")
    async def payload_only(order: Order) -> None:
        given.append(order)

    @app.handler("b")
    async def all_three(context: Context, order: Plain, event: ReceivedEvent) -> None:
        given.append((context.consumer, order, event.id))

    @app.handler("c")
    async def by_position(what, circumstances):  # type: ignore[no-untyped-def]
        given.append((what.id, circumstances.deliveries))

    @app.handler("d")
    def in_a_thread(raw: bytes) -> None:
        given.append(raw)

    @app.handler("e")
    async def as_a_dictionary(order: dict[str, int]) -> None:
        given.append(order)

    handler = python(app)
    for kind in "abcde":
        assert await handler.handle(event(kind), context()) == Ack()
    await handler.close()
    assert given == [Order(id=7), ("billing", Plain(7), "e"), ("e", 1), b'{"id": 7}', {"id": 7}]


@pytest.mark.parametrize("data", [b"[]", b"not json", b'{"id": "x"}'])
async def test_a_payload_that_does_not_fit_is_a_dead_letter(data: bytes) -> None:
    async def handle(order: Order) -> None:
        raise AssertionError

    outcome = await python(handle).handle(event(data=data), context())
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason.startswith("the payload is no Order: ")


@pytest.mark.parametrize("answer", [RetryAfter(3, "closed"), DeadLetter("no"), Ack(), None])
async def test_answers_are_returned_or_raised(answer: Any) -> None:
    async def returns(event: ReceivedEvent, context: Context) -> Any:
        return answer

    async def raises(event: ReceivedEvent, context: Context) -> None:
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer

    for function in (returns, raises):
        assert await python(function).handle(event(), context()) == (answer or Ack())


@pytest.mark.parametrize("function", [lambda: None, lambda a, b, c, d: None])
def test_a_function_that_cannot_be_filled_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(SpecError, match=r"handler shop:app at .*\.py:\d+: wanted a function of"):
        python(function)


def test_a_batch_handler_takes_a_list() -> None:
    app = Handlers()

    @app.batch("a", size=5)
    async def handle(order: Order) -> None: ...

    with pytest.raises(SpecError, match="a batch handler takes list"):
        python(app)


async def test_a_batch_has_one_answer_or_one_for_each() -> None:
    app = Handlers()
    answers: dict[str, Any] = {
        "none": None,
        "one": RetryAfter(1),
        "each": [None, DeadLetter("2nd"), Ack()],
    }

    @app.batch("none", "one", "each", "short", size=5)
    async def handle(orders: list[Order], events: list[ReceivedEvent], context: Context) -> Any:
        assert [order.id for order in orders] == [7] * len(events)
        return answers.get(events[0].type, [None])

    handler = python(app)
    assert handler.batch("none") == 5
    assert handler.batch("unknown") == 1

    async def ask(kind: str) -> Any:
        return list(await handler.handle_batch([event(kind)] * 3, context()))

    assert await ask("none") == [Ack()] * 3
    assert await ask("one") == [RetryAfter(1)] * 3
    assert await ask("each") == [Ack(), DeadLetter("2nd"), Ack()]
    short = await ask("short")
    assert len(short) == 3
    assert all("returned list, which is no answer" in one.reason for one in short)


async def test_a_table_is_given_no_text_that_nobody_wrote() -> None:
    sink, given = TableSink("t", {"id": "data.id"}), context()
    given.connection = types.SimpleNamespace(fetch=None)  # type: ignore[assignment] # not asked
    broken = event(data=b'{"id": "\xff"}')
    [letter] = await sink([broken], given) or []
    assert isinstance(letter, DeadLetter)
    with pytest.raises(UnicodeDecodeError):  # and then one by one
        await sink([broken, broken], given)


def test_a_table_without_an_inbox_is_refused_before_the_first_event() -> None:
    """Each event would be a dead letter, after all its deliveries."""
    app = Handlers()
    app.batch("report.*", size=9)(TableSink("t", {"id": "data.id"}))
    handler = PythonHandler("shop:app", app, timeout=1.0, threads=1)
    config = ConsumerConfig(
        namespace="shop", consumer="reports", nats=NatsConfig(url="nats://nats"), stream="ORDERS",
        durable="reports",
    )  # fmt: skip
    with pytest.raises(SpecError, match=r"shop:app: what takes report\.\* writes thr"):
        App(config, handler)


async def around(call: Call, call_next: Next) -> Answers:
    return await call_next(call)


def test_a_call_is_shared_by_what_goes_to_one_function() -> None:
    app = Handlers()

    def other(events: list[ReceivedEvent]) -> None: ...

    app.batch("order.>", "invoice.paid", size=9)(print)
    app.batch("click", size=9)(print)
    app.batch("tap", size=8)(print)
    app.batch("swipe", size=9)(other)
    watched = Handlers()
    watched.batch("watched", size=9)(print)
    watched.middleware(around)
    app.include(watched)
    handler = python(app)
    assert handler.shares_call("order.created", "order.paid")
    assert handler.shares_call("order.created", "invoice.paid")
    assert handler.shares_call("order.created", "click")
    assert not handler.shares_call("click", "tap")
    assert not handler.shares_call("click", "swipe")
    assert not handler.shares_call("click", "watched"), "something else runs around it"
    assert not handler.shares_call("click", "unknown")


async def test_a_type_without_handler_is_a_dead_letter_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Handlers()
    app.handler("order.created")(print)
    handler = python(app)
    wanted = Unhandled("shop:app has no handler for events of type 'other'")
    for _ in range(2):
        assert await handler.handle(event("other"), context()) == wanted
    assert await handler.handle_batch([event("other")] * 2, context()) == [wanted] * 2
    assert [r.getMessage() for r in caplog.records] == [
        "shop:app has no handler for events of type 'other'; they become dead letters"
    ]


def test_an_application_without_handlers_is_refused() -> None:
    app = Handlers()
    app.on_startup(lambda: app.handler(">")(print))  # too late: types are read before the start
    with pytest.raises(SpecError, match="'shop:app': wanted Handlers with a handler, found none"):
        python(app)


async def test_a_handler_may_have_its_own_time_and_move_it() -> None:
    app = Handlers()
    seen: dict[str, float] = {}

    @app.handler("short", timeout=0.6)
    async def short(event: ReceivedEvent) -> None:
        await asyncio.Event().wait()

    @app.handler("extended", timeout=0.6)
    async def extended(event: ReceivedEvent, context: Context) -> None:
        seen["before"] = context.remaining
        await asyncio.sleep(0)
        context.extend(60.0)
        seen["after"] = context.remaining
        await asyncio.sleep(0.7)

    @app.handler("thread", timeout=0.6)
    def thread(event: ReceivedEvent, context: Context) -> None:
        context.extend(60.0)
        time.sleep(0.7)

    handler = python(app)
    answers = await asyncio.gather(
        *(handler.handle(event(kind), context()) for kind in ("short", "extended", "thread"))
    )
    assert answers == [RetryAfter(reason="no answer within 0.6 s"), Ack(), Ack()]
    assert 0 < seen["before"] <= 0.6 < seen["after"]
    await handler.close()


async def test_hooks_run_around_the_events() -> None:
    app = Handlers()
    calls: list[str] = []

    @app.on_startup
    async def open_pool() -> None:
        calls.append("open pool")

    @app.on_startup
    def open_file() -> None:
        calls.append("open file")

    @app.on_shutdown
    async def close_pool() -> None:
        calls.append("close pool")
        raise OSError("gone")

    @app.on_shutdown
    def close_file() -> None:
        calls.append("close file")

    async def note(word: str) -> None:
        calls.append(word)

    class Opens:
        async def __call__(self) -> None:
            await note("object")

    def decorated() -> Awaitable[None]:
        return note("decorated")

    app.on_startup(lambda: note("lambda"))
    app.on_startup(Opens())
    app.on_startup(wraps(open_pool)(decorated))
    app.on_startup(wraps(of_an_application)(lambda: of_an_application(app)))
    app.handler(">")(print)
    handler = python(app)
    await handler.start()
    await handler.close()
    assert calls == [
        "open pool", "open file", "lambda", "object", "decorated", "close file", "close pool",
    ]  # fmt: skip


def yields() -> Iterator[None]:
    yield


async def yields_too() -> AsyncIterator[None]:
    yield


def of_an_application(application: object) -> None: ...


async def of_nothing() -> None: ...


@pytest.mark.parametrize(
    ("hook", "function", "said"),
    [
        ("on_startup", yields, "it has a yield, .* there is @app.lifespan"),
        ("on_startup", yields_too, "it has a yield"),
        ("on_startup", contextmanager(yields), "it has a yield"),
        ("on_startup", of_an_application, "wanted a function that takes nothing: missing .*'appl"),
        ("on_shutdown", yields, "it has a yield"),
        ("on_shutdown", of_an_application, "wanted a function that takes nothing"),
        ("on_connect", of_nothing, "wanted a function that is given the connection"),
        ("middleware", of_nothing, "wanted a function that is given the call and what comes next"),
    ],
)
def test_a_hook_that_could_never_be_called_is_refused_with_its_place(
    hook: str, function: Any, said: str
) -> None:
    with pytest.raises(SpecError, match=rf"^{hook} at tests/\S+:\d+: {said}"):
        getattr(Handlers(), hook)(function)


@pytest.mark.parametrize("given", [None, "handle", 5])
def test_what_is_no_function_is_refused_where_it_is_decorated(given: Any) -> None:
    app, found = Handlers(), type(given).__name__
    for decorate in (app.handler("a", "b"), app.batch("a", "b", size=2)):
        with pytest.raises(SpecError, match=f"^handler of a, b: wanted a function, found {found}$"):
            decorate(given)
    assert not app.routes
