"""What others added to a Kubernetes object of ours, told by its managed fields. Pure.

A difference is a field of ours that is otherwise; this is a field that nobody declared: a sidecar,
an environment variable, `hostNetwork`. The API server writes down who set each field, so that its
own defaults, and what admission added to our own writes, are not taken for somebody's doing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.plan.kubernetes.diff import change_at
from outbox_operator.plan.state import FieldChange

_LOOKED_AT: Final = ("f:spec", "f:data", "f:binaryData")
_OURS: Final = (meta.FIELD_MANAGER, meta.STATUS_FIELD_MANAGER, meta.HANDOVER_FIELD_MANAGER)
_LEFT: Final = frozenset(
    {
        ("spec", "replicas"),  # compared: it is always ours
        ("spec", "template", "metadata"),  # `kubectl rollout restart` stamps it
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surplus:
    """A field that somebody added.

    Attributes:
        change: What it is, for people.
        place: Where it is: keys and indexes.
    """

    change: FieldChange
    place: tuple[str | int, ...]

    @property
    def pointer(self) -> str:
        """The place as a JSON pointer."""
        parts = (str(one).replace("~", "~0").replace("/", "~1") for one in self.place)
        return "".join(f"/{part}" for part in parts)


def entries_of_others(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The managed fields of an object that are not ours and may matter; usually none."""
    found = []
    for entry in metadata.get("managedFields") or ():
        fields = {k: v for k, v in (entry.get("fieldsV1") or {}).items() if k in _LOOKED_AT}
        through = entry.get("subresource") or "scale"
        if fields and entry.get("manager") not in _OURS and through == "scale":
            found.append({"manager": entry.get("manager"), "fieldsV1": fields})
    return found


def surplus(desired: Mapping[str, Any], live: Mapping[str, Any]) -> tuple[Surplus, ...]:
    """What others added to an object, from its end to its beginning: so it can be removed.

    Args:
        desired: Our manifest.
        live: The object, with the managed fields of others at least.
    """
    found: dict[tuple[str | int, ...], Surplus] = {}
    for entry in entries_of_others(live["metadata"]):
        for one in _walk(entry["fieldsV1"], desired, live, (), ()):
            found[one.place] = one
    # Beneath one parent there are either keys or indexes, so that places compare.
    return tuple(found[place] for place in sorted(found, reverse=True))


def _walk(
    fields: Mapping[str, Any],
    desired: Any,
    live: Any,
    path: tuple[str, ...],
    place: tuple[str | int, ...],
) -> Iterator[Surplus]:
    for key, below in fields.items():
        kind, _, text = key.partition(":")
        step: tuple[str | int, str] | None = None
        wanted: Any = None
        if kind == "f" and isinstance(live, Mapping) and text in live:
            step = (text, text)
            wanted = desired.get(text) if isinstance(desired, Mapping) else None
        elif kind == "k" and isinstance(live, list):
            keys = json.loads(text)
            index = _index(live, keys)
            step = None if index is None else (index, f"[{next(iter(keys.values()))}]")
            wanted = _item(desired, keys)
        if step is None or (*path, step[1]) in _LEFT:
            continue
        here, there = (*path, step[1]), (*place, step[0])
        value = live[step[0]]
        if wanted is None:
            yield Surplus(change=change_at(here, None, value), place=there)
        elif below:
            yield from _walk(below, wanted, value, here, there)


def _index(items: Sequence[Any], keys: Mapping[str, Any]) -> int | None:
    return next((number for number, one in enumerate(items) if _is(one, keys)), None)


def _item(items: Any, keys: Mapping[str, Any]) -> Any:
    if not isinstance(items, list):
        return None
    return next((one for one in items if _is(one, keys)), None)


def _is(item: Any, keys: Mapping[str, Any]) -> bool:
    """Whether a list's item has these keys; what it leaves out has its default."""
    return isinstance(item, Mapping) and all(item.get(k, v) == v for k, v in keys.items())
