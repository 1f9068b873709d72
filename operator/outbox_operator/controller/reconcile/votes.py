"""What tasks say of an object's plans, for the pass over that object."""

from __future__ import annotations

from outbox_operator.api import meta
from outbox_operator.api.resource import parse_task
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.errors import SpecError
from outbox_operator.plan.passes.approval import Decided, Vote
from outbox_operator.plan.tasks.approval import counts, vote_of, what_waits


def votes_on(objects: Objects, resource: Decided) -> tuple[Vote, ...]:
    """What tasks that are at work say of an object's plans, the oldest first.

    Nobody looks while no plan waits: there may be thousands of tasks.
    """
    if not what_waits(resource):
        return ()
    tasks, owner = [], resource.meta
    for body in objects.of_kind(meta.TASK, owner.namespace):
        if counts(body, owner.kind, owner.name) and not body["metadata"].get("deletionTimestamp"):
            try:
                tasks.append(parse_task(body))
            except SpecError:  # of a later version; its own pass says so
                continue
    votes = [vote for task in tasks if (vote := vote_of(task)) is not None]
    return tuple(sorted(votes, key=lambda vote: vote.order))
