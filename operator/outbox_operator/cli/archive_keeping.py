"""What `outbox archive migrate`, `upkeep` and `verify` do: the tables of an archive, by its owner.

Called by `cli.commands.archive`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from outbox_operator.adapters.postgres.archive_admin import ArchiveAdmin
from outbox_operator.adapters.postgres.archive_seals import Sealing, signed
from outbox_operator.adapters.postgres.archive_upkeep import UpkeepResult
from outbox_operator.adapters.postgres.archive_verify import Verdict
from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.adapters.signing import public_key, signer
from outbox_operator.api.fields import seconds
from outbox_operator.api.v1alpha1.common import AdoptionPolicy
from outbox_operator.counted import counted
from outbox_operator.errors import CredentialsError, SpecError
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.postgres.archive_migrations import plan_archive
from outbox_operator.plan.postgres.archive_schema import DesiredArchive
from outbox_operator.plan.postgres.archive_seals import Head, days
from outbox_operator.plan.postgres.done import done
from outbox_operator.plan.state import Owner
from outbox_operator.version import VERSION
from outbox_operator.wire.archive import (
    ArchiveConfig,
    ArchiveDatabase,
    ArchiveSealing,
    owner_uid,
)

_LOCK_SECONDS: Final = 10.0
_SEALING_SECONDS: Final = 600.0
"""Of one round; the next one goes on."""
_UPKEEP_SECONDS: Final = 7200.0
"""Twice as long as upkeep is away."""
_MOST_BYTES: Final = 64 * 1024


async def migrate(
    config: ArchiveConfig, adoption: AdoptionPolicy, *, dry_run: bool
) -> tuple[bool, tuple[str, ...]]:
    """Make the tables as the configuration wants them, with their partitions.

    Args:
        config: Of the archive.
        adoption: Whether a schema may be taken that carries somebody else's mark.
        dry_run: Say what would be done, as SQL, and do nothing.

    Returns:
        Whether all of upkeep could be done; and lines for a person.

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
            said = f"-- plan {plan.hash}: {counted(len(plan.statements), 'statement')}, not run"
            return True, (*steps, said)
        if plan.empty:
            did: tuple[str, ...] = ("the tables are as wanted",)
        else:
            await admin.apply(plan, desired, claim, lock_timeout=_LOCK_SECONDS, version=VERSION)
            did = tuple(done(plan.statements))
        result = await admin.maintain(desired, _sealing(config))
        return _is_well(result), (*did, *_told(result))


async def upkeep(config: ArchiveConfig) -> tuple[bool, tuple[str, ...]]:
    """Do one round of upkeep; whether all of it could be done, and lines for a person.

    Raises:
        OutboxError: It cannot be done.
    """
    async with _administration(config) as admin:
        result = await admin.maintain(DesiredArchive.of(config, writer=None), _sealing(config))
    return _is_well(result), tuple(_told(result)) or ("nothing to do",)


async def verify(
    config: ArchiveConfig,
    *,
    login_file: str | None = None,
    public_keys: Sequence[str] = (),
    known: Sequence[str] = (),
    kept: Sequence[str] = (),
) -> tuple[bool, tuple[str, ...]]:
    """Check an archive against its seals.

    Args:
        config: Of the archive.
        login_file: File with the URL of who reads; None: who owns the tables does.
        public_keys: Files with keys that seals may be signed with, besides the configuration's.
        known: Seals as they were noted.
        kept: As `<class>=<duration>`, for how long a class had to be kept at some time, where the
            configuration says longer, or nothing.

    Returns:
        Whether nothing is wrong; and lines for a person.

    Raises:
        OutboxError: It cannot be done.
    """
    sealing = config.sealing or ArchiveSealing()
    files = (*public_keys, *(() if sealing.key_file is None else (sealing.key_file,)))
    keys = [public_key(_text(path), path[:80]) for path in files]
    try:
        heads = [Head.parse(one) for one in known]
    except ValueError as error:
        raise SpecError(f"--known: {error}") from error
    keep = {one.name: one.keep_seconds for one in config.rules.retention}
    keep |= dict(map(_kept, kept))
    async with _administration(config, login_file) as admin:
        verdict = await admin.verifier(
            config.database.schema,
            keys={key.fingerprint: key.verifies for key in keys},
            known=heads,
            overdue=timedelta(
                seconds=2 * sealing.every_seconds + sealing.after_seconds + _UPKEEP_SECONDS
            ),
            keep=keep,
        ).verify()
    return not verdict.findings and verdict.head is not None, tuple(
        _judged(verdict, bool(keys), declared=config.sealing is not None)
    )


def _kept(text: str) -> tuple[str, float]:
    """A class, and for how many seconds it had to be kept. Raises SpecError."""
    name, _, duration = text.partition("=")
    try:
        return name, seconds(duration)
    except (SpecError, ValueError) as error:
        said = f"--kept: wanted a class and a duration as orders=90d, found {text[:80]!r}"
        raise SpecError(said) from error


def _judged(verdict: Verdict, keyed: bool, *, declared: bool) -> Iterator[str]:
    yield from (f"WRONG: {what}" for what in verdict.findings)
    if verdict.more:
        yield f"WRONG: {verdict.more} more"
    if verdict.head is None and declared:
        yield (
            f"nothing is sealed yet, of {counted(verdict.unsealed, 'event')}: the "
            "next round of upkeep does "
            "it; if there were seals before, somebody has deleted all of them"
        )
        return
    if verdict.head is None:
        yield (
            "nothing is sealed: set handler.archive.sealing of the consumer; without an operator, "
            "sealing in the configuration, and run outbox archive upkeep"
        )
        return
    yield (
        f"{counted(verdict.rows, 'event is as it was', 'events are as they were')} sealed, "
        f"{counted(verdict.dropped, 'was', 'were')} dropped by retention, "
        f"{counted(verdict.unsealed, 'is', 'are')} not sealed yet"
    )
    for name, least in sorted(verdict.kept.items()):
        yield f"class {name}: what was dropped had been kept for {days(least)} or more"
    checked = "" if keyed or not verdict.signed else ", not checked: give --public-key"
    yield f"{counted(verdict.seals, 'seal')}, {verdict.signed} of them signed{checked}"
    yield f"sealed to {verdict.sealed_to:%Y-%m-%d %H:%M:%S} UTC; to be noted: {verdict.head}"


def _sealing(config: ArchiveConfig) -> Sealing | None:
    """How the archive is sealed; reads the key."""
    declared = config.sealing
    if declared is None:
        return None
    how = Sealing(
        every=timedelta(seconds=declared.every_seconds),
        after=timedelta(seconds=declared.after_seconds),
        seconds=_SEALING_SECONDS,
    )
    path = declared.key_file
    return how if path is None else signed(how, signer(_text(path), path))


def _text(path: str) -> str:
    """Text of a small file, or a public key that stands there itself. Raises CredentialsError."""
    if path.startswith("-----BEGIN PUBLIC KEY-----"):
        return path
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise CredentialsError(f"{path}: {error.strerror}") from error


def _is_well(result: UpkeepResult) -> bool:
    return not result.lacks_key and not result.short


def _told(result: UpkeepResult) -> Iterator[str]:
    yield from (f"added partition {name}" for name in result.created)
    if result.moved:
        yield f"moved {counted(result.moved, 'event')} into them that had none"
    yield from (f"dropped partition {name}: all in it was too old" for name in result.dropped)
    if result.sealed and result.head is not None:
        yield f"added {counted(result.sealed, 'seal')}; the last is {result.head}"
    if result.forgotten:
        yield f"forgot {counted(result.forgotten, 'old entry', 'old entries')} of the API's logs"
    yield from (f"deferred: {what}" for what in result.deferred)
    yield from (f"WRONG: {what}" for what in result.short)
    if result.lacks_key:
        yield (
            "FAILED: nothing was sealed, and no partition dropped: the seals are signed, and "
            "sealing.key_file of the configuration names no key; name one, the same or a new one"
        )


@asynccontextmanager
async def _administration(
    config: ArchiveConfig, login_file: str | None = None
) -> AsyncIterator[ArchiveAdmin]:
    """A connection of the role that owns the tables, or of that in a file."""
    database = config.migration or config.database
    if login_file is not None:
        database = ArchiveDatabase(url_file=login_file, schema=database.schema)
    target = resolve(Login.from_files(database))
    name = f"outbox-archive-keeper {config.namespace}/{config.consumer}"
    connection = await connect(target, application_name=name)
    try:
        yield ArchiveAdmin(connection, target)
    finally:
        await connection.close()
