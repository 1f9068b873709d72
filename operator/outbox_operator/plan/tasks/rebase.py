"""The action `rebase`: what is asked for, and what is answered. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from outbox_operator.api.v1alpha1.task import Finding, TaskResult
from outbox_operator.api.v1alpha1.task_actions import Rebase, moment
from outbox_operator.counted import counted
from outbox_operator.plan.postgres.rebase import Choice, ShardFacts, Which
from outbox_operator.wire.times import format_time

_WHICH: Final[Mapping[str, Which]] = {
    "Unpublished": "unpublished",
    "All": "all",
    "None": "none",
    "FromPosition": "from-position",
    "CreatedAfter": "created-after",
}
MOST_SHARDS: Final = 64


def choice_of(asked: Rebase) -> Choice:
    """Which rows shall be published."""
    after = asked.createdAfter
    return Choice(
        which=_WHICH[asked.publish],
        position=asked.position or 0,
        created_after=None if after is None else moment(after),
    )


def answer(choice: Choice, shards: Sequence[ShardFacts], *, dry_run: bool) -> TaskResult:
    """What is published, shard by shard."""
    chosen, rows = sum(one.chosen for one in shards), sum(one.rows for one in shards)
    will = "would be" if dry_run else "are to be"
    if chosen == rows == 1 and not dry_run:
        will = "is to be"
    said = f"{chosen} of {counted(rows, 'row')} {will} published"
    if choice.which == "unpublished":
        said += "; the relay leaves out those that the stream has already"
    elif choice.repeats:
        said += "; consumers without an inbox see those a second time that the stream has"
    return TaskResult(
        summary=said,
        counts={"rows": rows, "chosen": chosen, "shards": len(shards)},
        findings=[_finding(one) for one in shards[:MOST_SHARDS]],
    )


def _finding(shard: ShardFacts) -> Finding:
    said = shard.problem or "its cursor belongs to this server"
    if shard.chosen and shard.oldest is not None:
        said += (
            f"; {shard.chosen} of {counted(shard.rows, 'row')}, positions "
            f"{shard.first} to {shard.last}, the "
            f"oldest of {format_time(shard.oldest, 'seconds')}"
        )
    else:
        said += f"; none of {counted(shard.rows, 'row')}"
    return Finding(severity="Info", check="Shard", object=f"shard {shard.shard}", message=said)


def announcement(transaction: str, system: str, result: TaskResult) -> dict[str, Any]:
    """What is written down before the transaction is committed."""
    answered = result.model_dump(mode="json")
    return {"transaction": transaction, "system": system, "result": answered}
