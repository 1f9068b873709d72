"""Python handlers: loading and calling."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import datetime as dt
import decimal
import inspect
import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.consumer.error_text import describe
from outbox_operator.consumer.handlers import loader
from outbox_operator.consumer.handlers.python import PythonHandler
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.consumer.handlers.types import (
    Ack,
    Context,
    DeadLetter,
    Outcome,
    ReceivedEvent,
    RetryAfter,
)
from outbox_operator.errors import HandlerUnavailableError, SpecError
from support.waiting import SECONDS, eventually

CONTEXT = Context(consumer="billing", deliveries=1, stream="ORDERS", sequence=7)
EVENT = ReceivedEvent(
    id="e-1",
    type="order.created",
    source="/shop/orders",
    key="",
    time=dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
    subject="orders.order.created",
    content_type="application/json",
    headers={},
    data=b"{}",
)


async def ask(function: Any, timeout: float = 5.0) -> Outcome:
    handler = PythonHandler("shop:handle", function, timeout=timeout, threads=1)
    try:
        return await handler.handle(EVENT, CONTEXT)
    finally:
        await handler.close()


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, Ack()),
        (Ack(), Ack()),
        (RetryAfter(3.0), RetryAfter(3.0)),
        (DeadLetter("bad"), DeadLetter("bad")),
        (Ack, Ack()),
        (RetryAfter, RetryAfter()),
        (DeadLetter, DeadLetter("the handler gave no reason")),
    ],
)
async def test_answers_of_sync_and_async_functions(returned: Any, expected: Outcome) -> None:
    async def asynchronous(event: ReceivedEvent, context: Context) -> Any:
        return returned

    def blocking(event: ReceivedEvent, context: Context) -> Any:
        return returned

    def raising(event: ReceivedEvent, context: Context) -> None:
        raise returned

    assert await ask(asynchronous) == expected
    assert await ask(blocking) == expected
    if isinstance(expected, Exception):
        assert await ask(raising) == expected


async def test_blocking_functions_run_outside_the_event_loop() -> None:
    seen: list[int] = []

    def blocking(event: ReceivedEvent, context: Context) -> None:
        seen.append(threading.get_ident())

    await ask(blocking)
    assert seen != [threading.get_ident()]


async def test_objects_with_an_async_call_are_async() -> None:
    class Callable:
        async def __call__(self, event: ReceivedEvent, context: Context) -> DeadLetter:
            return DeadLetter(event.id)

    assert await ask(Callable()) == DeadLetter("e-1")


async def test_an_answer_that_means_nothing_is_no_reason_to_do_it_again() -> None:
    outcome = await ask(lambda event, context: True)
    assert isinstance(outcome, DeadLetter)
    said = re.fullmatch(
        r"shop:handle at tests/\S+/test_python\.py:\d+ returned bool, which is no answer; (.*)",
        outcome.reason,
    )
    assert said is not None
    assert said[1].startswith("return None, Ack()")
    assert await ask(lambda event, context: RetryAfter) == RetryAfter()
    assert await ask(lambda event, context: Ack) == Ack()


async def test_a_coroutine_for_an_answer_is_told_to_be_awaited() -> None:
    """By one of many handlers of a module: named with its type and its place."""
    app = Handlers()

    @app.handler("order.created")
    async def handle(event: ReceivedEvent) -> Any:
        return asyncio.sleep(0)

    @app.batch("order.>", size=2)
    async def handle_all(events: list[ReceivedEvent]) -> Any:
        return [None, asyncio.sleep(0)]

    handler = PythonHandler("shop:app", app, timeout=5.0, threads=1)
    outcome = await handler.handle(EVENT, CONTEXT)
    line = handle.__code__.co_firstlineno
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason.startswith("shop:app (order.created) at tests/")
    assert outcome.reason.endswith(
        f"/test_python.py:{line} returned the coroutine 'sleep', of which nothing ran: write await "
        "behind return"
    )
    event = dataclasses.replace(EVENT, type="order.paid")
    first, second = await handler.handle_batch([event, event], CONTEXT)
    assert first == Ack()
    assert isinstance(second, DeadLetter)
    assert "(order.>) at " in second.reason


async def test_a_hanging_function_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def hanging(event: ReceivedEvent, context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert await ask(hanging, timeout=0.05) == RetryAfter(None, "no answer within 0.05 s")
    assert cancelled.is_set()


async def test_who_swallows_the_end_of_its_time_has_handled_nothing() -> None:
    async def deaf(event: ReceivedEvent, context: Context) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def decided(event: ReceivedEvent, context: Context) -> DeadLetter:
        await deaf(event, context)
        return DeadLetter("too large")

    assert await ask(deaf, timeout=0.05) == RetryAfter(None, "no answer within 0.05 s")
    assert await ask(decided, timeout=0.05) == DeadLetter("too large")


async def test_a_timeout_of_its_own_is_the_functions_error() -> None:
    async def impatient(event: ReceivedEvent, context: Context) -> None:
        raise TimeoutError("the card service")

    with pytest.raises(TimeoutError, match="the card service"):
        await ask(impatient)


async def test_a_cancellation_of_its_own_is_a_failure_like_others() -> None:
    async def careless(event: ReceivedEvent, context: Context) -> None:
        raise asyncio.CancelledError

    assert await ask(careless) == RetryAfter(None, "the function ended with CancelledError")


async def test_a_task_group_that_failed_before_is_nobody_who_asks_to_end() -> None:
    """Before Python 3.13 it leaves the task as one that was asked to."""

    async def fails() -> None:
        raise ValueError

    async def grouped(event: ReceivedEvent, context: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    async def careless(event: ReceivedEvent, context: Context) -> None:
        raise asyncio.CancelledError

    with pytest.raises(ExceptionGroup):
        await ask(grouped)
    assert await ask(careless) == RetryAfter(None, "the function ended with CancelledError")


async def test_a_cancelled_handling_ends() -> None:
    started = asyncio.Event()

    async def hanging(event: ReceivedEvent, context: Context) -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(ask(hanging))
    await asyncio.wait_for(started.wait(), SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_exhausted_iterator_is_a_failure_like_others() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await ask(lambda event, context: next(iter(())))


async def test_events_wait_while_abandoned_calls_occupy_the_threads() -> None:
    free = threading.Event()
    handled: list[str] = []

    def stuck(event: ReceivedEvent, context: Context) -> None:
        free.wait(60)
        handled.append(event.id)

    handler = PythonHandler("shop:handle", stuck, timeout=0.05, threads=2)
    for _ in range(2):
        assert isinstance(await handler.handle(EVENT, CONTEXT), RetryAfter)
    with pytest.raises(HandlerUnavailableError, match="occupy all its threads"):
        await handler.handle(EVENT, CONTEXT)
    free.set()

    async def works() -> bool:
        with contextlib.suppress(HandlerUnavailableError):
            return await handler.handle(EVENT, CONTEXT) == Ack()
        return False

    await eventually(works, "it is called once threads are free", pause=0)
    assert handled
    await handler.close()


async def test_says_why_there_is_no_connection() -> None:
    def threaded(event: ReceivedEvent, context: Context) -> None:
        context.connection.execute("…")  # type: ignore[unused-coroutine]

    async def without_an_inbox(event: ReceivedEvent, context: Context) -> None:
        await context.connection.fetchval("…")

    async def of_something_else(event: ReceivedEvent, context: Context) -> None:
        None.size  # type: ignore[attr-defined]  # noqa: B018

    for function, said in ((threaded, True), (without_an_inbox, True), (of_something_else, False)):
        with pytest.raises(AttributeError) as failed:
            await ask(function)
        told = describe(failed.value)
        assert ("(context.connection is None without an inbox, and in" in told) is said, told


def taken_for_the_payload(order: Any) -> None:
    order["id"]


def taken_for_a_model(order: Any) -> None:
    str(order.total)


def decoded(order: Any) -> None:
    json.loads(order)


def unpacked(order: Any) -> None:
    dict(**order)


def taken_for_the_event(order: Any) -> None:
    str(order.key)


def decoded_again(order: Any) -> None:
    order.json()


def of_its_own(order: Any) -> None:
    str(dict[str, Any]()["id"].total)


def decoded_right(order: Any) -> None:
    str(order.json().id)


def of_an_answer(order: Any) -> None:
    str(json.loads("{}").key)


def told_in_words(order: Any) -> None:
    raise TypeError("could not send ReceivedEvent 12 to partner")


def of_another_context(order: Any) -> None:
    decimal.Context()["prec"]  # type: ignore[index]


@dataclasses.dataclass
class PaymentReceivedEvent:
    """A payload with such a name."""

    id: int = 7


def dumped(order: Any) -> None:
    json.dumps(order)


@pytest.mark.parametrize(
    ("function", "annotation", "said"),
    [
        (taken_for_the_payload, None, "(the handler was given the event, whose payload is event."),
        (taken_for_the_payload, ReceivedEvent, "(the handler was given the event, whose payload"),
        (taken_for_a_model, None, "(the handler was given the event, whose payload is event."),
        (taken_for_a_model, Context, "(the handler was given the context, as a second parameter"),
        (decoded, None, "(the handler was given the event, whose payload is event.json(); a param"),
        (unpacked, None, "(the handler was given the event, whose payload is event.json(); a par"),
        (taken_for_the_event, dict, "(a parameter annotated with dict is given the payload; one"),
        (decoded_again, dict, "(a parameter annotated with dict is given the payload; one annot"),
        (taken_for_a_model, dict, None),
        (taken_for_the_payload, Context, "(the handler was given the context, as a second param"),
        (decoded, Context, "(the handler was given the context, as a second parameter without"),
        (dumped, None, "(the handler was given the event, whose payload is event.json(); a param"),
        (taken_for_the_payload, PaymentReceivedEvent, None),
        (dumped, PaymentReceivedEvent, None),
        (told_in_words, None, None),
        (decoded_right, ReceivedEvent, None),
        (of_an_answer, dict, None),
        (of_an_answer, PaymentReceivedEvent, None),
        (of_another_context, Context, None),
        (of_its_own, None, None),
    ],
)
async def test_says_what_the_handler_was_given(
    function: Any, annotation: Any, said: str | None
) -> None:
    def handle(order: Any) -> None:
        function(order)

    handle.__annotations__ = {} if annotation is None else {"order": annotation}
    with pytest.raises((TypeError, AttributeError, KeyError)) as failed:
        await ask(handle)
    told = describe(failed.value)
    assert ("(the handler was" in told or "(a parameter" in told) is (said is not None), told
    assert (said or "") in told


@pytest.mark.parametrize(
    ("function", "annotation", "said"),
    [
        (taken_for_the_payload, list[ReceivedEvent], "(the handler was given the event, whose "),
        (taken_for_the_event, list[dict[str, Any]], "(a parameter annotated with dict is given "),
    ],
)
async def test_says_what_a_handler_of_batches_was_given(
    function: Any, annotation: Any, said: str
) -> None:
    def handle(orders: Any) -> None:
        function(orders[1])

    handle.__annotations__ = {"orders": annotation}
    app = Handlers()
    app.batch("order.created", size=2)(handle)
    handler = PythonHandler("shop:app", app, timeout=5.0, threads=1)
    with pytest.raises((TypeError, AttributeError)) as failed:
        await handler.handle_batch([EVENT, copy.copy(EVENT)], CONTEXT)
    await handler.close()
    assert said in describe(failed.value)


async def test_an_error_that_is_raised_again_is_explained_once() -> None:
    with pytest.raises(TypeError) as failed:
        await ask(lambda order: taken_for_the_payload(order))
    first = describe(failed.value)

    def handle(event: ReceivedEvent) -> None:
        raise failed.value

    for _ in range(3):
        with pytest.raises(TypeError):
            await ask(handle)
    assert len(failed.value.__notes__) == 1
    assert first.partition(" at ")[0] in describe(failed.value)


def test_a_variable_that_is_not_set_is_told_however_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    for ask_for in (os.environ.__getitem__, os.environ.__delitem__, os.environ.pop):
        with pytest.raises(KeyError) as failed:
            ask_for("SHOP_TOKEN")
        assert "(an environment variable: set it in a cluster by" in describe(failed.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("noplace", "wanted package.module:function"),
        (
            "absent_module:handle",
            "no module named 'absent_module'; is it in the image, or here in the folder",
        ),
        ("shop_handlers:absent", "module shop_handlers has no 'absent'; there is 'handle'$"),
        ("shop_handlers:LIMIT", "is int, wanted a function or Handlers; there is 'handle'$"),
        ("shop_declared:app", "module shop_declared has no 'app'; there is 'handlers', 'more'$"),
        ("shop_empty:app", "module shop_empty has no 'app'$"),
        (
            "shop_broken:handle",
            "importing shop_broken failed: ZeroDivisionError: division by zero at ",
        ),
        (
            "shop_unclosed:handle",
            r"failed: SyntaxError: '\(' was never closed \(shop_unclosed\.py, line 1\)$",
        ),
        ("shop_needy:handle", "no module named 'absent_library' .imported by shop_needy"),
        (
            "shop_unset:handle",
            r"failed: KeyError: 'SHOP_TOKEN' \(an environment variable: set it in a cluster by "
            r"spec.podTemplate, as env of the container consumer, on a laptop where outbox dev or "
            r"outbox consume is started\) at <module> \(.*shop_unset\.py:2\), inside __getitem__ ",
        ),
        ("shop_unknown:handle", r"failed: KeyError: 'SHOP_TOKEN' at <module> \("),
    ],
)
def test_says_why_a_handler_cannot_be_loaded(
    path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_handlers.py").write_text("LIMIT = 3\ndef handle(event, context): ...\n")
    (tmp_path / "shop_declared.py").write_text(
        "from outbox_operator.consumer import Handlers\nhandlers, more = Handlers(), Handlers()\n"
        "def handle(event, context): ...\n"
    )
    (tmp_path / "shop_empty.py").write_text("from os.path import join\n_hidden = print\n")
    (tmp_path / "shop_broken.py").write_text("1 / 0\n")
    (tmp_path / "shop_unclosed.py").write_text("handle(\n")
    (tmp_path / "shop_unset.py").write_text("import os\nos.environ['SHOP_TOKEN']\n")
    (tmp_path / "shop_unknown.py").write_text("{}['SHOP_TOKEN']\n")
    (tmp_path / "shop_needy.py").write_text("import absent_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpecError, match=message):
        loader.load(path)


def test_finds_modules_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_local.py").write_text("def handle(event, context): return 'here'\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")  # restores sys.path afterwards
    monkeypatch.chdir(tmp_path)
    handle = loader.load("shop_local:handle")
    assert inspect.isfunction(handle)
    assert handle(None, None) == "here"
