"""What follows from what a handler function returned or raised."""

from __future__ import annotations

import inspect

from outbox_operator.consumer import error_text
from outbox_operator.consumer.handlers.retry import Retry, leaves
from outbox_operator.consumer.handlers.types import (
    Ack,
    DeadLetter,
    Outcome,
    RetryAfter,
    caused,
)


def read(answer: object, name: str) -> Outcome:
    """Return what an answer means. One that means nothing is a dead letter: the function ran,
    and would do again what it did if the event came again.

    Args:
        answer: Not None.
        name: Of the function, for messages.
    """
    if isinstance(answer, Ack | RetryAfter | DeadLetter):
        return answer
    for kind in (Ack, RetryAfter, DeadLetter):
        if answer is kind:
            return kind()
    if inspect.iscoroutine(answer):
        answer.close()  # else Python says once more, of a line of ours, that nobody awaited it
        return DeadLetter(
            f"{name} returned the coroutine {answer.__qualname__!r}, of which nothing ran: write "
            "await behind return"
        )
    return DeadLetter(
        f"{name} returned {type(answer).__name__}, which is no answer; return None, Ack(), "
        "RetryAfter() or DeadLetter(), a batch handler also a list with one of them for each event"
    )


def of_error(error: Exception, retry: Retry | None) -> Outcome | None:
    """Return what an exception stands for, if it is no failure like any other."""
    if isinstance(error, ExceptionGroup):  # what a TaskGroup makes of an answer that is raised
        answers = [one for one in leaves(error) if isinstance(one, RetryAfter | DeadLetter)]
        if len(answers) == len(list(leaves(error))):
            dead = (one for one in answers if isinstance(one, DeadLetter))
            return next(dead, answers[0]).with_traceback(None)
    if retry is None:
        return None
    why, delay = error_text.describe(error), retry.delay(error)
    if retry.gives_up(error):
        return caused(DeadLetter(why), error)
    answer = RetryAfter(delay, why)
    answer.retry = retry
    return caused(answer, error)
