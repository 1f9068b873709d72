"""What handlers depend on, what lasts from start to end, and what runs around calls."""

# Without `from __future__ import annotations`: what is annotated with a text is looked for in the
# module, where functions of a test are not.
import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated, Any, Protocol

import pytest

from outbox_operator.consumer import (
    Ack,
    Answers,
    Call,
    Context,
    DeadLetter,
    Depends,
    Handlers,
    Next,
    ReceivedEvent,
    Retry,
    RetryAfter,
)
from outbox_operator.consumer.handlers.python import PythonHandler
from outbox_operator.errors import SpecError
from outbox_operator.testing import RunningHandlers

Said = list[str]


class Pool:
    """Something that is opened and closed."""

    def __init__(self, name: str, said: Said) -> None:
        self.name = name
        self.said = said


def shop(said: Said) -> tuple[Handlers, dict[str, Callable[..., Any]]]:
    """Handlers with a dependency of each kind, which say what happens."""
    app = Handlers()

    @app.lifespan
    async def database() -> AsyncIterator[Pool]:
        said.append("opened")
        yield Pool("pool", said)
        said.append("closed")

    async def session(
        pool: Annotated[Pool, Depends(database)], event: ReceivedEvent, context: Context
    ) -> AsyncIterator[str]:
        said.append(f"begin {event.key} {context.deliveries}")
        try:
            yield f"session of {pool.name}"
        except ValueError:
            said.append("roll back")
            raise
        else:
            said.append("commit")

    def price(session: Annotated[str, Depends(session)]) -> int:
        said.append("price")
        return 7

    async def tax(
        session: Annotated[str, Depends(session)], price: Annotated[int, Depends(price)]
    ) -> float:
        return price * 0.2

    @app.handler("order.created", retry=Retry(give_up_on=KeyError))
    async def invoice(
        order: dict[str, Any],
        session: Annotated[str, Depends(session)],
        tax: Annotated[float, Depends(tax)],
        price: Annotated[int, Depends(price)],
        unused: int = 3,
    ) -> None:
        said.append(f"{order['id']} in {session}: {price} and {tax} {unused}")
        if order["id"] == 2:
            raise ValueError("no")
        if order["id"] == 3:
            raise KeyError("never")

    return app, {"database": database, "session": session}


async def test_what_a_handler_depends_on_is_made_once_for_each_call_and_ended() -> None:
    said: Said = []
    app, _ = shop(said)
    async with RunningHandlers(app) as handlers:
        assert said == ["opened"]
        assert (await handlers.settle("order.created", {"id": 1}, key="k")).end == "ack"
        assert said[1:] == [
            "begin k 1", "price", "1 in session of pool: 7 and 1.4000000000000001 3", "commit"
        ]  # fmt: skip
        said.clear()
        assert (await handlers.deliver("order.created", {"id": 2})).end == "retry"
        assert said[-1] == "roll back"
        assert (await handlers.deliver("order.created", {"id": 3})).end == "dead_letter"
        assert (await handlers.deliver("order.created", b"{")).end == "dead_letter"
        assert "closed" not in said
    assert said[-1] == "closed"


@pytest.mark.parametrize("batch", [False, True])
async def test_a_parameter_may_have_any_name(batch: bool) -> None:
    app, found = Handlers(), list[int]()

    def seven() -> int:
        return 7

    async def one(
        event: ReceivedEvent,
        given: Annotated[int, Depends(seven)],
        context: Annotated[int, Depends(seven)],
    ) -> None:
        found.append(given + context)

    async def many(
        events: list[ReceivedEvent],
        given: Annotated[int, Depends(seven)],
        context: Annotated[int, Depends(seven)],
    ) -> None:
        found.append(given + context)

    app.batch("a", size=2)(many) if batch else app.handler("a")(one)
    async with RunningHandlers(app) as running:
        assert [one.end for one in await running.deliver_batch("a", [1])] == ["ack"]
    assert found == [14]


async def test_tests_put_something_else_in_the_place_of_a_dependency() -> None:
    said: Said = []
    app, made = shop(said)
    replaced = {made["database"]: lambda: Pool("fake", said)}
    async with RunningHandlers(app, replaced=replaced) as handlers:
        await handlers.settle("order.created", {"id": 1})
    assert "1 in session of fake: 7 and 1.4000000000000001 3" in said
    assert "opened" not in said
    async with RunningHandlers(app, replaced={made["session"]: lambda: "other"}) as handlers:
        await handlers.settle("order.created", {"id": 1})
    assert said[-3:] == ["price", "1 in other: 7 and 1.4000000000000001 3", "closed"]


async def test_in_threads_dependencies_are_made_in_the_thread_of_the_call() -> None:
    said: Said = []
    app = Handlers()

    @app.lifespan
    async def name() -> AsyncIterator[str]:
        yield "it"

    def connection(name: Annotated[str, Depends(name)]) -> Iterator[str]:
        said.append(f"{name} {threading.current_thread().name}")
        yield name
        said.append("closed")

    @app.handler("a")
    def note(one: Annotated[str, Depends(connection)], event: ReceivedEvent) -> None:
        said.append(f"{event.type} {one}")

    @app.batch("b", size=5)
    def count(events: list[int], one: Annotated[str, Depends(connection)]) -> None:
        said.append(f"{events} {one}")

    @app.handler("c")
    def nothing_else(*, one: Annotated[str, Depends(connection)]) -> None:
        said.append(one)

    async with RunningHandlers(app) as handlers:
        assert (await handlers.settle("a")).end == "ack"
        assert [h.end for h in await handlers.deliver_batch("b", [1, 2])] == ["ack", "ack"]
        assert (await handlers.settle("c")).end == "ack"
    thread = "it handler-0"
    assert said == [thread, "a it", "closed", thread, "[1, 2] it", "closed", thread, "it", "closed"]


async def test_a_dependency_that_answers_answers_for_the_handler() -> None:
    app = Handlers()

    async def open_shop(event: ReceivedEvent) -> None:
        if event.key == "closed":
            raise RetryAfter(60, "closed")
        raise DeadLetter("gone")

    @app.handler("a")
    async def sell(event: ReceivedEvent, _: Annotated[None, Depends(open_shop)]) -> None:
        raise AssertionError

    async with RunningHandlers(app) as handlers:
        assert (await handlers.settle("a", key="closed")).seconds == 60
        assert (await handlers.settle("a")).reason == "gone"


async def test_a_start_that_fails_ends_what_had_begun_and_may_come_again() -> None:
    said: Said = []
    app = Handlers()

    @app.lifespan
    async def first() -> AsyncIterator[int]:
        said.append("first")
        try:
            yield 1
        finally:
            said.append("first ends")

    @app.lifespan
    async def second(one: Annotated[int, Depends(first)]) -> AsyncIterator[int]:
        if len(said) < 3:
            raise OSError("not yet")
        yield one + 1

    @app.handler("a")
    async def take(event: ReceivedEvent, two: Annotated[int, Depends(second)]) -> None:
        said.append(str(two))

    handler = PythonHandler("shop", app, timeout=5, threads=1)
    with pytest.raises(OSError, match="not yet"):
        await handler.start()
    assert said == ["first", "first ends"]
    said.append("again")
    await handler.start()
    await handler.close()
    assert said == ["first", "first ends", "again", "first", "first ends"]


async def cancelled(app: Handlers) -> None:
    async with RunningHandlers(app, timeout=0.05) as handlers:
        assert (await handlers.deliver("a")).end == "retry"


async def test_what_is_cancelled_at_its_deadline_is_ended_too() -> None:
    said: Said = []
    app = Handlers()

    async def session() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            said.append("ended")

    @app.handler("a")
    async def wait(event: ReceivedEvent, one: Annotated[int, Depends(session)]) -> None:
        await asyncio.sleep(3600)

    await cancelled(app)
    assert said == ["ended"]


def a_text() -> str:
    return ""


async def later() -> int:
    return 1


def itself(one: Annotated[int, Depends(lambda: 1)], two: str) -> int:
    return 1


def of_an_event(event: ReceivedEvent) -> int:
    return 1


async def of_a_call(event: ReceivedEvent) -> AsyncIterator[int]:
    yield 1


@contextlib.contextmanager
def managed() -> Iterator[int]:
    yield 1


class Yielding:
    async def __call__(self) -> AsyncIterator[int]:
        yield 1


YIELDING = Yielding()
NOT_ASYNC: Any = a_text
DEFAULT: Any = Depends(later)


async def in_thread(event: ReceivedEvent, one: Annotated[int, Depends(a_text)]) -> None: ...
async def of_nothing(event: ReceivedEvent, one: Annotated[int, Depends(7)]) -> None: ...
async def of_managed(event: ReceivedEvent, one: Annotated[int, Depends(managed)]) -> None: ...
async def of_object(event: ReceivedEvent, one: Annotated[int, Depends(YIELDING)]) -> None: ...
async def unfilled(event: ReceivedEvent, one: Annotated[int, Depends(itself)]) -> None: ...
async def of_default(event: ReceivedEvent, one: int = DEFAULT) -> None: ...
async def by_position(one: Annotated[int, Depends(later)], /) -> None: ...
def of_threads(event: ReceivedEvent, one: Annotated[int, Depends(later)]) -> None: ...
async def of_batch(events: list[int], one: Annotated[int, Depends(of_an_event)]) -> None: ...


@pytest.mark.parametrize(
    ("function", "batch", "said"),
    [
        (in_thread, None, r"parameter 'one': wanted int, and a_text at .*:\d+ gives str"),
        (of_nothing, None, "parameter 'one': Depends wants a function, found 7"),
        (of_managed, None, r"managed at \S+:\d+: it has a yield under a decorator"),
        (of_object, None, r"Yielding at \S+:\d+: it has a yield under a decorator, or in its"),
        (unfilled, None, r"itself at \S+:\d+: parameter 'two': wanted ReceivedEvent, Context or"),
        (of_default, None, "parameter 'one': a dependency is .* said by the annotation"),
        (by_position, None, "parameter 'one': a dependency is given by name"),
        (of_threads, None, r"later at \S+:\d+: it is async, and the handler is not"),
        (of_batch, 5, r"of_an_event at \S+:\d+: it wants the event, and a batch has several"),
    ],
)
def test_what_could_never_be_made_is_refused_at_the_start_with_its_place(
    function: Callable[..., Awaitable[None]], batch: int | None, said: str
) -> None:
    app = Handlers()
    decorate = app.handler("a") if batch is None else app.batch("a", size=batch)
    decorate(function)
    with pytest.raises(SpecError, match=rf"handler shop \(a\) at \S+:\d+: {said}"):
        PythonHandler("shop", app, timeout=5, threads=1)


class Named(Protocol):
    @property
    def name(self) -> str: ...


def a_pool() -> Pool:
    return Pool("pool", [])


async def of_a_protocol(_: ReceivedEvent, one: Annotated[Named, Depends(a_pool)]) -> None: ...
async def of_a_class(_: ReceivedEvent, one: Annotated[float, Depends(int)]) -> None: ...
async def of_any(_: ReceivedEvent, one: Annotated[Any, Depends(a_pool)]) -> None: ...
async def of_a_union(_: ReceivedEvent, one: Annotated[Pool | None, Depends(a_pool)]) -> None: ...


@pytest.mark.parametrize("function", [of_a_protocol, of_a_class, of_any, of_a_union])
def test_what_may_fit_is_taken(function: Callable[..., Awaitable[None]]) -> None:
    app = Handlers()
    app.handler("a")(function)
    PythonHandler("shop", app, timeout=5, threads=1)


def test_circles_and_lifespans_that_are_none_are_refused() -> None:
    app = Handlers()
    circle: list[Any] = []

    def one(two: Annotated[int, Depends(lambda: 1)]) -> int:
        return two

    one.__annotations__["two"] = Annotated[int, Depends(one)]
    circle.append(one)

    @app.handler("a")
    async def take(event: ReceivedEvent, one: Annotated[int, Depends(circle[0])]) -> None: ...

    with pytest.raises(SpecError, match="it depends on itself"):
        PythonHandler("shop", app, timeout=5, threads=1)
    with pytest.raises(SpecError, match=r"lifespan at \S+:\d+: wanted an async function with one"):
        app.lifespan(NOT_ASYNC)
    app = Handlers()
    app.lifespan(of_a_call)
    app.handler("a")(of_any)
    with pytest.raises(SpecError, match="at the start there is no event"):
        PythonHandler("shop", app, timeout=5, threads=1)


async def test_middleware_runs_around_every_call_the_first_outermost() -> None:
    said: Said = []
    app, orders = Handlers(), Handlers(retry=Retry(give_up_on=KeyError))

    def saying(name: str) -> Callable[[Call, Next], Awaitable[Answers]]:
        async def middleware(call: Call, call_next: Next) -> Answers:
            said.append(f"{name} before {call.handler.rpartition('.')[2]} {len(call.events)}")
            try:
                answer = await call_next(call)
            except Exception as error:
                said.append(f"{name} {error!r}")
                raise
            said.append(f"{name} after {answer!r}")
            return answer

        return middleware

    for name in ("outer", "inner"):
        app.middleware(saying(name))
    orders.middleware(saying("orders"))
    app.include(orders)

    @app.handler("a")
    def in_a_thread(event: ReceivedEvent, context: Context) -> DeadLetter:
        assert threading.current_thread().name.startswith("handler-")
        connection: object = context.connection
        assert connection is None
        return DeadLetter("no")

    @orders.batch("b", size=5)
    async def together(orders: list[int]) -> None:
        said.append(str(orders))

    @orders.handler("c")
    async def fail(event: ReceivedEvent) -> None:
        raise KeyError(1)

    async with RunningHandlers(app, connection=object()) as handlers:
        assert (await handlers.settle("a")).end == "dead_letter"
        answer = "DeadLetter('no')"
        assert said == [
            "outer before in_a_thread 1", "inner before in_a_thread 1",
            f"inner after {answer}", f"outer after {answer}",
        ]  # fmt: skip
        said.clear()
        assert [h.end for h in await handlers.deliver_batch("b", [1, 2])] == ["ack", "ack"]
        assert said[2:5] == ["orders before together 2", "[1, 2]", "orders after None"]
        said.clear()
        assert (await handlers.settle("c")).end == "dead_letter", "what it lets out is for Retry"
        assert said[-3:] == ["orders KeyError(1)", "inner KeyError(1)", "outer KeyError(1)"]


async def test_middleware_may_answer_in_the_place_of_a_handler() -> None:
    app = Handlers()

    @app.middleware
    async def closed(call: Call, call_next: Next) -> Answers:
        if call.events[0].key == "closed":
            return RetryAfter(60, "closed")
        try:
            return await call_next(call)
        except ValueError as error:
            raise DeadLetter(error) from error

    @app.handler("a")
    async def take(event: ReceivedEvent) -> None:
        raise ValueError("a number")

    async with RunningHandlers(app) as handlers:
        assert (await handlers.settle("a", key="closed")).seconds == 60
        assert (await handlers.settle("a")).reason == "a number"
    with pytest.raises(SpecError, match=r"middleware at \S+:\d+: wanted an async function"):
        app.middleware(NOT_ASYNC)


async def test_middleware_that_forgets_an_answer_or_a_deadline_loses_nothing() -> None:
    app = Handlers()

    @app.middleware
    async def careless(call: Call, call_next: Next) -> Answers:
        with contextlib.suppress(asyncio.CancelledError):
            await call_next(call)
        return None

    @app.handler("again")
    async def again(event: ReceivedEvent) -> RetryAfter:
        return RetryAfter(60, "not now")

    @app.handler("hangs", timeout=0.05)
    async def hangs(event: ReceivedEvent) -> None:
        await asyncio.Event().wait()

    async with RunningHandlers(app) as handlers:
        assert (await handlers.settle("again")).seconds == 60
        assert (await handlers.deliver("hangs")).reason == "no answer within 0.05 s"


async def test_middleware_without_an_answer_acknowledges_nothing_that_was_not_handled() -> None:
    app, failing = Handlers(), Handlers()

    @app.middleware
    async def passes_over(call: Call, call_next: Next) -> Answers:
        if call.events[0].key == "":
            call_next(call)
            return None
        return await call_next(call)

    @failing.middleware
    async def swallows(call: Call, call_next: Next) -> Answers:
        with contextlib.suppress(ValueError):
            await call_next(call)
        return Ack() if call.events[0].key == "drop" else None

    @failing.handler("a")
    async def take(event: ReceivedEvent) -> None:
        raise ValueError("not handled")

    app.include(failing)
    async with RunningHandlers(app) as handlers:
        with pytest.warns(RuntimeWarning, match="never awaited"):
            passed_over = await handlers.deliver("a")
        assert passed_over.end == "retry"
        assert "neither called the handler nor answered in its place" in passed_over.reason
        swallowed = await handlers.deliver("a", key="1")
        assert (swallowed.end, swallowed.reason[:23]) == ("retry", "ValueError: not handled")
        assert (await handlers.deliver("a", key="drop")).end == "ack"
