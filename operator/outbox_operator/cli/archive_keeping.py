"""What `outbox archive migrate` and `upkeep` do: the tables of an archive, with its own login.

Called by `cli.commands.archive`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

from outbox_operator.adapters.postgres.archive_admin import ArchiveAdmin, UpkeepResult
from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.api.v1alpha1.common import AdoptionPolicy
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.postgres.archive_migrations import plan_archive
from outbox_operator.plan.postgres.archive_schema import DesiredArchive
from outbox_operator.plan.state import Owner
from outbox_operator.version import VERSION
from outbox_operator.wire.archive import ArchiveConfig, owner_uid

_LOCK_SECONDS: Final = 10.0


async def migrate(
    config: ArchiveConfig, adoption: AdoptionPolicy, *, dry_run: bool
) -> tuple[str, ...]:
    """Make the tables as the configuration wants them, with their partitions.

    Args:
        config: Of the archive.
        adoption: Whether a schema may be taken that carries somebody else's mark.
        dry_run: Say what would be done, as SQL, and do nothing.

    Returns:
        Lines for a person.

    Raises:
        OutboxError: It cannot be done.
    """
    writer = resolve(Login.from_files(config.database)).user
    desired = DesiredArchive.of(config, writer=writer)
    owner = Owner(uid=owner_uid(config), key=f"EventConsumer/{config.namespace}/{config.consumer}")
    claim = Claim(owner=owner, adoption=adoption)
    async with _administration(config) as admin:
        plan = plan_archive(desired, await admin.observe(desired), claim)
        if dry_run:
            steps = (f"-- {step.reason}\n{step.sql};" for step in plan.statements)
            return (*steps, f"-- plan {plan.hash}: {len(plan.statements)} statements, not run")
        if plan.empty:
            done: tuple[str, ...] = ("the tables are as wanted",)
        else:
            await admin.apply(plan, desired, claim, lock_timeout=_LOCK_SECONDS, version=VERSION)
            done = tuple(step.reason for step in plan.statements)
        return (*done, *_told(await admin.maintain(desired.schema)))


async def upkeep(config: ArchiveConfig) -> tuple[str, ...]:
    """Do one round of upkeep; returns lines for a person.

    Raises:
        OutboxError: It cannot be done.
    """
    async with _administration(config) as admin:
        lines = tuple(_told(await admin.maintain(config.database.schema)))
    return lines or ("nothing to do",)


def _told(result: UpkeepResult) -> Iterator[str]:
    yield from (f"added partition {name}" for name in result.created)
    if result.moved:
        yield f"moved {result.moved} events into them that had none"
    yield from (f"dropped partition {name}: all in it was too old" for name in result.dropped)
    yield from (f"deferred: {what}" for what in result.deferred)


@asynccontextmanager
async def _administration(config: ArchiveConfig) -> AsyncIterator[ArchiveAdmin]:
    """A connection of the role that owns the tables."""
    target = resolve(Login.from_files(config.migration or config.database))
    name = f"outbox-archive-keeper {config.namespace}/{config.consumer}"
    connection = await connect(target, application_name=name)
    try:
        yield ArchiveAdmin(connection, target)
    finally:
        await connection.close()
