"""What is known of each action beforehand: whether it changes something, and whom it excludes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from outbox_operator.api.v1alpha1.task import ActionName, OutboxTaskSpec
from outbox_operator.wire.tables import FIRST_SCHEMA_VERSION

Excludes = Literal["nothing", "target", "pipeline", "verify", "diagnose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """One action.

    Attributes:
        excludes: Which other tasks must not run beside it: none; those that are about the same
            resource; all that are about the pipeline or its stream and consumers. Two tasks
            exclude each other when one of them says so and neither says `nothing`. Those that
            only look exclude their own kind on the pipeline alone: hundreds that are made at once
            would take the memory of all.
        changes: Whether it changes anything: it then waits while its target is paused or its
            ownership is contested.
        schema: The version of an outbox's schema that it needs; before that it waits.
        schema_to_count: The same for a dry run.
    """

    excludes: Excludes
    changes: bool = True
    schema: int = FIRST_SCHEMA_VERSION
    schema_to_count: int = FIRST_SCHEMA_VERSION


LOOKS: Final[frozenset[Excludes]] = frozenset({"verify", "diagnose"})
_READS: Final = Traits(excludes="nothing", changes=False)
_NOTES: Final = 5
"""Since then there are the tables `replays` and `former_dead_letters`."""

TRAITS: Final[Mapping[ActionName, Traits]] = {
    "replayDeadLetters": Traits(excludes="target", schema=_NOTES),
    "purgeDeadLetters": Traits(excludes="target", schema=_NOTES),
    "replayHistory": Traits(excludes="pipeline", schema=_NOTES, schema_to_count=_NOTES),
    "resetConsumer": Traits(excludes="target"),
    "rebase": Traits(excludes="pipeline"),
    # Words, which are noted whatever else is going on.
    "approveMigration": Traits(excludes="nothing", changes=False),
    "rejectMigration": Traits(excludes="nothing", changes=False),
    "diagnose": replace(_READS, excludes="diagnose"),
    "verify": replace(_READS, excludes="verify", schema=_NOTES, schema_to_count=_NOTES),
}


def traits_of(spec: OutboxTaskSpec) -> Traits:
    """Of a task: a dry run changes nothing and is in nobody's way.

    That of a task that only looks looks all the same.
    """
    traits = TRAITS[spec.action]
    if not spec.dryRun or traits.excludes in LOOKS:
        return traits
    return replace(_READS, schema=traits.schema_to_count)
