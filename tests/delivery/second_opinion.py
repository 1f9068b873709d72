"""What the operator's own comparison (`verify`) says of a run that the checker has judged.

It knows less than the checker: no journal of the writers, and no byte of a payload. Where both can
know, they have to agree; each planted bug that loses, doubles or swaps events has to show in both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar

from delivery.servers import Servers
from delivery.settings import Settings
from delivery.verdict import Promise, Verdict
from outbox_operator.adapters.compare import Range, Stretch, bounds, compare
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.rows_range import RowsRange
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.plan.doctor import verdict as opinion
from support.nats import connected

T = TypeVar("T")
BOTH_KNOW: Final = ("lost", "duplicate", "reordered", "phantom")


async def disagreements(settings: Settings, servers: Servers, verdict: Verdict) -> list[str]:
    """Where the two verdicts differ, in words; nothing where less than all is promised.

    Nor where a second stream is judged, too, which `verify` knows nothing of, or one in Redis.
    """
    if settings.promise != Promise() or settings.world.copies or settings.sink == "redis":
        return []
    ours = await _verdict(settings, servers)
    # At rest nothing waits: a relay that forgets a row never says that it is published.
    ours.counts["lost"] += ours.counts["waiting"]
    return [
        f"verify says {word} {ours.counts[word]}, the checker {verdict.counts[word]}: "
        f"{ours.examples.get(word)}"
        for word in BOTH_KNOW
        if bool(ours.counts[word]) is not bool(verdict.counts[word])
    ]


async def _verdict(settings: Settings, servers: Servers) -> opinion.Verdict:
    whole = opinion.Verdict()
    target = parse_url(servers.database_url)
    connection = await connect(target, application_name="second opinion")
    try:
        async with connected(servers.brokers) as client:
            rows = RowsRange(connection, target, "outbox")
            admin = JetStreamAdmin(client, servers.members[0].auth)

            async def lend(work: Callable[[RowsRange], Awaitable[T]]) -> T:
                return await work(rows)

            of = Stretch(
                stream=servers.stream,
                subject_filter=f"{servers.stream}.>",
                source=settings.form(servers.stream).source,
                ordered=True,
            )
            within = await bounds(rows, Range())
            while within.low < within.high:
                one = await compare(lend, admin, of, within)
                whole = whole.merged(one.verdict)
                within = replace(within, low=one.next)
    finally:
        await connection.close()
    return whole
