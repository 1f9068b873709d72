"""What `outbox plan` does: show what waits for approval, approve it, reject it."""

from __future__ import annotations

import asyncio
from typing import Final

from outbox_operator.api import meta
from outbox_operator.api.resource import parse_meta
from outbox_operator.api.v1alpha1.task import ActionName
from outbox_operator.cli.cluster import reading, tasks
from outbox_operator.cli.cluster.plans import Plans, PlansSeen, lines, plans_of
from outbox_operator.cli.cluster.report import Report, object_name
from outbox_operator.cli.cluster.session import Session
from outbox_operator.cli.cluster.target import Target

_ORDER: Final = {kind: number for number, kind in enumerate(meta.PLURALS)}


async def show(session: Session) -> Report:
    """The plans of the named objects, or all that wait."""
    targets: list[Target] = session.args.targets
    if targets:
        bodies = [await reading.one(session, one.kind, one.name) for one in targets]
        found = [plans_of(body) for body in bodies]
    else:
        found = [one for one in await _all(session) if one.waiting]
    seen = PlansSeen(at=session.now(), objects=tuple(found))
    return Report(
        facts=seen,
        lines=lambda screen: lines(seen, screen),
        names=[object_name(one.kind, one.name) for one in found],
        well=not any(one.waiting for one in found),
    )


async def approve(session: Session) -> Report:
    """Let a plan run, and end when the operator has taken note."""
    order = await _order(session, "approveMigration")
    return await tasks.carry_out(session, [order])


async def reject(session: Session) -> Report:
    """Say no to a plan, and end when the operator has taken note."""
    order = await _order(session, "rejectMigration", reason=session.args.reason)
    return await tasks.carry_out(session, [order])


async def _order(session: Session, action: ActionName, **more: str) -> tasks.Order:
    target: Target = session.args.target
    await reading.one(session, target.kind, target.name)
    fields = {"planHash": session.args.hash, **more}
    return tasks.Order(action=action, kind=target.kind, name=target.name, fields=fields)


async def _all(session: Session) -> list[Plans]:
    lists = await asyncio.gather(
        *(
            session.kube.list(meta.API_VERSION, meta.PLURALS[kind], session.scope)
            for kind in (meta.PIPELINE, meta.STREAM, meta.CONSUMER)
        )
    )
    bodies = [
        body
        for found, _ in lists
        for body in found
        # What becomes of a stream is decided on the pipeline that made it.
        if body["kind"] != meta.STREAM or not parse_meta(body).pipeline
    ]
    found = [plans_of(body) for body in bodies]
    return sorted(found, key=lambda one: (one.namespace, _ORDER[one.kind], one.name))
