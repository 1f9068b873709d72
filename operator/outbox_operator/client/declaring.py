"""Events declared once: the decorator that applications use, and what it checks of payloads.

Imported by applications through `outbox_operator.client`. Payloads are checked by pydantic where
the application has it: models always, dataclasses if it is installed. Without it a dataclass is
written as it is.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from outbox_operator.errors import EventError, SpecError
from outbox_operator.wire.declared import MARK, Declared, declared
from outbox_operator.wire.event import is_dotted_name, shown

if TYPE_CHECKING:
    from outbox_operator.wire.event import Event

T = TypeVar("T")
Catalog = ModuleType | Sequence[type]
"""Where declared events are: a module that has them, or their classes."""

_VERSIONED: Final = re.compile(r"\.v\d+$")
_MOST_PROBLEMS: Final = 10
_NUMBERS: Final = frozenset(("ser_json_timedelta", "ser_json_temporal"))
"""Settings of pydantic that make numbers of durations and times."""
_ADAPTERS: Final[weakref.WeakKeyDictionary[type, tuple[Any, bool]]] = weakref.WeakKeyDictionary()


def event(
    name: str, *, version: int = 1, key: str | None = None, deprecated: bool = False
) -> Callable[[type[T]], type[T]]:
    """Declare a class as the payload of an event.

        @event("order.created", key="id")
        class OrderCreated(BaseModel):
            id: UUID
            total: Decimal

    `Event.of(OrderCreated(…))` then knows type and key, `@app.handler(OrderCreated)` takes such
    events, and `outbox catalog` writes their schemas. A payload is checked when it is written: what
    a handler could not read again is refused.

    Args:
        name: Dotted name of the event.
        version: 2, 3, … after a change that readers cannot follow. The type is then
            `order.created.v2`: another subject, for readers who ask for it.
        key: Field that holds the ordering key; None: there is no order.
        deprecated: Nobody shall begin to read it, and it may go later.

    Raises:
        SpecError: The name or version cannot be one, the class is neither a dataclass nor a
            pydantic model, or has no such field.
    """
    given: object = name
    if isinstance(given, type):
        raise SpecError(
            f'event {given.__name__}: write @event("order.created") above it, with its name'
        )
    if not is_dotted_name(str(name)) or _VERSIONED.search(name):
        raise SpecError(
            f"event {shown(name)!r}: wanted a dotted name without a version at its end, for "
            'example "order.created"'
        )
    if type(version) is not int or version < 1:
        raise SpecError(f"event {name!r}: version: wanted 1, 2, …, found {version!r}")

    def declare(kind: type[T]) -> type[T]:
        fields = _fields(kind)
        if fields is None:
            raise SpecError(
                f"event {name!r}: {getattr(kind, '__qualname__', kind)} is neither a dataclass nor "
                "a pydantic model; @event stands above @dataclass"
            )
        if key is not None and key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(fields)}"
            raise SpecError(f"event {name!r}: {kind.__qualname__} has no field {key!r}; {hint}")
        setattr(kind, MARK, Declared(name, version, key, deprecated))
        return kind

    return declare


def collect(catalog: Catalog) -> dict[str, type]:
    """The declared events of a module, or the given ones, by their type.

    Raises:
        SpecError: There is none, a class is not declared, or two are declared as one.
    """
    found: dict[str, type] = {}
    for kind in _classes(catalog):
        told = declared(kind)
        if told is None:
            raise SpecError(
                f"catalog: {kind.__qualname__} is not declared; write @event(…) above it"
            )
        other = found.setdefault(told.type, kind)
        if other is not kind:
            raise SpecError(
                f"catalog: event {told.type!r} is declared by {other.__module__}."
                f"{other.__qualname__} and by {kind.__module__}.{kind.__qualname__}"
            )
    if not found:
        where = catalog.__name__ if isinstance(catalog, ModuleType) else "it"
        raise SpecError(f"catalog: {where} has no class that is declared with @event(…)")
    return found


def check(where: str, given: Event, text: str, known: Mapping[str, type] | None) -> None:
    """Refuse an event that is not as it was declared.

    Args:
        where: Names the event, for messages.
        given: The event.
        text: Its payload as it is written.
        known: Declared events by type; None: whatever there is.

    Raises:
        EventError: Its type is not declared, or not with this class, or the payload does not fit.
    """
    kind: type = type(given.payload)
    told = declared(kind)
    if told is not None and told.type != given.type:
        raise EventError(
            f"{where}: {kind.__name__} is declared as {told.type!r}; use Event.of(payload)"
        )
    if told is not None and told.key is not None and not given.key:
        raise EventError(
            f"{where}: it has no key, and {kind.__name__} is declared with that of its field "
            f"{told.key!r}; use Event.of(payload)"
        )
    if known is not None:
        if given.type not in known:
            near = difflib.get_close_matches(given.type, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise EventError(f"{where}: its type is not in the catalog of this outbox{hint}")
        kind = known[given.type]
    elif told is None:
        return
    problems = _problems(kind, text)
    if problems:
        raise EventError(f"{where}: payload is no {kind.__name__} as readers get it: {problems}")


def _fields(kind: object) -> list[str] | None:
    if not isinstance(kind, type):
        return None
    if "__dataclass_fields__" in kind.__dict__:
        return [one.name for one in dataclasses.fields(kind)]
    models = getattr(kind, "model_fields", None)
    return list(models) if isinstance(models, dict) and hasattr(kind, "model_dump") else None


def _classes(catalog: Catalog) -> Iterator[type]:
    if isinstance(catalog, str | type) or not isinstance(catalog, ModuleType | Iterable):
        raise SpecError(
            f"catalog: wanted a module, as it is imported, or a list of classes, found {catalog!r}"
        )
    if not isinstance(catalog, ModuleType):
        yield from catalog
        return
    yield from _classes_in(catalog)


def _classes_in(place: ModuleType | type) -> Iterator[type]:
    """Declared classes of a module, those that are written inside others among them."""
    for name, value in vars(place).items():
        if not isinstance(value, type):
            continue
        if isinstance(place, type) and value.__qualname__ != f"{place.__qualname__}.{name}":
            continue  # a reference, which may lead anywhere
        if declared(value) is not None:
            yield value
        yield from _classes_in(value)


def _problems(kind: type, text: str) -> str:
    """What of a payload its own class cannot read; empty: nothing, or nobody here can say."""
    adapter, strict = _adapter(kind)
    if adapter is None:
        return ""
    from pydantic import ValidationError

    try:
        adapter.validate_json(text, strict=strict)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        said = [f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in found]
        more = f"; and {len(said) - _MOST_PROBLEMS} more" if len(said) > _MOST_PROBLEMS else ""
        return "; ".join(said[:_MOST_PROBLEMS]) + more
    return ""


def _converts(adapter: Any) -> bool:
    """Whether a class, or what it holds, is written in a form of its own, which is read in lax
    mode only."""
    return _has_own_form(adapter.core_schema)


def _has_own_form(schema: object) -> bool:
    """Whether somewhere in a schema of pydantic values are written by a function, or times and
    durations as numbers."""
    if isinstance(schema, list | tuple):
        return any(map(_has_own_form, schema))
    if not isinstance(schema, dict):
        return False
    how = schema.get("serialization")
    own = isinstance(how, dict) and str(how.get("type")).startswith("function-")
    return own or bool(_NUMBERS & {*schema}) or any(map(_has_own_form, schema.values()))


def _adapter(kind: type) -> tuple[Any, bool]:
    """What reads payloads of a class, and whether strictly; None without pydantic."""
    try:
        return _ADAPTERS[kind]
    except KeyError:
        adapter: Any = None
        if importlib.util.find_spec("pydantic") is not None:
            from pydantic import TypeAdapter

            adapter = TypeAdapter(kind)
        found = _ADAPTERS[kind] = adapter, adapter is not None and not _converts(adapter)
        return found
