"""The tables that an archive wants, as a resource declares it. Pure."""

from __future__ import annotations

from dataclasses import replace

from outbox_operator.api.fields import seconds
from outbox_operator.api.v1alpha1.archive import ArchiveHandler
from outbox_operator.errors import OutboxError
from outbox_operator.plan.archives import rules_of
from outbox_operator.plan.postgres.archive_access import ApiAccess
from outbox_operator.plan.postgres.archive_migrations import api_refusal
from outbox_operator.plan.postgres.archive_schema import DesiredArchive, ObservedArchive
from outbox_operator.plan.postgres.mark import parse_mark
from outbox_operator.wire.archive import LOG_KEEP_SECONDS


def desired_archive(
    archive: ArchiveHandler, path: str, *, writer: str | None, api_role: str | None = None
) -> DesiredArchive:
    """The tables that an archive wants.

    Args:
        archive: As declared.
        path: Where, for messages: "spec".
        writer: Role that its pods log in as.
        api_role: Role that its API logs in as; None: it has none.

    Raises:
        SpecError: As `rules_of`.
    """
    rules = rules_of(archive, path)
    return DesiredArchive(
        schema=archive.schema_,
        keep=tuple((one.name, one.keep_seconds) for one in rules.retention),
        extracted=tuple(sorted(rules.extract)),
        writer=writer,
        readers=tuple(sorted(set(archive.readers))),
        api=None
        if api_role is None or archive.api is None
        else ApiAccess(role=api_role, tenant=archive.api.tenantColumn),
        text_search=archive.textSearch,
        log_keep=LOG_KEEP_SECONDS if archive.api is None else seconds(archive.api.keepLog),
    )


def with_api(
    archive: ArchiveHandler,
    desired: DesiredArchive,
    observed: ObservedArchive,
    error: OutboxError | None,
) -> tuple[DesiredArchive, OutboxError | None]:
    """What is wanted as far as it can be: an API that cannot be as declared stays as it is, and
    keeps the archive from nothing.

    Args:
        archive: As declared.
        desired: The tables of that.
        observed: What there is.
        error: Why nobody knows the role that the API logs in as; None: it is in `desired`.

    Returns:
        The tables, and why the API cannot be as declared.
    """
    error = error or api_refusal(desired, observed.database)
    if error is None:
        return desired, None
    return with_api_as_found(archive, desired, observed), error


def with_api_as_found(
    archive: ArchiveHandler, desired: DesiredArchive, observed: ObservedArchive
) -> DesiredArchive:
    """What is wanted, with the role for its API that is there already."""
    schema, api = observed.database.schema, archive.api
    mark = parse_mark(schema.comment) if schema else None
    before = None
    if mark is not None and mark.api_role is not None and api is not None and api.enabled:
        before = ApiAccess(role=mark.api_role, tenant=api.tenantColumn)
    kept = replace(desired, api=before)
    return kept if api_refusal(kept, observed.database) is None else replace(desired, api=None)
