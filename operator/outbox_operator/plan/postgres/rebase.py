"""What setting cursors anew will do: which rows are published again, or why not. Pure.

A cursor that came with a dump speaks of transactions of another server. `outbox rebase` gives the
rows that shall be published a transaction of this server, and the cursor a snapshot of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from outbox_operator.counted import counted
from outbox_operator.errors import SpecError

Which = Literal["unpublished", "all", "none", "from-position", "created-after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which rows shall be published after the rebase. Dead letters never are.

    Attributes:
        which: `unpublished`: those that the cursor, as it was dumped, had not seen, and those
            written since. The relay itself leaves out what it finds in the stream behind them.
        position: The first one, with `from-position`.
        created_after: For `created-after`.
    """

    which: Which = "unpublished"
    position: int = 0
    created_after: datetime | None = None

    @property
    def repeats(self) -> bool:
        """Whether rows that are in the stream are sent again."""
        return self.which not in ("unpublished", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFacts:
    """One shard before the rebase.

    Attributes:
        rows: In the table.
        chosen: Of these, to be published.
        first: Lowest position of the chosen ones; None: there are none.
        last: Highest.
        oldest: When the oldest of them was written.
        problem: Why the cursor is another server's; None: it is at home.
    """

    shard: int
    rows: int
    chosen: int
    first: int | None
    last: int | None
    oldest: datetime | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """The last message of a shard in the stream; 0 and 0: there is none."""

    sequence: int
    emission: int


def check_rebase(
    choice: Choice, shards: Sequence[ShardFacts], ends: Sequence[StreamEnd] | None
) -> None:
    """Refuse what would do nothing, or not what was asked for.

    Args:
        ends: Per shard; None: NATS was not asked.

    Raises:
        SpecError: Says what to give instead.
    """
    if choice.which == "unpublished" and not any(shard.problem for shard in shards):
        raise SpecError(
            "the cursors belong to this server, nothing has to be set anew; to publish events "
            "again, say which: all of them, those from a position on, or those of after a time"
        )
    if choice.repeats and ends is None:
        raise SpecError(
            f"--{choice.which} sends events again that the stream may have, so the end of the "
            "stream must be known: give --config, as the relay has it, instead of --url-file"
        )


def describe(choice: Choice, shards: Sequence[ShardFacts], place: str) -> list[str]:
    """What a rebase will do, in lines for people."""
    lines = [f"Outbox in {place}:"]
    for shard in shards:
        where = f"  shard {shard.shard}: "
        lines.append(where + (shard.problem or "its cursor belongs to this server"))
        if shard.chosen and shard.oldest is not None:
            lines.append(
                f"    {shard.chosen} of {counted(shard.rows, 'row')} will be published, positions "
                f"{shard.first} to {shard.last}, the oldest from {shard.oldest:%Y-%m-%d %H:%M:%S%z}"
            )
        else:
            lines.append(f"    none of {counted(shard.rows, 'row')} will be published")
    if choice.which == "unpublished":
        lines.append("  Those of them that the stream already has are left out by the relay.")
    elif choice.repeats:
        lines.append("  Consumers without an inbox see those a second time that the stream has.")
    return lines
