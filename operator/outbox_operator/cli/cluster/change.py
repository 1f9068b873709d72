"""Makes changes and waits until they took effect, or until it is clear that they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from outbox_operator.adapters.kubernetes.objects import ref_of
from outbox_operator.adapters.kubernetes.transport import JSON_PATCH, MERGE_PATCH, NotFoundError
from outbox_operator.api import meta
from outbox_operator.cli.cluster import reading
from outbox_operator.cli.cluster.changes import Body, Change, Family, Verdict, owner
from outbox_operator.cli.cluster.report import Report, object_name
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.cluster.session import Session, Work
from outbox_operator.cli.cluster.target import Target

_LOOK_SECONDS: Final = 0.5
_UNSEEN: Final = Verdict(done=False, text="the API server does not say what was made of it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a change.

    Attributes:
        done: Whether it took effect; None: nobody waited.
        detail: By what one sees it, or what it waits for.
    """

    namespace: str
    kind: str
    name: str
    action: str
    done: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """The facts of a verb that changes objects."""

    changes: tuple[Outcome, ...]


def work(make: Callable[[Body], Change]) -> Work:
    """The work of a verb that changes each of `args.targets`.

    Args:
        make: The change of an object as it is now. Raises SpecError.
    """

    async def run(session: Session) -> Report:
        targets: list[Target] = session.args.targets
        # All are looked at before any is changed: a slip of the pen changes nothing.
        bodies = [await reading.one(session, one.kind, one.name) for one in targets]
        changes = [(body, make(body)) for body in bodies]
        made = [(body, change, await _patch(session, body, change)) for body, change in changes]
        outcomes = [await _outcome(session, *one) for one in made]
        return Report(
            facts=Outcomes(changes=tuple(outcomes)),
            lines=lambda screen: _lines(outcomes, screen),
            names=[object_name(one.kind, one.name) for one in outcomes],
            well=all(one.done is not False for one in outcomes),
        )

    return run


async def _patch(session: Session, body: Body, change: Change) -> dict[str, Any]:
    kind_of_patch = JSON_PATCH if isinstance(change.patch, list) else MERGE_PATCH
    return await session.api.patch(ref_of(body), change.patch, kind_of_patch)


async def _outcome(session: Session, body: Body, change: Change, now: dict[str, Any]) -> Outcome:
    verdict = Verdict(done=False, text="asked for; not waited for")
    if not session.args.no_wait:
        verdict = await _wait(session, now, change)
    return Outcome(
        namespace=body["metadata"]["namespace"],
        kind=body["kind"],
        name=body["metadata"]["name"],
        action=change.did,
        done=None if session.args.no_wait else verdict.done,
        detail=verdict.text,
    )


async def _wait(session: Session, body: dict[str, Any], change: Change) -> Verdict:
    generation = int(body["metadata"].get("generation") or 0)
    deadline = asyncio.get_running_loop().time() + session.args.timeout
    said = ""
    while True:
        children = await session.look_again(partial(_children, session, body, change))
        verdict = _UNSEEN
        if children is not None:
            verdict = change.judge(Family(body=body, children=children), generation)
        if verdict.done or verdict.hopeless:
            return verdict
        if asyncio.get_running_loop().time() >= deadline:
            text = f"not within {session.args.timeout:g} s: {verdict.text}"
            return Verdict(done=False, text=text)
        if verdict.text != said:
            said = verdict.text
            session.say(f"waiting: {said}")
        await asyncio.sleep(_LOOK_SECONDS)
        looked = await session.look_again(partial(_now, session, body))
        body = body if looked is None else looked


async def _now(session: Session, body: Body) -> dict[str, Any]:
    found = await session.kube.get(ref_of(body))
    if found is None:
        raise NotFoundError(f"{body['kind']} {body['metadata']['name']} was deleted meanwhile")
    return found


async def _children(session: Session, body: Body, change: Change) -> list[dict[str, Any]]:
    if body["kind"] != meta.PIPELINE or not change.children:
        return []
    metadata = body["metadata"]
    lists = [
        await session.kube.list(meta.API_VERSION, meta.PLURALS[kind], metadata["namespace"])
        for kind in (meta.STREAM, meta.CONSUMER)
    ]
    return [
        child
        for found, _ in lists
        for child in found
        if (owner(child) or {}).get("uid") == metadata["uid"]
    ]


def _lines(outcomes: list[Outcome], screen: Screen) -> Iterator[str]:
    for one in outcomes:
        mark = {True: one.action, False: f"{one.action}, but it has not taken effect"}
        done = mark[one.done] if one.done is not None else f"{one.action} (not waited for)"
        head = f"{one.kind} {one.namespace}/{one.name} {done}"
        if one.done is None:
            yield from screen.wrap(head)
        else:
            yield from screen.wrap(f"{head}: {one.detail}", hang="  ")
