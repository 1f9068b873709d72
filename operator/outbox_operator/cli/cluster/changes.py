"""What pausing, stopping, starting and restarting change, and by what one sees that it is so. Pure.

A change is an annotation or a field. Whether it took effect is judged by conditions that speak of
the generation that the change made, so that a condition of before never counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.errors import SpecError
from outbox_operator.plan.kubernetes.lanes import lane_name
from outbox_operator.reasons import Reason

Body = Mapping[str, Any]
Patch = Mapping[str, Any] | list[dict[str, Any]]
_PODS: Final[Mapping[str, ConditionType]] = {
    meta.PIPELINE: ConditionType.RELAY_AVAILABLE,
    meta.CONSUMER: ConditionType.WORKLOAD_AVAILABLE,
}
_NO_PODS: Final = frozenset({Reason.STOPPED, Reason.SCALED_TO_ZERO})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a change took effect.

    Attributes:
        done: It did.
        text: By what one sees it, or what it waits for.
        hopeless: It will not without another act, so that waiting is no use.
    """

    done: bool
    text: str
    hopeless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """An object, and those that it made of itself."""

    body: Body
    children: Sequence[Body] = ()


Judge = Callable[[Family, int], Verdict]
"""Of the object as it is now, and the generation that the change made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one object.

    Attributes:
        patch: Merge patch, or a list of JSON patch operations.
        judge: Whether it took effect.
        did: What was done, for people: `paused`.
        children: Whether `judge` looks at children.
    """

    patch: Patch
    judge: Judge
    did: str
    children: bool = field(default=False)


def pause() -> Change:
    """Have the operator look and change nothing."""
    return Change(
        patch=_annotation(meta.PAUSE_ANNOTATION, "true"), judge=_paused, did="paused", children=True
    )


def resume() -> Change:
    """Have the operator change things again."""
    return Change(
        patch=_annotation(meta.PAUSE_ANNOTATION, None), judge=_resumed, did="resumed", children=True
    )


def reconcile(now: str) -> Change:
    """Have the operator look now."""
    name = meta.RECONCILE_AT_ANNOTATION
    return Change(patch=_annotation(name, now), judge=_looked_at, did="reconciled")


def restart(kind: str, what: str) -> Change:
    """Roll pods; `what` is a value of the annotation."""
    if kind == meta.STREAM:
        raise SpecError("an EventStream has no pods to restart")
    return Change(
        patch=_annotation(meta.RESTART_ANNOTATION, what),
        judge=_restart_judge(what),
        did="restarted",
        children=True,
    )


def set_state(body: Body, state: str, consumer: str | None = None) -> Change:
    """Stop or start the relay, a consumer of a pipeline, or an EventConsumer of its own.

    Args:
        body: The object.
        state: `Stopped` or `Running`.
        consumer: Of the pipeline; None: its relay.

    Raises:
        SpecError: There is no such consumer, or the object is another one's.
    """
    did = "stopped" if state == "Stopped" else "started"
    kind, name = body["kind"], body["metadata"]["name"]
    if kind == meta.STREAM:
        raise SpecError("an EventStream has no pods to stop or start")
    if kind == meta.CONSUMER:
        _check_own(body, "stop" if state == "Stopped" else "start")
        return Change(
            patch={"spec": {"state": state}},
            judge=_state_judge(ConditionType.WORKLOAD_AVAILABLE, state),
            did=did,
        )
    if consumer is None:
        return Change(
            patch={"spec": {"relay": {"state": state}}},
            judge=_state_judge(ConditionType.RELAY_AVAILABLE, state),
            did=f"relay {did}",
        )
    there = [str(one.get("name")) for one in body["spec"].get("consumers") or ()]
    whole = next((one for one in there if consumer in _children_of(body, one)), consumer)
    if consumer not in there and whole != consumer:
        raise SpecError(
            f"{consumer!r} is a lane of consumer {whole!r} of OutboxPipeline {name}, whose lanes "
            f"stop and start together: --consumer {whole}"
        )
    if consumer not in there:
        raise SpecError(
            f"OutboxPipeline {name} has no consumer {consumer!r}; it has "
            f"{', '.join(there) or 'none'}"
        )
    path = f"/spec/consumers/{there.index(consumer)}"
    # The list may have changed since it was read: then nothing is written.
    operations = [
        {"op": "test", "path": f"{path}/name", "value": consumer},
        {"op": "add", "path": f"{path}/state", "value": state},
    ]
    return Change(
        patch=operations,
        judge=_consumer_judge(consumer, state),
        did=f"consumer {consumer} {did}",
        children=True,
    )


def condition(body: Body, type_: str, generation: int) -> Body | None:
    """A condition that speaks of a generation or a later one."""
    for one in (body.get("status") or {}).get("conditions") or ():
        if one["type"] == type_ and int(one.get("observedGeneration") or 0) >= generation:
            return dict(one)
    return None


def owner(body: Body) -> Mapping[str, Any] | None:
    """The controlling owner of an object."""
    owners: Iterable[Mapping[str, Any]] = body["metadata"].get("ownerReferences") or ()
    return next((one for one in owners if one.get("controller")), None)


def _annotation(name: str, value: str | None) -> Patch:
    return {"metadata": {"annotations": {name: value}}}


def _check_own(body: Body, verb: str) -> None:
    above = owner(body)
    if above is None:
        return
    name = body["metadata"]["name"]
    consumer = (body["metadata"].get("labels") or {}).get(meta.CONSUMER_LABEL, name)
    raise SpecError(
        f"EventConsumer {name} is made by {above['kind']} {above['name']}, which would undo it; "
        f"kubectl outbox {verb} {above['name']} --consumer {consumer} "
        f"-n {body['metadata']['namespace']}"
    )


def _paused(family: Family, generation: int) -> Verdict:
    for one in (family.body, *family.children):
        said = condition(one, ConditionType.PAUSED, 0)
        if said is None or said["status"] != "True":
            return Verdict(done=False, text=f"{_name(one)} is not paused yet")
    more = f", and {len(family.children)} that it made" if family.children else ""
    return Verdict(done=True, text=f"condition Paused is True{more}")


def _resumed(family: Family, generation: int) -> Verdict:
    for one in (family.body, *family.children):
        said = condition(one, ConditionType.PAUSED, 0)
        annotations = one["metadata"].get("annotations") or {}
        if one is not family.body and annotations.get(meta.PAUSE_ANNOTATION) == "true":
            continue  # paused by itself, and left so
        if said is not None and said["status"] != "False":
            above = owner(family.body)
            by_owner = above is not None and "owner" in said.get("message", "")
            return Verdict(
                done=False,
                hopeless=by_owner,
                text=f"{_name(one)} is still paused: {said.get('message', '')}",
            )
    return Verdict(done=True, text="condition Paused is False")


def _looked_at(family: Family, generation: int) -> Verdict:
    annotations = family.body["metadata"].get("annotations") or {}
    if meta.RECONCILE_AT_ANNOTATION in annotations:
        return Verdict(done=False, text=f"the operator has not looked at {_name(family.body)} yet")
    return Verdict(done=True, text=f"the operator has looked; {_ready(family.body)}")


def _restart_judge(what: str) -> Judge:
    def judge(family: Family, generation: int) -> Verdict:
        bodies = (family.body, *family.children)
        waits = next((found for one in bodies if (found := _awaits_restart(one))), None)
        if waits is not None:
            return waits
        for one in bodies:
            if one is family.body and one["kind"] == meta.PIPELINE and what == "consumers":
                continue
            if (text := _not_rolled(one)) is not None:
                return Verdict(done=False, text=f"{_name(one)}: {text}")
        if stopped := _without_pods(bodies, what):
            return Verdict(done=True, text=f"{stopped}: no pods are wanted, and none was restarted")
        return Verdict(done=True, text="all pods that are wanted are new and ready")

    return judge


def _without_pods(bodies: Sequence[Body], what: str) -> str:
    """Why none of these objects wants a pod; empty: one does, or nothing says so."""
    said = [
        (one, condition(one, _PODS[one["kind"]], 0))
        for one in bodies
        if one["kind"] in _PODS and not (one["kind"] == meta.PIPELINE and what == "consumers")
    ]
    known = [(one, found["reason"]) for one, found in said if found is not None]
    if not known or any(reason not in _NO_PODS for _, reason in known):
        return ""
    return ", ".join(f"{_name(one)} is {reason}" for one, reason in known)


def _awaits_restart(body: Body) -> Verdict | None:
    if meta.RESTART_ANNOTATION not in (body["metadata"].get("annotations") or {}):
        return None
    said = condition(body, ConditionType.PAUSED, 0)
    if said is None or said["status"] != "True":
        return Verdict(done=False, text=f"the operator has not acted on {_name(body)} yet")
    text = f"{_name(body)} is paused, and a restart waits until that ends"
    return Verdict(done=False, hopeless=True, text=text)


def _not_rolled(body: Body) -> str | None:
    """Why the pods of an object are not all new and ready; None: they are, or it has none."""
    type_ = _PODS.get(body["kind"])
    if type_ is None or (body["kind"] == meta.CONSUMER and not body["spec"].get("handler")):
        return None
    said = condition(body, type_, 0)
    if said is None:
        return "nothing is known of its pods yet"
    return None if said["status"] == "True" else str(said.get("message") or said["reason"])


def _state_judge(type_: ConditionType, state: str) -> Judge:
    def judge(family: Family, generation: int) -> Verdict:
        return _state(family.body, type_, state, generation)

    return judge


def _consumer_judge(consumer: str, state: str) -> Judge:
    def judge(family: Family, generation: int) -> Verdict:
        wanted = _children_of(family.body, consumer)
        found = [
            child
            for child in family.children
            if child["kind"] == meta.CONSUMER
            and (child["metadata"].get("labels") or {}).get(meta.CONSUMER_LABEL) in wanted
            and (child["spec"].get("state") or "Running") == state
        ]
        if len(found) < len(wanted):  # the operator has not passed it on
            return Verdict(done=False, text=f"the operator has not passed it on to {consumer} yet")
        verdicts = [
            _state(
                child, ConditionType.WORKLOAD_AVAILABLE, state,
                int(child["metadata"].get("generation") or 0),
            )
            for child in found
        ]  # fmt: skip
        return next((one for one in verdicts if not one.done), verdicts[0])

    return judge


def _children_of(pipeline: Body, consumer: str) -> tuple[str, ...]:
    """Names in the pipeline of what a consumer is made of: itself, or its lanes."""
    for one in pipeline["spec"].get("consumers") or ():
        if one.get("name") == consumer and int(one.get("lanes") or 1) > 1:
            return tuple(lane_name(consumer, number) for number in range(int(one["lanes"])))
    return (consumer,)


def _state(body: Body, type_: ConditionType, state: str, generation: int) -> Verdict:
    if body["kind"] == meta.CONSUMER and not body["spec"].get("handler"):
        text = "it has no handler, so that no pods of ours read it"
        return Verdict(done=condition(body, ConditionType.READY, generation) is not None, text=text)
    said = condition(body, type_, generation)
    if said is None:
        return Verdict(done=False, text=f"the operator has not looked at {_name(body)} yet")
    text = f"condition {type_} is {said['status']}, {said['reason']}: {said.get('message', '')}"
    if said["status"] != "True":
        return Verdict(done=False, text=text)
    stopped = said["reason"] in _NO_PODS
    if state == "Running" and stopped:
        return Verdict(done=True, text=f"{text}, so that no pods are wanted")
    return Verdict(done=stopped == (state == "Stopped"), text=text)


def _ready(body: Body) -> str:
    said = condition(body, ConditionType.READY, 0)
    return f"Ready is {said['status']}, {said['reason']}" if said else "Ready is not known"


def _name(body: Body) -> str:
    return f"{body['kind']} {body['metadata']['name']}"
