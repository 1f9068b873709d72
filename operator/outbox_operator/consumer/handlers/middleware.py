"""What runs around every call of a handler: before it, after it, and when it fails.

Imported by applications through `outbox_operator.consumer`; standard library only. Handlers
without any are called as if this module were not there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from outbox_operator.consumer.handlers.callables import place
from outbox_operator.consumer.handlers.types import Context, Outcome, ReceivedEvent

Answers = Outcome | None | Sequence[Outcome | None]
"""What a handler answers; one of batches may answer for each event."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a handler.

    Attributes:
        handler: Name of the function.
        events: What it is called with: one event, or those of a batch.
        context: That of the first event.
    """

    handler: str
    events: tuple[ReceivedEvent, ...]
    context: Context


Next = Callable[[Call], Awaitable[Answers]]
"""Goes on to the next middleware, and in the end to the handler."""
Middleware = Callable[[Call, Next], Awaitable[Answers]]
"""None that it answers is what it was answered, or given as an exception, last: who forgets to hand
that on loses nothing."""


def chained(middleware: Sequence[Middleware], last: Next) -> Next:
    """Make one call of middleware, the first outermost, around the last."""
    for one in reversed(middleware):
        last = _around(one, last)
    return last


def _around(middleware: Middleware, following: Next) -> Next:
    async def call(given: Call) -> Answers:
        answered: Answers = None
        failure: BaseException | None = None
        asked = False

        async def call_next(one: Call) -> Answers:
            nonlocal answered, failure, asked
            asked, failure = True, None
            try:
                answered = await following(one)
            except BaseException as error:
                failure = error
                raise
            return answered

        answer = await middleware(given, call_next)
        if answer is not None:
            return answer
        if failure is not None:
            raise failure
        if not asked:
            raise RuntimeError(
                f"middleware{place(middleware)} neither called the handler nor answered in its "
                "place; return what `await call_next(call)` gives, or Ack() if there is nothing "
                "to do"
            )
        return answered

    return call
