"""What errors of a handler leave out: what it was given in place of what it took it for."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import fields
from typing import Final

from outbox_operator.consumer.handlers.types import Context, ReceivedEvent

_OF_CONNECTIONS: Final = frozenset(
    {"execute", "executemany", "fetch", "fetchrow", "fetchval", "cursor", "transaction"}
)
_OF_EVENTS: Final = frozenset({one.name for one in fields(ReceivedEvent)} | {"json", "is_json"})
_NO_CONNECTION: Final = (
    "(context.connection is None without an inbox, and in a handler that is not async)"
)
_IS_EVENT: Final = (
    "(the handler was given the event, whose payload is event.json(); a parameter annotated with "
    "dict, or with a type of the payload, is given that)"
)
_IS_CONTEXT: Final = (
    "(the handler was given the context, as a second parameter without an annotation is; one "
    "annotated with dict, or with a type of the payload, is given that)"
)
_IS_PAYLOAD: Final = (
    "(a parameter annotated with dict is given the payload; one annotated with ReceivedEvent, or "
    "with nothing, the event)"
)
_NOTES: Final = {ReceivedEvent: _IS_EVENT, Context: _IS_CONTEXT}
_NAMED: Final = re.compile(r"'(\w+)'|(?:\bnot|^Object of type) (\w+)\b")
"""How Python's own words name the class of what an operation cannot be done with: `'X' object is
not subscriptable`, `must be a mapping, not X`, `Object of type X is not JSON serializable`."""


def explain(
    error: Exception, context: Context, events: Sequence[ReceivedEvent], takes: Set[type]
) -> None:
    """Add to an error what it leaves out, once.

    Args:
        error: Raised by a handler.
        context: Of the call.
        events: What it is about.
        takes: Which of `ReceivedEvent` and `Context` the handler has parameters for.
    """
    given: list[object] = [one for one in (*events, context) if type(one) in takes]
    note = _note(error, context, [*given, *context._payloads])
    # One exception may be raised for many events: the failure of a task that each awaits.
    if note is not None and note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _note(error: Exception, context: Context, given: Sequence[object]) -> str | None:
    """What an error leaves out; of what the handler was given itself, and of nothing like it."""
    if type(error) is TypeError:  # as of event["id"], json.loads(event) or Order(**event)
        found = _taken_for_another(error, given)
        return None if found is None else _NOTES[type(found)]
    if not isinstance(error, AttributeError):
        return None
    owner: object = error.obj
    connection: object = context.connection
    if owner is None and connection is None and error.name in _OF_CONNECTIONS:
        return _NO_CONNECTION
    if not any(one is owner for one in given):
        return None
    if type(owner) is dict:
        return _IS_PAYLOAD if error.name in _OF_EVENTS else None
    return _NOTES.get(type(owner))


def _taken_for_another(error: TypeError, given: Sequence[object]) -> object | None:
    """The event or context that an operation could not be done with.

    The error does not say of which object it is: one of a class that Python's words name, and at
    hand where it was raised.
    """
    text = error.args[0] if len(error.args) == 1 else None
    named = {name for pair in _NAMED.findall(text) for name in pair} if type(text) is str else ()
    meant = [one for one in given if type(one) in _NOTES and type(one).__name__ in named]
    if not meant:
        return None
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    at_hand = {} if trace is None else trace.tb_frame.f_locals
    for value in at_hand.values():
        for one in meant:
            if value is one or (type(value) is list and any(it is one for it in value)):
                return one
    return None
