"""Dead letters of a relay: rows beside the outbox, replayed into it or purged.

A batch is announced in the status, then done; a key goes in one transaction that takes its letters
off the table, so that whoever finds a letter of the batch gone knows that it was done. A key that
has very many of them is moved beside the passes, over a session of its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.dead_letters import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterStore,
)
from outbox_operator.api.v1alpha1.task_actions import DeadLetterFilter as NamedLetters
from outbox_operator.api.v1alpha1.task_actions import DeadLetterSelection, moment
from outbox_operator.controller.tasks.action import Frozen, Work
from outbox_operator.controller.tasks.letter_release import of_the_letter, release, release_beside
from outbox_operator.controller.tasks.sessions import in_outbox
from outbox_operator.errors import ConflictError, OutboxError
from outbox_operator.plan.tasks.letters import (
    KEY_STOPPED_TEXT,
    PATIENCE_SECONDS,
    OutboxSelection,
    OutboxWhere,
    Unit,
    is_enough,
    kept,
    remembered,
    stop,
    units_of,
    wanted_letters,
    with_missing,
)
from outbox_operator.plan.tasks.pace import MOST_IN_A_SLICE
from outbox_operator.plan.tasks.status import Progress
from outbox_operator.reasons import Reason

_LISTED: Final = 20
"""Letters of a key that stands still which are looked up by id."""
_KEYS: Final = 20
"""Keys of a batch. Each may take a second, and all have to be tried before patience ends."""
_WAIT_SECONDS: Final = 0.5
"""Until a key is tried again whose events are on their way."""
_LOOK_SECONDS: Final = 5.0
"""The end of that wakes the task; this is for what nobody told."""
_BESIDE: Final = "moves the letters of a key that has many of them"


class _OutboxLetters:
    """What replaying and purging have in common."""

    along: bool
    """Whether the other letters of a key go along."""
    most: int
    """Letters that are announced at once."""

    async def freeze(self, work: Work) -> Frozen:
        """The letters that there are now."""
        return await in_outbox(work, lambda admin: self._freeze(work, admin))

    async def _freeze(self, work: Work, admin: PostgresAdmin) -> Frozen:
        wanted, store = wanted_letters(work.task.spec), _store(work, admin)
        counted = await store.count(_filter(wanted, None), limit=wanted.limit)
        selected = counted.chosen + (counted.others_of_keys if self.along else 0)
        progress = Progress(selected=selected)
        if wanted.ids:
            progress = with_missing(progress, wanted, await store.ids(wanted.ids))
        selection = OutboxSelection(
            up_to=counted.last_position,
            dead_until=counted.taken_at,
            database=await admin.identity(),
        )
        return Frozen(selection=kept(selection), progress=progress)

    async def step(self, work: Work, progress: Progress) -> Progress:
        """One batch, or what is left of it."""
        if work.dry_run:
            return replace(progress, finished=True)
        return await in_outbox(work, lambda admin: self._step(work, progress, _store(work, admin)))

    async def _step(self, work: Work, progress: Progress, store: DeadLetterStore) -> Progress:
        where = remembered(OutboxWhere, progress.where)
        if not where.batch:
            selection = remembered(OutboxSelection, work.selection)
            page = await store.find(
                _filter(wanted_letters(work.task.spec), selection),
                after=where.after,
                limit=min(self.most, work.most),
            )
            if not page:
                return replace(progress, where={}, finished=True)
            where = where.model_copy(
                update={
                    "after": page[-1].position,
                    "batch": await self._batch(store, page, where, selection.dead_until),
                    "since": datetime.now(UTC),
                }
            )
            progress = replace(progress, where=kept(where))
            await work.save(progress)
        return await self._do(work, progress, where, store)

    async def _batch(
        self,
        store: DeadLetterStore,
        page: list[DeadLetter],
        where: OutboxWhere,
        dead_until: datetime,
    ) -> tuple[Unit, ...]:
        raise NotImplementedError

    async def _do(
        self, work: Work, progress: Progress, where: OutboxWhere, store: DeadLetterStore
    ) -> Progress:
        raise NotImplementedError


class PurgeOutboxLetters(_OutboxLetters):
    """Give dead letters of a relay up."""

    along = False
    most = MOST_IN_A_SLICE

    async def _batch(
        self,
        store: DeadLetterStore,
        page: list[DeadLetter],
        where: OutboxWhere,
        dead_until: datetime,
    ) -> tuple[Unit, ...]:
        return tuple(Unit(letter.position, 1) for letter in page)

    async def _do(
        self, work: Work, progress: Progress, where: OutboxWhere, store: DeadLetterStore
    ) -> Progress:
        purged = set(await store.purge([unit.position for unit in where.batch]))
        gone = [unit for unit in where.batch if unit.position not in purged]
        progress = replace(progress, done=progress.done + len(purged))
        progress = await _gone(progress, store, gone, released=False)
        left = where.model_copy(update={"batch": (), "since": None})
        return replace(progress, where=kept(left))


class ReplayOutboxLetters(_OutboxLetters):
    """Write dead letters of a relay as new rows of the same events."""

    along = True
    most = _KEYS

    async def _batch(
        self,
        store: DeadLetterStore,
        page: list[DeadLetter],
        where: OutboxWhere,
        dead_until: datetime,
    ) -> tuple[Unit, ...]:
        keys = {letter.partition_key for letter in page if letter.partition_key}
        return units_of(
            ((letter.position, letter.partition_key) for letter in page),
            await store.of_keys(keys, dead_until),
            where.stopped,
        )

    async def _do(
        self, work: Work, progress: Progress, where: OutboxWhere, store: DeadLetterStore
    ) -> Progress:
        """Each unit is released, or fails, or stays in the batch because it has to wait."""
        there = {
            letter.position: letter
            for letter in await store.find(
                DeadLetterFilter(positions=tuple(unit.position for unit in where.batch)),
                limit=len(where.batch),
            )
        }
        if where.slow is not None:
            return await self._go_on_beside(work, progress, where, store, there.get(where.slow))
        gone = [unit for unit in where.batch if unit.position not in there]
        progress = await _gone(progress, store, gone, released=True)
        left, stopped, slow, waits = list[Unit](), where.stopped, None, ""
        patient = (datetime.now(UTC) - (where.since or _LONG_AGO)).total_seconds()
        for unit in where.batch:
            letter = there.get(unit.position)
            if letter is None:
                continue
            if work.time_left <= 0 or slow is not None:
                left.append(unit)
                continue
            released = await of_the_letter(release(store, letter))
            if released is None:
                left.append(unit)
                slow, waits = unit.position, _BESIDE
            elif isinstance(released, int):
                progress = _released(progress, unit, released)
            elif isinstance(released, str) and patient < PATIENCE_SECONDS:
                left.append(unit)
                waits = released
            else:
                progress = await _failing(progress, store, letter, unit, released, patient)
                stopped = stop(stopped, letter.partition_key)
        after = where.model_copy(
            update={
                "batch": tuple(left),
                "since": where.since if left else None,
                "stopped": stopped,
                "slow": slow,
            }
        )
        progress = replace(progress, note=waits, pause_seconds=_WAIT_SECONDS if waits else None)
        return _after(progress, after)

    async def _go_on_beside(
        self,
        work: Work,
        progress: Progress,
        where: OutboxWhere,
        store: DeadLetterStore,
        letter: DeadLetter | None,
    ) -> Progress:
        """Look after the key whose letters take longer than a slice; the others wait for it."""
        owner, background = work.task.meta, work.context.background
        unit = next(one for one in where.batch if one.position == where.slow)
        try:
            released = await of_the_letter(
                background.result(
                    owner, (owner.uid, unit.position), lambda: release_beside(work, letter)
                )
            )
        except TimeoutError:
            released = f"its letters were not moved within {background.longest_seconds:g} s"
        if released is None:
            return replace(progress, note=_BESIDE, pause_seconds=_LOOK_SECONDS)
        stopped = where.stopped
        if released == 0:
            progress = await _gone(progress, store, [unit], released=True)
        elif isinstance(released, int):
            progress = _released(progress, unit, released)
        elif letter is not None:
            progress = await _failing(progress, store, letter, unit, released, PATIENCE_SECONDS)
            stopped = stop(stopped, letter.partition_key)
        left = tuple(one for one in where.batch if one is not unit)
        after = where.model_copy(
            update={
                "batch": left,
                "since": datetime.now(UTC) if left else None,
                "stopped": stopped,
                "slow": None,
            }
        )
        return _after(progress, after)


_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _after(progress: Progress, where: OutboxWhere) -> Progress:
    if is_enough(where.stopped):
        return replace(progress, finished=True, gives_up=True)
    return replace(progress, where=kept(where))


def _released(progress: Progress, unit: Unit, letters: int) -> Progress:
    """With a unit that was released.

    What came to its key since the task began goes along, and is selected as well: it must not stand
    for letters that somebody has taken away meanwhile.
    """
    more = max(0, letters - unit.letters)
    return replace(progress, done=progress.done + letters, selected=(progress.selected or 0) + more)


async def _gone(
    progress: Progress, store: DeadLetterStore, units: list[Unit], *, released: bool
) -> Progress:
    """What was announced and is gone: done before somebody could write it down, or by others.

    Args:
        progress: Until then.
        store: Knows what became of them.
        units: Those.
        released: What was to become of them: released, or else given up.
    """
    fates = await store.fates([unit.position for unit in units])
    for unit in units:
        fate = fates.get(unit.position)
        if fate is released:
            progress = replace(progress, done=progress.done + unit.letters)
            continue
        how = "was given up" if released else "was released"
        if fate is None:  # by SQL; or so long ago that its row is gone as well
            how = "is no dead letter any more, and nothing tells what became of it: it went"
        progress = progress.failing(
            f"position {unit.position}", Reason.NOT_FOUND, f"{how} before its turn came",
            count=unit.letters,
        )  # fmt: skip
    return progress


async def _failing(
    progress: Progress,
    store: DeadLetterStore,
    letter: DeadLetter,
    unit: Unit,
    why: str | OutboxError,
    patient: float,
) -> Progress:
    """List a letter that stays, and those of its key that stay because of it."""
    if isinstance(why, str):
        why = ConflictError(
            f"for {patient:.0f} s, {why}: its order would change. See that the relay runs, and try "
            "again later",
            reason=Reason.KEY_BUSY,
        )
    progress = progress.failing(letter.event_id, why.reason, why.message)
    if not letter.partition_key:
        return progress
    others = [
        one
        for one in await store.find(DeadLetterFilter(keys=(letter.partition_key,)), limit=_LISTED)
        if one.position != letter.position
    ]
    for one in others[: unit.letters - 1]:
        progress = progress.failing(one.event_id, Reason.KEY_STOPPED, KEY_STOPPED_TEXT)
    rest = unit.letters - 1 - len(others[: unit.letters - 1])
    return replace(progress, failed=progress.failed + rest)


def _store(work: Work, admin: PostgresAdmin) -> DeadLetterStore:
    return admin.dead_letters(work.pipeline.spec.database.schema_)


def _filter(wanted: DeadLetterSelection, selection: OutboxSelection | None) -> DeadLetterFilter:
    chosen = wanted.filter or NamedLetters()
    return DeadLetterFilter(
        event_ids=_any_of(wanted.ids),
        keys=_any_of(chosen.keys),
        event_types=_any_of(chosen.eventTypes),
        reasons=_any_of(chosen.reasons),
        since=moment(chosen.since) if chosen.since else None,
        before=moment(chosen.until) if chosen.until else None,
        up_to=selection.up_to if selection else None,
        dead_until=selection.dead_until if selection else None,
    )


def _any_of(values: list[str]) -> tuple[str, ...] | None:
    return tuple(values) or None
