"""What `outbox rebase NAME` does: the operator sets the cursors of an outbox anew."""

from __future__ import annotations

import argparse
from typing import Any

from outbox_operator.api import meta
from outbox_operator.cli.cluster import reading, tasks
from outbox_operator.cli.cluster.report import Report
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.cluster.session import Session


async def rebase(session: Session) -> Report:
    """Set them anew; before that, say what it would do, and ask."""
    args = session.args
    await reading.one(session, meta.PIPELINE, args.name)
    order = tasks.Order(action="rebase", kind=meta.PIPELINE, name=args.name, fields=choice(args))
    if args.dry_run or args.yes:
        return await tasks.carry_out(session, [order])
    args.dry_run = True
    would = await tasks.carry_out(session, [order])
    if not would.well:
        return would
    for line in would.lines(Screen()):
        session.say(line)
    session.confirm(f"set the cursors of {args.name} anew")
    args.dry_run = False
    return await tasks.carry_out(session, [order])


def choice(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `rebase`."""
    if args.from_position is not None:
        return {"publish": "FromPosition", "position": args.from_position}
    if args.created_after is not None:
        return {"publish": "CreatedAfter", "createdAfter": args.created_after.isoformat()}
    return {"publish": "All" if args.all else "None" if args.none else "Unpublished"}
