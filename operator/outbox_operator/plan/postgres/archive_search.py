"""Texts of payloads that events are found by: an index, and the view that the API reads through.
Pure.

Under a policy PostgreSQL asks no index for words: that two texts match is no operator that it
trusts not to tell of rows that are hidden. So the API's role reads a view of the tables' owner, for
whom policies do not hold, and which hides the same rows by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from outbox_operator.plan.postgres.archive_access import ApiAccess, visible
from outbox_operator.plan.postgres.schema import Index, literal, qualify
from outbox_operator.plan.postgres.state import Statement
from outbox_operator.wire.archive import COLUMNS
from outbox_operator.wire.archive_api import SEARCHED, TEXTS
from outbox_operator.wire.tables import quoted

# A list of words ends at a megabyte, beyond which the event could not be stored: so far neither the
# words of 64 kB come, nor numbers of 16 kB, which may be 300 digits long where 5 are written.
_OF_PAYLOADS: Final = (
    "(CASE WHEN payload_bytes <= 16384 THEN "
    """jsonb_to_tsvector('simple'::regconfig, payload, '["string", "numeric"]'::jsonb) """
    "WHEN payload_bytes <= 65536 THEN "
    """jsonb_to_tsvector('simple'::regconfig, payload, '["string"]'::jsonb) END)"""
)
INDEX: Final = Index(name="events_texts_idx", columns=(_OF_PAYLOADS,), method="USING gin ")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedSearch:
    """What was found of the view.

    Attributes:
        comment: On it; None: there is none.
        hides: Whether it asks whose events may be seen.
        readable: Whether the API's role may read it.
    """

    comment: str | None = None
    hides: bool = False
    readable: bool = False


def search_statements(
    schema: str,
    api: ApiAccess | None,
    extracted: Iterable[str],
    found: ObservedSearch,
) -> Iterator[Statement]:
    """The view, if an API is to search; without one, it goes.

    Args:
        schema: Of the archive.
        api: Who searches; None: nobody.
        extracted: Columns beside those that every archive has.
        found: What is there.
    """
    view = qualify(schema, SEARCHED)
    wanted = None if api is None else _definition(schema, api, extracted)
    mark = None if api is None else _mark(f"{wanted} {api.role}")
    # Whoever replaces the view leaves the comment on it.
    as_wanted = found.comment == mark and found.hides == (api is not None and bool(api.tenant))
    if found.comment is not None and not as_wanted:
        yield Statement(sql=f"DROP VIEW {view}", reason=f"view {SEARCHED} is no longer as wanted")
    if api is None or wanted is None:
        return
    grant = Statement(
        sql=f"GRANT SELECT ON {view} TO {quoted(api.role)}",
        reason=f"grant SELECT on view {SEARCHED} to {api.role}",
        drift=as_wanted,
    )
    if not as_wanted:
        yield Statement(sql=wanted, reason=f"create view {SEARCHED}, to find events by words")
        yield Statement(
            sql=f"COMMENT ON VIEW {view} IS {literal(mark or '')}",
            reason=f"note what view {SEARCHED} was made of",
        )
        yield grant
    elif not found.readable:
        yield grant


def _definition(schema: str, api: ApiAccess, extracted: Iterable[str]) -> str:
    columns = ", ".join(quoted(name) for name in (*COLUMNS, *extracted))
    hidden = "" if api.tenant is None else f" WHERE {visible(api.tenant)}"
    return (
        f"CREATE VIEW {qualify(schema, SEARCHED)} AS "  # noqa: S608
        f"SELECT {columns}, {_OF_PAYLOADS} AS {quoted(TEXTS)} "
        f"FROM {qualify(schema, 'events')}{hidden}"
    )


def _mark(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
