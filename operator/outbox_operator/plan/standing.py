"""Which consumer stands still for a task that resets it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from outbox_operator.api.conditions import ConditionType

_OVER: Final = frozenset({ConditionType.COMPLETE, ConditionType.FAILED, ConditionType.SUSPENDED})


def standing_still_for(uid: str, tasks: Iterable[Mapping[str, Any]]) -> str | None:
    """Name of the task for which the pods of a consumer have to end; None: none.

    Args:
        uid: Of the EventConsumer.
        tasks: All of its namespace. One that is gone, at its end or suspended holds nobody; while
            its suspension is not noted, a change may still be under way.
    """
    for body in tasks:
        spec, status = body.get("spec") or {}, body.get("status") or {}
        phase = (status.get("progress") or {}).get("phase")
        if (
            spec.get("resetConsumer") is not None
            and phase in ("PodsEnding", "Moving")
            and (status.get("target") or {}).get("uid") == uid
            and not _is_over(status.get("conditions") or ())
            and spec.get("dryRun") is not True
            and not body["metadata"].get("deletionTimestamp")
        ):
            return str(body["metadata"]["name"])
    return None


def held_text(task: str, namespace: str, tasks: Iterable[Mapping[str, Any]]) -> str:
    """What is said of a consumer that stands still, and how it goes on without.

    Args:
        task: For which it does.
        namespace: Where both are.
        tasks: All of that namespace: how far it is, it says itself.
    """
    said = next((_said(body) for body in tasks if body["metadata"]["name"] == task), "")
    far = f" ({said})" if said else ""
    return (
        f"task {task} holds its pods until it has reset the durable consumer{far}; "
        f"kubectl delete obt/{task} -n {namespace} gives it up"
    )


def _said(body: Mapping[str, Any]) -> str:
    for one in (body.get("status") or {}).get("conditions") or ():
        if one.get("type") == ConditionType.COMPLETE:
            return str(one.get("message") or "")
    return ""


def _is_over(conditions: Iterable[Mapping[str, Any]]) -> bool:
    return any(one.get("type") in _OVER and one.get("status") == "True" for one in conditions)
