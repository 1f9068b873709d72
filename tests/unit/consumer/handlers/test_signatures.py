"""What functions are accepted as handlers, and what fills their parameters; the rest is refused
before the first event, with the place where it is written."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Annotated, Any

import click
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from fastapi import FastAPI, params
from pydantic import Field

from outbox_operator.consumer import (
    Ack,
    Context,
    DeadLetter,
    Depends,
    Handlers,
    ReceivedEvent,
    RetryAfter,
)
from outbox_operator.consumer.handlers.python import PythonHandler
from outbox_operator.errors import SpecError
from outbox_operator.wire.event import Event
from support.events import context, received

GIVEN: list[Any] = []


async def optional(order: dict[str, int], context: Context | None) -> None:
    GIVEN.extend((order, context))


async def by_name(order: dict[str, int], *, context: Context) -> None:
    GIVEN.extend((order, context))


async def by_its_name_alone(order: dict[str, int], *, context) -> None:  # type: ignore[no-untyped-def]
    GIVEN.extend((order, context))


async def with_a_default(order: dict[str, int], context: Context = None) -> None:  # type: ignore[assignment]
    GIVEN.extend((order, context))


async def behind_a_default(order: dict[str, int], dry: bool = False, context: Any = 7) -> None:
    GIVEN.extend((order, context, dry))


async def annotated_behind_a_default(
    order: dict[str, int], dry: bool = False, context: Annotated[Context | None, "ours"] = None
) -> None:
    GIVEN.extend((order, context))


async def the_other_way_round(context, order: dict[str, int]) -> None:  # type: ignore[no-untyped-def]
    GIVEN.extend((order, context))


async def with_a_client(client: str, order: dict[str, int], context: Context) -> None:
    assert client == "http"
    GIVEN.extend((order, context))


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that is not async, around whatever there is."""

    @functools.wraps(function)
    def wrapper(*args: Any, **named: Any) -> Any:
        return function(*args, **named)

    return wrapper


def with_more(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that gives what the runtime knows nothing of."""

    @functools.wraps(function)
    async def wrapper(order: dict[str, int], context: Context) -> None:
        await function("http", order, context)

    return wrapper


def later(order: dict[str, int], context: Context) -> Awaitable[None]:
    return optional(order, context)


@pytest.mark.parametrize(
    "function",
    [
        optional,
        by_name,
        by_its_name_alone,
        with_a_default,
        annotated_behind_a_default,
        the_other_way_round,
        functools.partial(with_a_client, "http"),
        functools.partial(with_a_client, client="http"),
        logged(optional),
        logged(logged(by_name)),
        with_more(with_a_client),
        later,
        lambda event, context: optional(event.json(), context),
    ],
)
async def test_what_is_asked_for_is_given(function: Callable[..., Any]) -> None:
    GIVEN.clear()
    handler = PythonHandler("shop:app", function, timeout=5.0, threads=1)
    given = context()
    assert await handler.handle(received(data=b'{"id": 7}'), given) == Ack()
    await handler.close()
    assert [{"id": 7}, given] == GIVEN


async def test_a_default_stays_where_nothing_says_what_is_wanted() -> None:
    GIVEN.clear()
    handler = PythonHandler("shop:app", behind_a_default, timeout=5.0, threads=1)
    assert await handler.handle(received(data=b"{}"), context()) == Ack()
    assert GIVEN == [{}, 7, False]


async def test_a_constraint_of_the_payload_counts() -> None:
    async def handle(amount: Annotated[int, Field(gt=10)]) -> None: ...

    handler = PythonHandler("shop:app", handle, timeout=5.0, threads=1)
    assert await handler.handle(received(data=b"11"), context()) == Ack()
    outcome = await handler.handle(received(data=b"10"), context())
    assert isinstance(outcome, DeadLetter)
    assert "greater than 10" in outcome.reason


def generator(event: ReceivedEvent) -> Iterator[None]:
    yield


async def asynchronous_generator(event: ReceivedEvent) -> Any:
    yield


class Shop:
    """A handler cannot be made of these."""

    def method(self, event: ReceivedEvent) -> None: ...


async def a_flag(event: ReceivedEvent) -> bool:
    return True


def a_text_later(event: ReceivedEvent) -> Awaitable[str | None]:
    raise NotImplementedError


def a_list(event: ReceivedEvent) -> list[Ack]:
    return []


async def unknown(event: ReceivedEvent, *, database) -> None: ...  # type: ignore[no-untyped-def]


async def written(event: Event) -> None: ...
async def never_filled(context: Context, order: dict[str, int] | None = None) -> None: ...
async def plain_class(order: Shop) -> None: ...


THEIRS = params.Depends(print)


async def of_fastapi(order: Shop, pool: Annotated[int, THEIRS]) -> None: ...
async def default_of_fastapi(order: Shop, pool: Any = THEIRS) -> None: ...


async def of_fields(id: int, total: int) -> None: ...
async def of_contexts(order: Shop, now: Context, later: Context) -> None: ...
async def asgi(scope, receive, send): ...  # type: ignore[no-untyped-def]
def wsgi(environ, start_response): ...  # type: ignore[no-untyped-def]
def wsgi_for_checkers(environ: Nowhere, start_response: Nowhere) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821
def wsgi_of(name, env, start_response): ...  # type: ignore[no-untyped-def]


def wsgi_with_a_yield(environ, start_response):  # type: ignore[no-untyped-def]
    yield b""


def evaluated(event: ReceivedEvent, order: 1 / 0) -> None: ...  # type: ignore[valid-type]
async def unresolved(event: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (generator, "it has a yield"),
        (asynchronous_generator, "it has a yield"),
        (Shop, "wanted a function, found a class"),
        (Shop.method, "it is a method, and nobody has its self"),
        (a_flag, "it returns bool, which is no answer"),
        (a_text_later, "it returns str | None, which is no answer"),
        (a_list, "it returns list"),
        (unknown, "parameter 'database' does not say what it wants"),
        (written, "Event is what is written; a handler is given a ReceivedEvent"),
        (never_filled, "parameter 'order' has a default, which it would have for every event"),
        (plain_class, "Unable to generate pydantic-core schema for"),
        (of_fastapi, "parameter 'pool': Depends is that of fastapi; wanted Depends of outbox_"),
        (default_of_fastapi, "parameter 'pool': Depends is that of fastapi"),
        (of_fields, "parameters 'id' and 'total' would both be given the whole payload"),
        (of_contexts, "parameters 'now' and 'later' would both be given the context"),
        (asgi, "an ASGI application, such as FastAPI's, is no handler"),
        (wsgi, "a WSGI application, such as Flask's or Django's, is no handler"),
        (wsgi_for_checkers, "a WSGI application, such as Flask's or Django's, is no handler"),
        (wsgi_with_a_yield, "a WSGI application, such as Flask's or Django's, is no handler"),
        (functools.partial(wsgi_of, "shop"), "a WSGI application, such as Flask's or Django's"),
        (unresolved, "an annotation cannot be resolved: name 'Nowhere' is not defined"),
        (evaluated, "an annotation cannot be resolved: division by zero"),
    ],
)
def test_what_could_only_fail_is_refused(function: Callable[..., Any], why: str) -> None:
    with pytest.raises(SpecError, match=r"handler shop:app\b") as caught:
        PythonHandler("shop:app", function, timeout=5.0, threads=1)
    assert why in caught.value.message
    if function is not Shop:
        assert "at tests/unit/consumer/handlers/test_signatures.py:" in caught.value.message


class Flask:
    """As Flask's and Werkzeug's are, with annotations that checkers alone can resolve."""

    def wsgi_app(self, environ: Nowhere, start_response: Nowhere) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821

    def __call__(self, environ: Nowhere, start_response: Nowhere) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
        return self.wsgi_app(environ, start_response)


@click.command()
def command() -> None: ...


class Unreadable:
    """As an object that reads what it takes from elsewhere."""

    @property
    def __signature__(self) -> Any:
        raise RuntimeError("no schema yet")

    def __call__(self, event: ReceivedEvent) -> None: ...


def test_who_fails_when_it_is_asked_what_it_takes_is_refused() -> None:
    with pytest.raises(SpecError, match="shop:app: its parameters cannot be read: RuntimeError: "):
        PythonHandler("shop:app", Unreadable(), timeout=5.0, threads=1)
    app = Handlers()
    app.handler(">")(depending)
    with pytest.raises(SpecError, match="its parameters cannot be read: RuntimeError: no schema"):
        PythonHandler("shop:app", app, timeout=5.0, threads=1)


class Nonsense:
    """It says something else than what it takes."""

    __signature__ = "(event)"

    def __call__(self, event: ReceivedEvent) -> None: ...


class Refusing(Unreadable):
    """An error of its own that is Python's for a built-in function, which is none of it."""

    @property
    def __signature__(self) -> Any:
        raise ValueError("no signature found")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Unreadable(), "RuntimeError: no schema yet"),
        (Refusing(), "ValueError: no signature found"),
        (Nonsense(), "TypeError: unexpected object"),
        (functools.partial(Unreadable()), "RuntimeError: no schema yet"),
        (logged(Unreadable()), "RuntimeError: no schema yet"),
    ],
)
@pytest.mark.parametrize("hook", ["on_startup", "on_shutdown", "on_connect"])
def test_a_hook_that_fails_when_it_is_asked_is_refused(
    hook: str, asked: Callable[..., Any], why: str
) -> None:
    with pytest.raises(SpecError, match=rf"^{hook}.*: its parameters cannot be read: {why}"):
        getattr(Handlers(), hook)(asked)


def test_what_was_called_in_place_of_being_named_is_no_hook() -> None:
    for given in (None, 7):
        with pytest.raises(
            SpecError, match=r"^on_startup: wanted a function, found (NoneType|int)$"
        ):
            Handlers().on_startup(given)  # type: ignore[type-var]


def in_a_circle() -> Callable[..., Any]:
    """A decorator that wraps what wraps it."""

    def outer(*given: Any) -> None:
        GIVEN.extend(given)

    def inner(*given: Any) -> None: ...

    outer.__wrapped__, inner.__wrapped__ = inner, outer  # type: ignore[attr-defined]
    return outer


class Bottomless:
    """A stand-in that has whatever it is asked for: another stand-in."""

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__":
            raise AttributeError(name)
        return Bottomless()

    def __call__(self, *given: Any) -> None:
        GIVEN.extend(given)


class Later(Bottomless):
    """One that is filled in later."""

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":
            raise RuntimeError("working outside of a request")
        raise AttributeError(name)


@pytest.mark.parametrize("make", [in_a_circle, Bottomless, Later])
async def test_decorators_that_lead_nowhere_end(make: Callable[[], Callable[..., Any]]) -> None:
    GIVEN.clear()
    handler = PythonHandler("shop:app", make(), timeout=5.0, threads=1)
    assert await handler.handle(received(data=b"{}"), context()) == Ack()
    await handler.close()
    assert len(GIVEN) == 2
    app = Handlers()
    app.on_startup(make())
    app.on_shutdown(make())


@pytest.mark.parametrize("function", [GIVEN.append, print, functools.partial(print, "shop")])
async def test_what_is_written_in_c_may_be_a_handler(function: Callable[..., Any]) -> None:
    handler = PythonHandler("shop:app", function, timeout=5.0, threads=1)
    assert await handler.handle(received(data=b"{}"), context()) == Ack()
    await handler.close()


def depending(event: ReceivedEvent, a: Annotated[Any, Depends(Unreadable())]) -> None: ...


def a_reply(event: ReceivedEvent) -> int:
    return 7


class Tracker:
    """A handler of one's own, in a package of one's own that is called click."""

    __module__ = "click.handlers"

    def __call__(self, event: ReceivedEvent) -> None: ...

    def start(self, start_response: dict[str, Any]) -> None: ...


def with_what_it_answers(event, start_response: Annotated[int, Depends(a_reply)]): ...  # type: ignore[no-untyped-def]
def of_a_payload(event, start_response: dict[str, Any]): ...  # type: ignore[no-untyped-def]
def of_defaults(event, context, scope=1, receive=2, send=3): ...  # type: ignore[no-untyped-def]
def with_names_of_asgi(
    scope: ReceivedEvent,
    receive: Annotated[int, Depends(a_reply)],
    send: Annotated[int, Depends(a_reply)],
) -> None: ...


def with_names_of_wsgi(environ: ReceivedEvent, start_response: Context) -> None: ...


@functools.wraps(wsgi)
def in_place_of_wsgi(event): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    "function",
    [
        with_what_it_answers,
        of_a_payload,
        of_defaults,
        with_names_of_asgi,
        with_names_of_wsgi,
        in_place_of_wsgi,
        functools.partial(lambda settings, event, start_response: None, {}),
        Tracker(),
        Tracker().start,
    ],
)
async def test_a_handler_with_a_name_of_theirs_is_a_handler(function: Callable[..., Any]) -> None:
    handler = PythonHandler("shop:app", function, timeout=5.0, threads=1)
    assert await handler.handle(received(data=b"{}"), context()) == Ack()
    await handler.close()


@pytest.mark.parametrize(
    ("application", "what"),
    [
        (FastAPI(), "an ASGI application, such as FastAPI's"),
        (ASGIHandler.__new__(ASGIHandler), "an ASGI application, such as FastAPI's"),
        (WSGIHandler.__new__(WSGIHandler), "a WSGI application, such as Flask's or Django's"),
        (Flask(), "a WSGI application, such as Flask's or Django's"),
        (Flask().wsgi_app, "a WSGI application, such as Flask's or Django's"),
        (logged(wsgi), "a WSGI application, such as Flask's or Django's"),
        (command, "a command of click"),
        (click.Group(), "a command of click"),
    ],
)
def test_another_program_is_no_handler(application: Callable[..., Any], what: str) -> None:
    """It would be called with an event and a context, or take whatever it is given."""
    app = Handlers()
    app.handler("order.created")(application)
    for loaded, name in ((application, "shop:app"), (app, r"shop:app \(order\.created\)")):
        # Where the code of an object is written says nothing to who has made it.
        at = " at .*" if inspect.isroutine(application) else ""
        with pytest.raises(SpecError, match=rf"^handler {name}{at}: {what}") as caught:
            PythonHandler("shop:app", loaded, timeout=5.0, threads=1)
        assert "is no handler: wanted a function of" in caught.value.message
        over_http = "handler.http, with the URL of an endpoint of it (on a laptop: --endpoint"
        assert (over_http in caught.value.message) == ("application, such" in what)


def both(event: ReceivedEvent) -> Ack | RetryAfter | None:
    return None


def any_of(events: list[ReceivedEvent]) -> Sequence[Ack | DeadLetter]:
    return []


def test_answers_that_mean_something_are_accepted() -> None:
    app = Handlers()
    app.handler("one")(both)
    app.batch("many", size=2)(any_of)
    PythonHandler("shop:app", app, timeout=5.0, threads=1)


def test_a_decorator_without_its_types_says_so() -> None:
    with pytest.raises(SpecError, match=r"handler at .*py:\d+: name the event types it takes"):
        Handlers().handler(both)  # type: ignore[arg-type]
