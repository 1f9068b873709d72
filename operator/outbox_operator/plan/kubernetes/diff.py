"""Is a live Kubernetes object still as we want it? Pure.

The controller asks before every apply: no difference, no call. Each difference names its field,
so that a status can say what somebody changed.

Only fields that we set are compared; what others add is told by `surplus` beside this. That alone
would overlook a field that we no longer set, so every manifest carries a hash of itself
(`stamped`); the hash that is live tells which manifest was applied last.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.plan.kubernetes.podtemplate import MERGE_KEYS
from outbox_operator.plan.state import FieldChange

_HASH_LENGTH: Final = 16
_IDENTITY: Final = frozenset({"apiVersion", "kind", "status"})
_IDENTITY_METADATA: Final = frozenset({"name", "namespace"})
_QUANTITY: Final = re.compile(r"([+-]?[0-9.]+)(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?")
_QUANTITY_PARENTS: Final = frozenset({"limits", "requests"})
_QUANTITY_FIELDS: Final = frozenset({"sizeLimit"})
_FACTORS: Final = {
    "": Decimal(1), "m": Decimal("0.001"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9),
    "T": Decimal(10**12), "P": Decimal(10**15),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30),
    "Ti": Decimal(2**40), "Pi": Decimal(2**50),
}  # fmt: skip
_PLAIN: Final = frozenset({str, int, bool})
_HIDDEN: Final = "(hidden)"
_MAX_SHOWN: Final = 120


def stamped(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with an annotation that holds a hash of it."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    metadata = manifest["metadata"]
    annotations = {
        **(metadata.get("annotations") or {}),
        meta.APPLIED_ANNOTATION: digest[:_HASH_LENGTH],
    }
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def differences(desired: Mapping[str, Any], live: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Every field of `desired` that `live` has otherwise; empty: nothing to apply.

    Both are made of dictionaries, lists and plain values, as JSON is.

    Values that may hold secrets or whole documents (environment, ConfigMap data) are not shown.
    """
    changes: list[FieldChange] = []
    for key, wanted in desired.items():
        if key in _IDENTITY:
            continue
        if key == "metadata":
            wanted = {k: v for k, v in wanted.items() if k not in _IDENTITY_METADATA}
        _compare(wanted, live.get(key), (key,), changes)
    return tuple(changes)


def was_changed_by_others(changes: Sequence[FieldChange]) -> bool:
    """Whether differences are drift: the last manifest applied was this one, and yet it differs."""
    stamp = f"metadata.annotations.{meta.APPLIED_ANNOTATION}"
    return bool(changes) and not any(change.field == stamp for change in changes)


def _compare(wanted: Any, found: Any, path: tuple[str, ...], changes: list[FieldChange]) -> None:
    # The API server leaves out what has its zero value.
    if found is None and not wanted:
        return
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            other = found.get(key)
            # Most of what every pass compares are texts and numbers as they should be.
            if value.__class__ in _PLAIN and value.__class__ is other.__class__ and value == other:
                continue
            _compare(value, other, (*path, key), changes)
    elif isinstance(wanted, list) and isinstance(found, list):
        _compare_lists(wanted, found, path, changes)
    elif not _equal(wanted, found, path):
        changes.append(change_at(path, wanted, found))


def _compare_lists(
    wanted: list[Any], found: list[Any], path: tuple[str, ...], changes: list[FieldChange]
) -> None:
    merge_key = MERGE_KEYS.get(path[-1])
    if merge_key is not None and all(isinstance(i, dict) and merge_key in i for i in wanted):
        by_name = {item.get(merge_key): item for item in found}
        for item in wanted:
            name = item[merge_key]
            _compare(item, by_name.get(name), (*path, f"[{name}]"), changes)
        return
    if len(wanted) != len(found):
        changes.append(change_at(path, f"{len(wanted)} items", f"{len(found)} items"))
        return
    for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
        _compare(one, other, (*path, f"[{index}]"), changes)


def _equal(wanted: Any, found: Any, path: tuple[str, ...]) -> bool:
    if wanted == found and isinstance(wanted, bool) == isinstance(found, bool):
        return True
    if path[-1] in _QUANTITY_FIELDS or (len(path) > 1 and path[-2] in _QUANTITY_PARENTS):
        one, other = _quantity(wanted), _quantity(found)
        return one is not None and one == other
    return False


def _quantity(value: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(str(value))
    return Decimal(match[1]) * _FACTORS[match[2] or ""] if match else None


def change_at(path: tuple[str, ...], wanted: object, found: object) -> FieldChange:
    """A difference as it may be shown: without what could be a secret."""
    hidden = _is_private(path)
    return FieldChange(
        field=".".join(path).replace(".[", "["),
        wanted=_shown(wanted, hidden),
        found=_shown(found, hidden),
    )


def _shown(value: object, hidden: bool) -> object:
    """A value as a status may show it: bounded, and nothing that could hold a secret inside."""
    if value is None:
        return None
    if hidden:
        return _HIDDEN
    if isinstance(value, Mapping | list):
        return "(present)"
    if isinstance(value, str) and len(value) > _MAX_SHOWN:
        return value[:_MAX_SHOWN] + "…"
    return value


def _is_private(path: tuple[str, ...]) -> bool:
    return path[0] in ("data", "binaryData", "stringData") or (
        path[-1] == "value" and len(path) > 2 and path[-3] == "env"
    )
