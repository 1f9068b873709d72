"""What handlers need besides the event: said in their annotations, made for each call or once.

Imported by applications through `outbox_operator.consumer`; standard library only. How they are
called is `consumer.handlers.dependencies`' business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args, get_origin

_NAMES: Final = frozenset(("Depends", "Dependant"))
"""Classes of FastAPI, FastStream and others."""


@dataclass(frozen=True, slots=True)
class Depends:
    """Says who makes the value of a parameter.

        async def rates(pool: Annotated[Pool, Depends(database)]) -> Rates: ...

        @app.handler("order.created")
        async def invoice(order: Order, rates: Annotated[Rates, Depends(rates)]) -> None: ...

    A function that `Handlers.lifespan` decorates gives what it yielded at the start. Any other is
    called for each call of a handler, once however many ask for it: with the event, the context
    and what it depends on itself, by its own annotations. One with a `yield` goes on behind it when
    the call has ended, and is given its exception. Exceptions of a dependency are the handler's.

    Attributes:
        function: Who makes it. For handlers that are not async one that is not, either: both run
            in the same thread.
    """

    function: Callable[..., Any]


def dependency(annotation: Any) -> Depends | None:
    """Return what an annotation says of a dependency; None: nothing."""
    if get_origin(annotation) is not Annotated:
        return None
    return next((one for one in get_args(annotation)[1:] if isinstance(one, Depends)), None)


def foreign(annotation: Any, default: Any) -> str | None:
    """Return what is wrong with the dependency of another library, which nobody here would make;
    None: there is none."""
    said = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    for one in (*said, default):
        names = {kind.__name__ for kind in type(one).__mro__}
        if names & _NAMES and not isinstance(one, Depends):
            library = type(one).__module__.partition(".")[0]
            return f"Depends is that of {library}; wanted Depends of outbox_operator.consumer"
    return None
