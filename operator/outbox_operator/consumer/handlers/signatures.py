"""What a handler function says of itself: its parameters, whether it is async, what it answers.

Read once for each function, before the first event, so that what could only fail for every event
is refused with the place where it is written.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args, get_origin

from outbox_operator.consumer.handlers.callables import (
    VARIABLE,
    behind_partials,
    hints,
    inner,
    parameters_of,
    place,
    runs_in_the_loop,
    telling,
    yields,
)
from outbox_operator.consumer.handlers.depends import Depends, dependency, foreign
from outbox_operator.consumer.handlers.types import (
    Ack,
    Context,
    DeadLetter,
    ReceivedEvent,
    RetryAfter,
)
from outbox_operator.errors import SpecError

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME: Final[dict[str, type]] = {"event": ReceivedEvent, "context": Context}
"""What an unannotated parameter with such a name is filled with."""
_LATER: Final = (collections.abc.Awaitable, collections.abc.Coroutine)
_MANY: Final = (list, tuple, collections.abc.Sequence)
_UNIONS: Final = (typing.Union, types.UnionType)
_ANSWERS: Final = (Ack, RetryAfter, DeadLetter)
_WSGI: Final = "a WSGI application, such as Flask's or Django's"
_APPLICATIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("scope", "receive", "send"): "an ASGI application, such as FastAPI's",
    ("environ", "start_response"): _WSGI,
    ("env", "start_response"): _WSGI,
}
"""By the names of all their parameters, as their specifications and all who keep to them have
them."""
_OVER_HTTP: Final = (
    "; what serves HTTP is called by handler.http, with the URL of an endpoint of it (on a laptop: "
    "--endpoint CONSUMER=URL)"
)
_COMMANDS: Final = {
    ("click", "BaseCommand"): "a command of click",
    ("click", "Command"): "a command of click",
    ("typer", "Typer"): "an application of typer",
}
"""By package and name of the class, which takes whatever it is called with."""
_EMPTY: Final = (types.NoneType, dict, list)
"""What a default is where somebody means a payload that may be missing."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter that is to be filled.

    Attributes:
        name: Its name.
        annotation: `Context`, `ReceivedEvent`, the payload's type, or None: it does not say.
        keyword: It can be given by name only.
    """

    name: str
    annotation: Any
    keyword: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function wants to be called.

    Attributes:
        call: The function, or what calls it so that it is async as it says.
        is_async: It runs in the event loop.
        parameters: What to fill, in order.
        depends: What to fill with dependencies, by name: their annotations.
    """

    call: Callable[..., Any]
    is_async: bool
    parameters: tuple[Parameter, ...]
    depends: Mapping[str, Any]


def read(function: Callable[..., Any], name: str, *, batch: bool) -> Signature:
    """Read a handler function.

    Args:
        function: Of single events, or of lists.
        name: For messages.
        batch: It is given lists, and may answer for each.

    Raises:
        SpecError: It can handle no event, or nobody can fill its parameters.
    """
    own, at = inner(function), place(function)
    if inspect.isclass(own):
        raise SpecError(f"handler {name}{at}: wanted a function, found a class")
    if (what := _other_program(function, name)) is not None:
        # Of an object, the code is its library's: the name alone says where it is written.
        written = at if own is behind_partials(function) else ""
        way_out = _OVER_HTTP if what in _APPLICATIONS.values() else ""
        raise SpecError(
            f"handler {name}{written}: {what}, is no handler: wanted a function of the event, the "
            f"context, the payload, or some of them{way_out}"
        )
    name += at
    if yields(own):
        raise SpecError(
            f"handler {name}: it has a yield, so that calling it would run nothing of it; wanted a "
            "function"
        )
    told = telling(function)
    found = hints(told, name)
    answers = found.pop("return", None)
    _check_answer(answers, name, batch=batch)
    call, is_async = _as_it_runs(function, own, answers)
    depends = {one: said for one, said in found.items() if dependency(said) is not None}
    parameters = _parameters(told, found, depends, name, batch=batch)
    return Signature(call, is_async, parameters, depends)


def _other_program(function: Callable[..., Any], name: str) -> str | None:
    """What a callable is that others call with something else; None: it may be a handler.

    Told although annotations cannot be resolved, which there are often for checkers only.
    """
    for kind in type(function).__mro__:
        package = kind.__module__.partition(".")[0]
        if (what := _COMMANDS.get((package, kind.__name__))) is not None:
            return what
    told = telling(function)
    found = parameters_of(told, f"handler {name}")
    what = _APPLICATIONS.get(tuple(parameter.name for parameter in found))
    if what is None or any(isinstance(parameter.default, Depends) for parameter in found):
        return None
    try:
        said = hints(told, name).values()
    except SpecError:
        return what
    ours = any(dependency(one) is not None or plain(one) in _BY_NAME.values() for one in said)
    return None if ours else what


def _parameters(
    told: Callable[..., Any],
    said: dict[str, Any],
    depends: Mapping[str, Any],
    name: str,
    *,
    batch: bool,
) -> tuple[Parameter, ...]:
    """Return the parameters to fill: those without a default, and whatever is annotated with what
    only the runtime has."""
    found = parameters_of(told, f"handler {name}")
    if found and found[0].name == "self" and "self" not in said and inspect.isfunction(told):
        raise SpecError(
            f"handler {name}: it is a method, and nobody has its self; decorate a function, or "
            "pass the method of an object: app.handler(…)(shop.handle)"
        )
    wanted: list[Parameter] = []
    passed_over = False
    empty: list[str] = []
    for parameter in found:
        if parameter.kind in VARIABLE:
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL and not wanted:
                wanted += [Parameter("event", None, False), Parameter("context", Context, False)]
            continue
        if isinstance(parameter.default, Depends) or (
            parameter.name in depends and parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        ):
            raise SpecError(
                f"handler {name}: parameter {parameter.name!r}: a dependency is given by name, and "
                "said by the annotation: Annotated[…, Depends(…)]"
            )
        if (wrong := foreign(said.get(parameter.name), parameter.default)) is not None:
            raise SpecError(f"handler {name}: parameter {parameter.name!r}: {wrong}")
        if parameter.name in depends:
            passed_over = True
            continue
        annotation = plain(said.get(parameter.name))
        if annotation is None and (parameter.name != "event" or not batch):
            annotation = _BY_NAME.get(parameter.name)
        optional = parameter.default is not inspect.Parameter.empty
        if optional and (annotation not in _BY_NAME.values() or parameter.name not in said):
            passed_over = True
            if annotation is not None and type(parameter.default) in _EMPTY:
                empty.append(parameter.name)
            continue
        if optional and parameter.kind is inspect.Parameter.POSITIONAL_ONLY and passed_over:
            raise SpecError(
                f"handler {name}: parameter {parameter.name!r} can be given by position only, and "
                "stands behind one that nobody fills"
            )
        keyword = parameter.kind not in _POSITIONAL or passed_over
        if keyword and annotation is None:
            raise SpecError(
                f"handler {name}: parameter {parameter.name!r} does not say what it wants; "
                "annotate it with ReceivedEvent, Context or the type of the payload"
            )
        wanted.append(Parameter(parameter.name, annotation, keyword))
    if empty and not depends and all(one.annotation is Context for one in wanted):
        raise SpecError(
            f"handler {name}: parameter {empty[0]!r} has a default, which it would have for every "
            "event: nobody fills what has one; take the default away"
        )
    if not (wanted or depends) or len(wanted) > 3:
        raise SpecError(
            f"handler {name}: wanted a function of the event, the context, the payload, or some "
            f"of them; found {len(wanted)} parameters"
        )
    if not batch:
        _check_each_once(wanted, name)
    return tuple(wanted)


def _check_each_once(wanted: Sequence[Parameter], name: str) -> None:
    """Refuse what is asked for twice, as by parameters that stand for fields."""
    payloads, contexts = list[str](), list[str]()
    for at, one in enumerate(wanted):
        if one.annotation is Context or (one.annotation is None and at):
            contexts.append(one.name)
        elif one.annotation is not None and one.annotation is not ReceivedEvent:
            payloads.append(one.name)
    for names, what in ((payloads, "whole payload"), (contexts, "context")):
        if len(names) > 1:
            raise SpecError(
                f"handler {name}: parameters {names[0]!r} and {names[1]!r} would both be given the "
                f"{what}; wanted the event, the context, and one parameter of a type that has the "
                "fields of the payload"
            )


def plain(annotation: Any) -> Any:
    """Return `Context` and `ReceivedEvent` also where they are optional or annotated further."""
    core = annotation
    while get_origin(core) is Annotated:
        core = get_args(core)[0]
    if get_origin(core) in _UNIONS:
        options = [one for one in get_args(core) if one is not types.NoneType]
        if len(options) == 1:
            core = plain(options[0])
    return core if core is Context or core is ReceivedEvent else annotation


def _as_it_runs(
    function: Callable[..., Any], own: Callable[..., Any], answers: Any
) -> tuple[Callable[..., Any], bool]:
    """Return what to call, and whether in the event loop."""
    if inspect.iscoroutinefunction(own):
        return function, True
    if not runs_in_the_loop(function) and get_origin(answers) not in _LATER:
        return function, False

    # A decorator that is not async around a function that is.
    async def call(*args: Any, **named: Any) -> Any:
        answer = function(*args, **named)
        return await answer if inspect.isawaitable(answer) else answer

    return call, True


def _check_answer(annotation: Any, name: str, *, batch: bool) -> None:
    if get_origin(annotation) in _LATER:
        annotation = get_args(annotation)[-1]
    if not _may_answer(annotation, batch=batch):
        shown = getattr(annotation, "__name__", None) if inspect.isclass(annotation) else annotation
        raise SpecError(
            f"handler {name}: it returns {shown}, which is no answer; return None, Ack(), "
            f"RetryAfter() or DeadLetter(){', or a list with one for each' if batch else ''}"
        )


def _may_answer(annotation: Any, *, batch: bool) -> bool:
    if get_origin(annotation) is Annotated:
        return _may_answer(get_args(annotation)[0], batch=batch)
    if get_origin(annotation) in _UNIONS:
        return all(_may_answer(one, batch=batch) for one in get_args(annotation))
    if get_origin(annotation) in _MANY or annotation in _MANY:
        return batch
    if annotation is Any or annotation is object:
        return True
    kind = get_origin(annotation) or annotation
    return not inspect.isclass(kind) or issubclass(kind, (*_ANSWERS, types.NoneType))
