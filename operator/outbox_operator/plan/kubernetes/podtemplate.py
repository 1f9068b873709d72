"""Merges a user's `podTemplate` into a pod template of ours. Pure.

Called by `plan.kubernetes.workloads`. The rules are those of Kubernetes' strategic merge patch, so
that people can write what they know: maps merge, lists of named things merge by name, other lists
are replaced (tolerations are added), null removes. What would keep the workload from running as the
operator means it is refused by name.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from outbox_operator.errors import SpecError

MERGE_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "ownerReferences": "uid",
}
"""Lists whose items Kubernetes identifies by a key, by the name of the field that holds them."""

_ADDED: Final = frozenset({"tolerations"})
_REPLACED_ITEMS: Final = frozenset({"env", "volumes"})
"""Items whose fields exclude each other (`value`, `valueFrom`): the user's stands for all of it."""


def merge(
    template: Mapping[str, Any],
    overlay: Mapping[str, Any] | None,
    *,
    container: str,
    owns_process: bool,
    min_grace_seconds: int,
) -> dict[str, Any]:
    """A pod template with a user's settings in it.

    Args:
        template: Ours; its labels and annotations win over the user's.
        overlay: The user's `podTemplate`, or None.
        container: Name of our main container.
        owns_process: Whether the main container runs our program, whose command is ours to set.
        min_grace_seconds: Shortest `terminationGracePeriodSeconds` that lets the process drain.

    Raises:
        SpecError: Names the field that cannot be set, and why.
    """
    if not overlay:
        return copy.deepcopy(dict(template))
    overlay = {field: value for field, value in overlay.items() if value is not None}
    _refuse_breaking(overlay, template, container, owns_process, min_grace_seconds)
    merged: dict[str, Any] = _merge_map(template, overlay, "podTemplate")
    metadata = merged["metadata"]
    for field in ("labels", "annotations"):
        ours = template["metadata"].get(field) or {}
        metadata[field] = {**(metadata.get(field) or {}), **ours}
    return merged


def grace_seconds(overlay: Mapping[str, Any] | None, default: int) -> int:
    """How long a pod may take to stop, as the user's settings have it."""
    spec = (overlay or {}).get("spec")
    wanted = spec.get("terminationGracePeriodSeconds") if isinstance(spec, Mapping) else None
    return wanted if isinstance(wanted, int) and not isinstance(wanted, bool) else default


def _refuse_breaking(
    overlay: Mapping[str, Any],
    template: Mapping[str, Any],
    container: str,
    owns_process: bool,
    min_grace_seconds: int,
) -> None:
    _only(overlay, {"metadata", "spec"}, "podTemplate")
    _only(
        _map(overlay, "metadata", "podTemplate"), {"labels", "annotations"}, "podTemplate.metadata"
    )
    spec = _map(overlay, "spec", "podTemplate")
    path = "podTemplate.spec"
    if spec.get("restartPolicy", "Always") != "Always":
        raise SpecError(
            f"{path}.restartPolicy: wanted Always, found {spec['restartPolicy']!r}; the pods of a "
            "Deployment are always restarted"
        )
    _keep(spec, ("containers", "volumes"), path)
    for field in ("activeDeadlineSeconds", "ephemeralContainers"):
        if field in spec:
            raise SpecError(f"{path}.{field} cannot be set on the pods of a Deployment; remove it")
    grace = grace_seconds(overlay, min_grace_seconds)
    if grace < min_grace_seconds:
        raise SpecError(
            f"{path}.terminationGracePeriodSeconds: wanted at least {min_grace_seconds}, found "
            f"{grace}; the process needs that long to drain"
        )
    ours = {volume["name"] for volume in template["spec"].get("volumes", ())}
    for volume in _items(spec, "volumes", path):
        if volume["name"] in ours:
            raise SpecError(f"{path}.volumes[{volume['name']}] is the operator's; use another name")
    for entry in _items(spec, "containers", path):
        if entry["name"] == container:
            _refuse_container(entry, template, f"{path}.containers[{container}]", owns_process)


def _refuse_container(
    entry: Mapping[str, Any], template: Mapping[str, Any], path: str, owns_process: bool
) -> None:
    _keep(entry, ("image", "env", "volumeMounts", "ports"), path)
    if owns_process:
        for field in ("command", "args"):
            if field in entry:
                raise SpecError(f"{path}.{field} is the operator's; remove it")
    main = template["spec"]["containers"][0]
    mounts = {mount["mountPath"] for mount in main.get("volumeMounts", ())}
    for mount in _items(entry, "volumeMounts", path):
        if mount["mountPath"].rstrip("/") in mounts:
            raise SpecError(
                f"{path}.volumeMounts[{mount['mountPath']}] is the operator's; use another path"
            )
    if not owns_process:
        return
    for field in ("env", "ports"):
        key = MERGE_KEYS[field]
        taken = {item[key] for item in main.get(field, ())}
        for item in _items(entry, field, path):
            if item[key] in taken:
                raise SpecError(f"{path}.{field}[{item[key]}] is the operator's; use another {key}")


def _keep(value: Mapping[str, Any], fields: tuple[str, ...], path: str) -> None:
    for field in fields:
        if field in value and value[field] is None:
            raise SpecError(f"{path}.{field} cannot be removed")


def _merge_map(base: Mapping[str, Any], over: Mapping[str, Any], path: str) -> dict[str, Any]:
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        where = f"{path}.{key}"
        if key.startswith("$"):
            raise SpecError(f"{where}: patch directives are not understood; write null to remove")
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_value(merged.get(key), value, key, where)
    return merged


def _merge_value(base: Any, over: Any, key: str, path: str) -> Any:
    if base is None:
        # Even without a counterpart the value is walked: it may hold nulls and duplicates.
        base = {} if isinstance(over, Mapping) else [] if isinstance(over, list) else over
    if isinstance(base, Mapping):
        if not isinstance(over, Mapping):
            raise SpecError(f"{path}: wanted a map, found {over!r}")
        return _merge_map(base, over, path)
    if isinstance(base, list):
        if not isinstance(over, list):
            raise SpecError(f"{path}: wanted a list, found {over!r}")
        return _merge_list(base, over, key, path)
    if isinstance(over, Mapping | list):
        raise SpecError(f"{path}: wanted a single value, found {over!r}")
    return over


def _merge_list(base: Sequence[Any], over: Sequence[Any], key: str, path: str) -> list[Any]:
    if key in _ADDED:
        return [*copy.deepcopy(list(base)), *(item for item in over if item not in base)]
    merge_key = MERGE_KEYS.get(key)
    if merge_key is None:
        return copy.deepcopy(list(over))
    merged: dict[Any, Any] = {item[merge_key]: copy.deepcopy(item) for item in base}
    for item in _checked_items(over, merge_key, path):
        name = item[merge_key]
        base_item = {} if key in _REPLACED_ITEMS else merged.get(name, {})
        merged[name] = _merge_map(base_item, item, f"{path}[{name}]")
    return list(merged.values())


def _map(parent: Mapping[str, Any], field: str, path: str) -> Mapping[str, Any]:
    value = parent.get(field)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SpecError(f"{path}.{field}: wanted a map, found {value!r}")
    return value


def _items(parent: Mapping[str, Any], field: str, path: str) -> list[Mapping[str, Any]]:
    value = parent.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise SpecError(f"{path}.{field}: wanted a list, found {value!r}")
    return _checked_items(value, MERGE_KEYS[field], f"{path}.{field}")


def _checked_items(items: Sequence[Any], merge_key: str, path: str) -> list[Mapping[str, Any]]:
    seen = set()
    for item in items:
        name = item.get(merge_key) if isinstance(item, Mapping) else None
        if not isinstance(name, str | int):
            raise SpecError(f"{path}: each item needs {merge_key}; found {item!r}")
        if name in seen:
            raise SpecError(f"{path}: {merge_key} {name!r} is there twice")
        seen.add(name)
    return list(items)


def _only(value: Mapping[str, Any], known: set[str], path: str) -> None:
    for key in value:
        if key not in known:
            raise SpecError(f"{path}.{key} is not understood; write {' or '.join(sorted(known))}")
