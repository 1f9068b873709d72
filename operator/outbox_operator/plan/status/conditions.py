"""From what happened in a pass to conditions. Pure: facts and the time in, conditions out.

Each part of a resource (database, stream, relay, …) ends a pass in one `Part`. The summary
conditions follow kstatus: `Ready` needs every part; `Reconciling` says that time will help;
`Stalled` says that a person must act.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from outbox_operator.api.conditions import (
    LONGEST_MESSAGE,
    Condition,
    ConditionStatus,
    ConditionType,
    merge,
)
from outbox_operator.api.resource import Resource
from outbox_operator.errors import OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.wire.times import format_time

PartStatus = Literal["True", "False", "Unknown"]

NOTICE_SECONDS: Final = 3600.0
"""For so long a condition that informs speaks of what happened once."""
_NUMBER: Final = re.compile(r"[0-9]+")

ROUTINE: Final = frozenset(
    {
        Reason.NEW_GENERATION,
        Reason.RECONCILING,
        Reason.NOT_OBSERVED,
        Reason.NOT_STARTED,
        Reason.CREATING,
        Reason.ROLLING_OUT,
        Reason.STOPPING,
        Reason.PLAN_OUTDATED,
        Reason.WRITE_CONFLICT,
    }
)
"""Steps on the way to what is declared: nothing is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How one part of a resource stands after a pass.

    Attributes:
        type: The condition that speaks of it.
        status: True: as wanted. False: not. Unknown: could not be looked at.
        reason: CamelCase word.
        message: For people.
        stalled: Whether a person must act before time can help.
        failing: Whether an error is behind it: look again with a growing pause. Otherwise it is
            on its way, and something will tell.
        blocks: Whether it keeps the resource from being Ready.
    """

    type: ConditionType
    status: PartStatus
    reason: Reason
    message: str = ""
    stalled: bool = False
    failing: bool = False
    blocks: bool = True


def ok(kind: ConditionType, reason: Reason, message: str = "") -> Part:
    """A part that is as wanted."""
    return Part(type=kind, status="True", reason=reason, message=message)


def failed(kind: ConditionType, error: OutboxError) -> Part:
    """A part that an error keeps from being as wanted.

    An API server that did not answer keeps nobody but us from knowing whether it is.
    """
    unseen = error.reason == Reason.KUBERNETES_UNAVAILABLE
    return Part(
        type=kind,
        status="Unknown" if unseen else "False",
        reason=error.reason,
        message=error.message,
        stalled=not error.retryable,
        failing=True,
    )


def waiting(kind: ConditionType, reason: Reason, message: str) -> Part:
    """A part that is on its way."""
    return Part(type=kind, status="False", reason=reason, message=message)


def unknown(kind: ConditionType, reason: Reason, message: str) -> Part:
    """A part that could not be looked at because an earlier one is not there."""
    return Part(type=kind, status="Unknown", reason=reason, message=message)


def info(kind: ConditionType, holds: bool, reason: Reason, message: str = "") -> Part:
    """A condition that informs and never decides about Ready (Lagging, Paused)."""
    return Part(
        type=kind, status="True" if holds else "False", reason=reason, message=message, blocks=False
    )


def conditions(
    parts: Sequence[Part],
    *,
    ready_reason: Reason,
    previous: Iterable[Condition],
    generation: int,
    now: datetime,
) -> list[Condition]:
    """All conditions of a resource: the summary first, then one per part.

    Args:
        parts: In order of cause: the first failing one explains why the resource is not ready.
        ready_reason: Reason of Ready when nothing is wrong, for example `PipelineRunning`.
        previous: Conditions of the last status, for their transition times.
        generation: The generation that this pass worked on.
        now: Time of the pass.
    """
    blocking = [part for part in parts if part.blocks and part.status != "True"]
    # The cause before its consequences: a dead database before "not looked at".
    broken = next((part for part in blocking if part.stalled), None) or next(
        (part for part in blocking if part.status == "False"), blocking[0] if blocking else None
    )
    if broken is None:
        message = next((p.message for p in parts if p.blocks and p.message), "")
        summary = [
            _condition(ConditionType.READY, "True", ready_reason, message),
            _condition(ConditionType.RECONCILING, "False", Reason.APPLIED),
            _condition(ConditionType.STALLED, "False", Reason.APPLIED),
        ]
    else:
        text = broken.message or f"{broken.type} is {broken.status}"
        summary = [
            _condition(ConditionType.READY, "False", broken.reason, text),
            _condition(
                ConditionType.RECONCILING,
                "False" if broken.stalled else "True",
                broken.reason,
                "a person must act, see Stalled" if broken.stalled else text,
            ),
            _condition(
                ConditionType.STALLED,
                "True" if broken.stalled else "False",
                broken.reason if broken.stalled else Reason.PROGRESSING,
                text if broken.stalled else "",
            ),
        ]
    singles = [
        _condition(part.type, part.status, part.reason, part.message)
        for part in parts
        if part.type is not ConditionType.READY  # an error that is no single part's
    ]
    return merge(previous, [*summary, *singles], now=now, generation=generation)


def settled(resource: Resource[Any, Any], kind: ConditionType) -> bool:
    """Whether this generation was in force before: a difference is then drift."""
    return any(
        c.type == kind and c.status == "True" and c.observedGeneration == resource.meta.generation
        for c in resource.status.conditions
    )


def as_before(resource: Resource[Any, Any], kind: ConditionType) -> Part | None:
    """A part as the last status says it of this generation; None: it was not as wanted."""
    if not settled(resource, kind):
        return None
    said = next(c for c in resource.status.conditions if c.type == kind)
    known = set(Reason)
    reason = Reason(said.reason) if said.reason in known else Reason.IN_SYNC
    return ok(kind, reason, said.message or "")


def with_missing(parts: Sequence[Part], types: Iterable[ConditionType]) -> list[Part]:
    """Parts that a pass did not get to are said to be unknown, so that no condition goes missing.

    Args:
        parts: What the pass found.
        types: Every part that the resource has.
    """
    found = {part.type for part in parts}
    cause = next((part for part in parts if part.blocks and part.status != "True"), None)
    reason = cause.reason if cause else Reason.NOT_OBSERVED
    text = f"not looked at: {cause.type} is {cause.status}" if cause else "not looked at"
    summary = {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED}
    return [
        *parts,
        *(
            Part(type=kind, status="Unknown", reason=reason, message=text, blocks=False)
            for kind in dict.fromkeys(types)
            if kind not in found | summary | {ConditionType.PAUSED}
        ),
    ]


def first_sight(
    previous: Sequence[Condition], *, generation: int, now: datetime
) -> list[Condition]:
    """Conditions of a generation nobody has worked on yet: Ready is not known."""
    message = f"generation {generation} has just been seen"
    fresh = [
        _condition(ConditionType.READY, "Unknown", Reason.RECONCILING, message),
        _condition(ConditionType.RECONCILING, "True", Reason.NEW_GENERATION, message),
        _condition(ConditionType.STALLED, "False", Reason.PROGRESSING),
    ]
    kept = [c for c in previous if c.type not in {f.type for f in fresh}]
    return [
        *merge(previous, fresh, now=now, generation=generation),
        *kept,  # what is known of the parts still speaks of the older generation, and says so
    ]


def _condition(
    kind: ConditionType, status: ConditionStatus, reason: Reason, message: str = ""
) -> Condition:
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[: LONGEST_MESSAGE - 1]}…"
    return Condition(type=kind.value, status=status, reason=reason, message=message)


def worth_writing(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    live_fields: Collection[str],
    now: datetime,
    *,
    numbers_after: float,
    confirm_after: float,
) -> bool:
    """Whether a rendered status says enough that is new.

    Args:
        before: The status as it is.
        after: The status as it would be.
        live_fields: Names of the fields that hold live numbers.
        now: Time of the pass.
        numbers_after: Seconds after which live numbers alone are worth it (exact values are in
            the metrics).
        confirm_after: Seconds after which numbers that stayed the same are confirmed: a quiet
            object costs no writes.
    """
    if after == before:
        return False
    sampled_at = _sampled_at(before)
    if says_the_same(before, after):
        return due(sampled_at, now, confirm_after)
    if unchanged_apart_from(live_fields, before, after):
        return due(sampled_at, now, numbers_after)
    return True


def says_the_same(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two rendered statuses differ in nothing but when the numbers were read."""
    return without_sample_time(before) == without_sample_time(after)


def _sampled_at(status: Mapping[str, Any]) -> str | None:
    outbox = status.get("outbox") or {}
    value = status.get("sampledAt") or outbox.get("sampledAt")
    return str(value) if value else None


def without_sample_time(status: Mapping[str, Any]) -> dict[str, Any]:
    """A rendered status without when its numbers were read."""
    rest = {key: value for key, value in status.items() if key != "sampledAt"}
    if isinstance(rest.get("outbox"), Mapping):
        rest["outbox"] = {k: v for k, v in rest["outbox"].items() if k != "sampledAt"}
    return rest


def with_sample_time(status: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """A rendered status whose numbers are those of now; None: it has none."""
    said, outbox = stamp(now), status.get("outbox")
    if status.get("sampledAt"):
        return {**status, "sampledAt": said}
    if isinstance(outbox, Mapping) and outbox.get("sampledAt"):
        return {**status, "outbox": {**outbox, "sampledAt": said}}
    return None


def unchanged_apart_from(
    fields: Iterable[str], before: Mapping[str, Any], after: Mapping[str, Any]
) -> bool:
    """Whether two rendered statuses differ in nothing but the named live numbers, and such as
    messages of conditions hold: "failed 20 times for 24 s"."""
    skip = set(fields)
    return _without_numbers(before, skip) == _without_numbers(after, skip)


def _without_numbers(status: Mapping[str, Any], skip: Container[str]) -> dict[str, Any]:
    rest = {key: value for key, value in status.items() if key not in skip}
    rest["conditions"] = [
        {**one, "message": _NUMBER.sub("0", str(one.get("message")))}
        for one in status.get("conditions") or ()
    ]
    return rest


def due(sampled_at: str | None, now: datetime, interval: float) -> bool:
    """Whether the last sample is at least `interval` seconds old."""
    if not sampled_at:
        return True
    then = datetime.fromisoformat(sampled_at)
    return (now - then).total_seconds() >= interval


def fresh_for(status: Mapping[str, Any], now: datetime, interval: float) -> float:
    """Seconds until the numbers of a rendered status are `interval` seconds old; 0: they are."""
    sampled_at = _sampled_at(status)
    if not sampled_at:
        return 0.0
    return max(0.0, interval - (now - datetime.fromisoformat(sampled_at)).total_seconds())


def stamp(now: datetime) -> str:
    """The time as status fields carry it."""
    return format_time(now, "seconds")


def is_recent(time: str | None, now: datetime) -> bool:
    """Whether what a status notes was within the last hour."""
    return not due(time, now, NOTICE_SECONDS)


def round_age(seconds: float) -> float:
    """Ages in statuses are rough on purpose, so that they do not change at every look."""
    if seconds < 10:
        return round(seconds, 1)
    return float(round(seconds)) if seconds < 120 else float(round(seconds / 10) * 10)
