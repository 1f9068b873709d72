"""What a handler function is called with, from its signature. Done once for each function."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin

from outbox_operator.consumer.handlers.types import Context, DeadLetter, ReceivedEvent
from outbox_operator.errors import SpecError

Fill = Callable[[ReceivedEvent, Context], Any]
FillMany = Callable[[Sequence[ReceivedEvent], Context], Any]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def bind(function: Callable[..., Any], name: str) -> Callable[[ReceivedEvent, Context], Any]:
    """Make a call of `function` with what its parameters are annotated with.

    Args:
        function: A handler of single events.
        name: For messages.

    Raises:
        SpecError: A parameter that nothing can fill, or an annotation that cannot be resolved.
    """
    fills = [_single(annotation, index, name) for index, annotation in _wanted(function, name)]
    match fills:
        case [first]:
            return lambda event, context: function(first(event, context))
        case [first, second] if (first, second) == (_event, _context):
            return function
        case [first, second]:
            return lambda event, context: function(first(event, context), second(event, context))
        case _:
            return lambda event, context: function(*[fill(event, context) for fill in fills])


def bind_batch(
    function: Callable[..., Any], name: str
) -> Callable[[Sequence[ReceivedEvent], Context], Any]:
    """Make the same for a handler of lists. Raises SpecError as `bind`."""
    fills = [_many(annotation, index, name) for index, annotation in _wanted(function, name)]
    return lambda events, context: function(*[fill(events, context) for fill in fills])


def _wanted(function: Callable[..., Any], name: str) -> list[tuple[int, Any]]:
    """Return position and annotation of each parameter without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # some built-in functions do not say
        parameters = ()  # type: ignore[assignment]
    called = function if inspect.isroutine(function) else type(function).__call__
    try:
        hints = typing.get_type_hints(called)
    except (NameError, TypeError) as error:
        raise SpecError(f"handler {name}: an annotation cannot be resolved: {error}") from error
    wanted: list[Any] = []
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL and not wanted:
            wanted = [ReceivedEvent, Context]
        if parameter.kind in _POSITIONAL and parameter.default is inspect.Parameter.empty:
            wanted.append(hints.get(parameter.name))
    if not wanted or len(wanted) > 3:
        raise SpecError(
            f"handler {name}: wanted a function of the event, the context, the payload, or some "
            f"of them; found {len(wanted)} parameters"
        )
    return list(enumerate(wanted))


def _single(annotation: Any, index: int, name: str) -> Fill:
    if annotation is ReceivedEvent or (annotation is None and index == 0):
        return _event
    if annotation is Context or annotation is None:
        return _context
    return payload(annotation, name)


def _event(event: ReceivedEvent, _: Context) -> ReceivedEvent:
    return event


def _context(_: ReceivedEvent, context: Context) -> Context:
    return context


def _many(annotation: Any, index: int, name: str) -> FillMany:
    if annotation is Context or (annotation is None and index > 0):
        return lambda _, context: context
    if annotation is None:
        return lambda events, _: list(events)
    if get_origin(annotation) not in (list, Sequence):
        raise SpecError(
            f"handler {name}: a batch handler takes list[ReceivedEvent] or list[…] of payloads; "
            f"found {annotation}"
        )
    fill = _single((get_args(annotation) or (None,))[0], 0, name)
    return lambda events, context: [fill(event, context) for event in events]


def payload(annotation: Any, name: str) -> Fill:
    """Make a decoder for payloads of a type; one that does not fit is a dead letter, since it never
    will."""
    if annotation is bytes:
        return lambda event, _: event.data
    if annotation in (dict, Any, object):
        return lambda event, _: _json(event)
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    from outbox_operator.documents import problems

    try:
        adapter = TypeAdapter(annotation)
    except PydanticUserError as error:
        raise SpecError(f"handler {name}: payloads of type {annotation}: {error}") from error
    wanted = getattr(annotation, "__name__", str(annotation))

    def decode(event: ReceivedEvent, _: Context) -> Any:
        try:
            return adapter.validate_json(event.data)
        except ValidationError as error:
            raise DeadLetter(f"the payload is no {wanted}: {problems(error)}") from error

    return decode


def _json(event: ReceivedEvent) -> Any:
    try:
        return json.loads(event.data)
    except ValueError as error:
        raise DeadLetter(f"the payload is not JSON: {error}") from error
