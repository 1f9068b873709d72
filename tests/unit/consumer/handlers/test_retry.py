"""Retries as one handler wants them, and handlers that include others."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
from collections.abc import Callable
from typing import Any

import pytest

from outbox_operator.consumer import (
    Ack,
    Context,
    DeadLetter,
    Handlers,
    Outcome,
    ReceivedEvent,
    Retry,
    RetryAfter,
)  # fmt: skip
from outbox_operator.consumer.disposition import (
    Disposition,
    Policy,
    PutOff,
    Redeliver,
    ToDeadLetters,
    decide,
)
from outbox_operator.consumer.handlers.python import PythonHandler
from outbox_operator.consumer.handlers.types import cause_of
from outbox_operator.errors import SpecError
from outbox_operator.reasons import Reason
from support.events import context, received

POLICY = Policy(max_deliver=3, backoff=(9.0,))
RETRY = Retry(
    max_deliver=2,
    backoff=[dt.timedelta(seconds=4), 5],
    give_up_on=(LookupError,),
    put_off={ConnectionError: 30, OSError: dt.timedelta(minutes=1)},
)


async def ask(error: Exception, retry: Retry | None = RETRY) -> Outcome | Exception:
    """What a handler's exception is for the runtime: an answer, or itself."""
    app = Handlers()

    @app.handler(">", retry=retry)
    async def handle(event: ReceivedEvent) -> None:
        raise error

    try:
        return await PythonHandler("a:b", app, timeout=5.0, threads=1).handle(received(), context())
    except Exception as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("error", "attempts", "wanted"),
    [
        (ValueError("no"), 1, Redeliver(4.0, "")),
        (ValueError("no"), 2, ToDeadLetters(Reason.MAX_DELIVER, "")),
        (KeyError("no"), 1, ToDeadLetters(Reason.REFUSED, "")),
        (ConnectionResetError(), 99, PutOff(30.0, "")),
        (FileNotFoundError(), 99, PutOff(60.0, "")),
        (ExceptionGroup("two", [KeyError(), IndexError()]), 1, ToDeadLetters(Reason.REFUSED, "")),
        (ExceptionGroup("two", [ConnectionError(), OSError()]), 1, PutOff(60.0, "")),
        (ExceptionGroup("two", [KeyError(), ValueError()]), 1, Redeliver(4.0, "")),
        (RetryAfter(dt.timedelta(seconds=7)), 99, PutOff(7.0, "")),
        (DeadLetter("no"), 1, ToDeadLetters(Reason.REFUSED, "")),
    ],
)
async def test_a_handler_says_what_follows_from_its_exceptions(
    error: Exception, attempts: int, wanted: Disposition
) -> None:
    outcome = await ask(error)
    assert isinstance(outcome, RetryAfter | DeadLetter)
    decided = decide(outcome, attempts, POLICY, 0.5)
    assert type(decided) is type(wanted)
    assert getattr(decided, "seconds", None) == getattr(wanted, "seconds", None)
    assert getattr(decided, "reason", None) == getattr(wanted, "reason", None)
    if not isinstance(error, RetryAfter | DeadLetter):
        assert cause_of(outcome) is error
        assert type(error).__name__ in outcome.reason


async def test_what_is_not_said_is_the_consumers() -> None:
    outcome = await ask(ValueError(), Retry(give_up_on=LookupError))
    assert isinstance(outcome, RetryAfter)
    assert decide(outcome, 2, POLICY, 0.5) == Redeliver(9.0, outcome.reason)
    assert isinstance(await ask(ValueError(), None), ValueError)


async def test_an_answer_from_within_a_group_is_one() -> None:
    async def refuse() -> None:
        raise DeadLetter("no such order")

    app = Handlers()

    @app.handler(">")
    async def handle(event: ReceivedEvent) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse())

    handler = PythonHandler("a:b", app, timeout=5.0, threads=1)
    assert await handler.handle(received(), context()) == DeadLetter("no such order")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(max_deliver=0),
        lambda: Retry(backoff=[-1]),
        lambda: Retry(max_deliver="5"),  # type: ignore[arg-type]
        lambda: Retry(backoff=["soon"]),  # type: ignore[list-item]
        lambda: Retry(backoff=5),  # type: ignore[arg-type]
        lambda: Retry(give_up_on="ValueError"),  # type: ignore[arg-type]
        lambda: Retry(give_up_on=ValueError()),  # type: ignore[arg-type]
        lambda: Retry(put_off=[OSError]),  # type: ignore[arg-type]
        lambda: Retry(give_up_on=(ValueError(),)),  # type: ignore[arg-type]
        lambda: Retry(put_off={OSError: float("nan")}),
        lambda: Retry(put_off={KeyboardInterrupt: 1}),  # type: ignore[dict-item]
    ],
)
def test_what_cannot_be_meant_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(SpecError, match=r"Retry: \w+: wanted "):
        make()


async def test_handlers_include_those_of_other_modules() -> None:
    calls: list[str] = []
    app, orders, lines = Handlers(), Handlers(retry=RETRY), Handlers()

    def note(word: str) -> Callable[..., None]:
        return lambda *_: calls.append(word)

    app.include(orders)
    orders.include(lines)
    for one, name in ((app, "app"), (orders, "orders"), (lines, "lines")):  # afterwards, too
        one.handler(f"{name}.*")(note(name))
        one.on_startup(note(f"{name} starts"))
        one.on_shutdown(note(f"{name} ends"))
    handler = PythonHandler("a:b", app, timeout=5.0, threads=1)
    await handler.start()
    for kind in ("app.a", "orders.a", "lines.a"):
        assert await handler.handle(received(type=kind), context()) == Ack()
    await handler.close()
    assert calls == [
        "lines starts", "orders starts", "app starts", "app", "orders", "lines",
        "app ends", "orders ends", "lines ends",
    ]  # fmt: skip
    assert [route.retry for route in app.routes] == [None, RETRY, None]


def test_a_type_has_one_handler_of_all_that_are_included() -> None:
    app, orders = Handlers(), Handlers()
    app.handler("order.created")(print)
    orders.handler("order.created")(ask)  # type: ignore[type-var]
    with pytest.raises(SpecError, match=r"has a handler already, and another one at .*py:\d+"):
        app.include(orders)
    with pytest.raises(SpecError, match="included already"):
        app.include(app)
    with pytest.raises(SpecError, match="include: wanted Handlers, such as"):
        app.include(asyncio)  # type: ignore[arg-type]
    late = Handlers()
    app.include(late)
    late.handler("order.created")(print)
    with pytest.raises(SpecError, match=r"'order\.created' has several handlers"):
        PythonHandler("a:b", app, timeout=5.0, threads=1)


async def test_a_framework_puts_its_own_around_what_runs_in_threads() -> None:
    calls: list[str] = []
    app, orders = Handlers(), Handlers()

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            calls.append("before")
            return function(*args, **named)

        return call

    @orders.handler("plain")
    def plain(order: dict[str, int], *, context: Context) -> None:
        calls.append(f"plain {order} {context.deliveries}")

    @app.handler("async")
    async def asynchronous(order: dict[str, int]) -> None:
        calls.append(f"async {order}")

    app.include(orders)
    app.on_startup(lambda: calls.append("start"))
    handler = PythonHandler("a:b", app.around(wrap), timeout=5.0, threads=1)
    await handler.start()
    for kind in ("plain", "async"):
        assert await handler.handle(received(type=kind), context()) == Ack()
    await handler.close()
    assert calls == ["start", "before", "plain {} 1", "async {}"]
