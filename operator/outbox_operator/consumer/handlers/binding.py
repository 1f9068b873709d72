"""What a handler function is called with, from its signature. Done once for each function."""

from __future__ import annotations

import collections.abc
import json
from collections.abc import Callable, Sequence, Set
from typing import Annotated, Any, Final, get_args, get_origin

from outbox_operator.consumer.handlers.callables import place
from outbox_operator.consumer.handlers.dependencies import Dependencies
from outbox_operator.consumer.handlers.signatures import Parameter, Signature
from outbox_operator.consumer.handlers.types import Context, DeadLetter, ReceivedEvent
from outbox_operator.errors import SpecError
from outbox_operator.wire.event import Event

Fill = Callable[[ReceivedEvent, Context], Any]
FillMany = Callable[[Sequence[ReceivedEvent], Context], Any]

_LISTS: Final = (
    list, collections.abc.Sequence, collections.abc.Collection, collections.abc.Iterable,
)  # fmt: skip


def bind(
    signature: Signature, name: str, dependencies: Dependencies
) -> Callable[[ReceivedEvent, Context], Any]:
    """Make a call of a function with what its parameters are annotated with.

    Args:
        signature: Of a handler of single events.
        name: For messages.
        dependencies: What handlers depend on.

    Raises:
        SpecError: A parameter that nothing can fill.
    """
    function = signature.call
    where = f"{name}{place(signature.call)}"
    fills = [_single(one, at, where) for at, one in enumerate(signature.parameters)]
    names = [one.name for one in signature.parameters if one.keyword]
    if signature.depends:
        return _with_made(signature, fills, names, name, dependencies, batch=False)
    if names:
        return _with_names(function, fills, names)
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
    signature: Signature, name: str, dependencies: Dependencies
) -> Callable[[Sequence[ReceivedEvent], Context], Any]:
    """Make the same for a handler of lists. Raises SpecError as `bind`."""
    where = f"{name}{place(signature.call)}"
    fills = [_many(one, at, where) for at, one in enumerate(signature.parameters)]
    names = [one.name for one in signature.parameters if one.keyword]
    if signature.depends:
        return _with_made(signature, fills, names, name, dependencies, batch=True)
    return _with_names(signature.call, fills, names)


def takes(signature: Signature) -> Set[type]:
    """Return which of `ReceivedEvent` and `Context` a function is given, or lists of them."""
    found = set[type]()
    for at, parameter in enumerate(signature.parameters):
        annotation = parameter.annotation
        if get_origin(annotation) in _LISTS:
            annotation = (get_args(annotation) or (None,))[0]
        if annotation is None:
            annotation = Context if at else ReceivedEvent
        if annotation in (ReceivedEvent, Context):
            found.add(annotation)
    return found


def _with_made(
    signature: Signature,
    fills: Sequence[Callable[..., Any]],
    names: Sequence[str],
    name: str,
    dependencies: Dependencies,
    *,
    batch: bool,
) -> Callable[..., Any]:
    """Make a call of a function that depends on what is made before it."""
    function, first = signature.call, len(fills) - len(names)

    def call(given: Any, context: Context, /, **made: Any) -> Any:
        values = [fill(given, context) for fill in fills]
        return function(*values[:first], **dict(zip(names, values[first:], strict=True)), **made)

    return dependencies.bind(
        call, signature.depends, f"{name}{place(function)}", is_async=signature.is_async,
        batch=batch,
    )  # fmt: skip


def _with_names(
    function: Callable[..., Any], fills: Sequence[Callable[..., Any]], names: Sequence[str]
) -> Callable[..., Any]:
    """Make a call whose last parameters are given by name."""
    first = len(fills) - len(names)

    def call(given: Any, context: Context) -> Any:
        values = [fill(given, context) for fill in fills]
        return function(*values[:first], **dict(zip(names, values[first:], strict=True)))

    return call


def _single(parameter: Parameter, at: int, name: str) -> Fill:
    annotation = parameter.annotation
    if annotation is ReceivedEvent or (annotation is None and at == 0):
        return _event
    if annotation is Context or annotation is None:
        return _context
    fill = payload(annotation, name)

    def remembered(event: ReceivedEvent, context: Context) -> Any:
        found = fill(event, context)
        context._payloads = (found,)
        return found

    return remembered


def _event(event: ReceivedEvent, _: Context) -> ReceivedEvent:
    return event


def _context(_: ReceivedEvent, context: Context) -> Context:
    return context


def _many(parameter: Parameter, at: int, name: str) -> FillMany:
    annotation = parameter.annotation
    if annotation is Context or (annotation is None and at > 0):
        return lambda _, context: context
    if annotation is None:
        return lambda events, _: list(events)
    if get_origin(annotation) not in _LISTS:
        raise SpecError(
            f"handler {name}: a batch handler takes list[ReceivedEvent] or list[…] of payloads; "
            f"found {annotation}"
        )
    fill = _single(Parameter("", (get_args(annotation) or (None,))[0], False), 0, name)

    def fill_many(events: Sequence[ReceivedEvent], context: Context) -> list[Any]:
        found = [fill(event, context) for event in events]
        context._payloads = found if fill is not _event else ()
        return found

    return fill_many


def payload(annotation: Any, name: str) -> Fill:
    """Make a decoder for payloads of a type; one that does not fit is a dead letter, since it never
    will."""
    if annotation is bytes:
        return lambda event, _: event.data
    if annotation in (dict, Any, object):
        return lambda event, _: _json(event)
    if annotation is Event:
        raise SpecError(
            f"handler {name}: Event is what is written; a handler is given a ReceivedEvent"
        )
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    from outbox_operator.documents import problems

    try:
        adapter = TypeAdapter(annotation)
    except PydanticUserError as error:
        why = error.message.partition("\n")[0]
        raise SpecError(f"handler {name}: payloads of type {annotation}: {why}") from error
    core = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    wanted = getattr(core, "__name__", str(core))

    def decode(event: ReceivedEvent, _: Context) -> Any:
        try:
            return adapter.validate_json(event.data)
        except ValidationError as error:
            found = problems(error, whole="all of it")
            raise DeadLetter(f"the payload is no {wanted}: {found}") from error

    return decode


def _json(event: ReceivedEvent) -> Any:
    try:
        return json.loads(event.data)
    except ValueError as error:
        raise DeadLetter(f"the payload is not JSON: {error}") from error
