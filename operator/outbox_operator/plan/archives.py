"""What a consumer with `handler.archive` asks for, as the archive's own rules have it. Pure.

Used by `plan.checks`, for the tables by `plan.passes.archive`, and for the pods by
`plan.kubernetes.runtime_config`.
"""

from __future__ import annotations

import re
from typing import Final

from outbox_operator.api.fields import seconds
from outbox_operator.api.v1alpha1.archive import ArchiveApi, ArchiveHandler
from outbox_operator.api.v1alpha1.consumer import ConsumerConfigSpec, EventConsumerSpec
from outbox_operator.api.v1alpha1.database import MigratedConnection, PostgresConnection
from outbox_operator.errors import SpecError
from outbox_operator.wire.archive import (
    BATCH_EVENTS,
    SHORTEST_LOG_KEEP_SECONDS,
    ArchiveRules,
    RetentionClass,
)

_FIELDS: Final = {"keep_seconds": "keep", "event_types": "eventTypes"}


def api_of(spec: ConsumerConfigSpec) -> ArchiveApi | None:
    """The API that the archive of a consumer is to have."""
    archive = archive_of(spec)
    api = None if archive is None else archive.api
    return api if api is not None and api.enabled else None


def api_login(archive: ArchiveHandler, api: ArchiveApi) -> MigratedConnection:
    """How the API logs in to the database of its archive."""
    fields = archive.model_dump(include=set(PostgresConnection.model_fields), by_alias=True)
    login = api.connectionSecretRef.model_dump()
    return MigratedConnection.model_validate({**fields, "connectionSecretRef": login})


def archive_of(spec: ConsumerConfigSpec) -> ArchiveHandler | None:
    """The archive that a consumer declares."""
    return None if spec.handler is None else spec.handler.archive


def rules_of(archive: ArchiveHandler, path: str) -> ArchiveRules:
    """What is kept, for how long, and by what it is found.

    Args:
        archive: As declared.
        path: Where, for messages: "spec".

    Raises:
        SpecError: It cannot be carried out; names field, wanted and found.
    """
    classes = tuple(
        RetentionClass(
            name=one.name, keep_seconds=seconds(one.keep), event_types=tuple(one.eventTypes)
        )
        for one in archive.retention
    )
    try:
        return ArchiveRules(
            retention=classes, extract=dict(archive.extract), redact=tuple(archive.redact)
        )
    except ValueError as error:
        text = re.sub("|".join(_FIELDS), lambda found: _FIELDS[found[0]], str(error))
        raise SpecError(f"{path}.handler.archive.{text}") from error


def check_archive(spec: ConsumerConfigSpec, path: str) -> None:
    """Refuse a consumer whose archive cannot work as written. Raises SpecError."""
    archive = archive_of(spec)
    if archive is None:
        return
    rules_of(archive, path)
    if archive.sealing is not None and not 1.0 <= seconds(archive.sealing.every) <= 86_400.0:
        raise SpecError(
            f"{path}.handler.archive.sealing.every: wanted 1s to 24h, found {archive.sealing.every}"
        )
    if archive.backfill is not None and isinstance(spec, EventConsumerSpec) and spec.filterSubjects:
        raise SpecError(
            f"{path}.filterSubjects: wanted none with handler.archive.backfill, which archives "
            f"every row of the outbox, found {len(spec.filterSubjects)}"
        )
    if archive.api is not None and seconds(archive.api.keepLog) < SHORTEST_LOG_KEEP_SECONDS:
        raise SpecError(
            f"{path}.handler.archive.api.keepLog: wanted 1d or more, found {archive.api.keepLog}"
        )
    for field, wanted, found in (
        ("ackPolicy", "Explicit", spec.ackPolicy),
        ("ordering", "None", spec.ordering),
        ("priorityPolicy", "None", spec.priorityPolicy),
    ):
        if found != wanted:
            raise SpecError(
                f"{path}.{field}: wanted {wanted} with handler.archive, found {found}; events are "
                "stored in batches, and their order is told by the stream's sequence"
            )
    if spec.inbox is not None:
        raise SpecError(
            f"{path}.inbox: wanted none with handler.archive, which stores an event once by itself"
        )
    if spec.headersOnly:
        raise SpecError(f"{path}.headersOnly: wanted false with handler.archive, found true")
    if 0 <= spec.maxAckPending < 2 * BATCH_EVENTS:
        raise SpecError(
            f"{path}.maxAckPending: wanted {2 * BATCH_EVENTS} or more with handler.archive, which "
            f"stores {BATCH_EVENTS} events at once while it reads on; found {spec.maxAckPending}"
        )
