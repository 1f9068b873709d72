"""A relay behind PgBouncer: works in session mode, and says what is wrong in transaction mode."""

from __future__ import annotations

import pytest

from support.pgbouncer import pooler, through
from support.postgres import PostgresServer
from support.relaying import Outbox, check_delivery
from support.waiting import eventually

pytestmark = pytest.mark.integration


async def test_session_mode_works(outbox: Outbox, postgres_server: PostgresServer) -> None:
    with pooler(postgres_server, "session") as port:
        relay = outbox.relay()
        (outbox.directory / "url").write_text(through(port, outbox.url))
        await relay.start().active()
        await outbox.fill(2000)
        check_delivery(await outbox.stored(2000), await outbox.event_ids())
        assert relay.terminate() == 0


async def test_transaction_mode_is_told_until_it_is_corrected(
    outbox: Outbox, postgres_server: PostgresServer
) -> None:
    await outbox.add("a")
    with pooler(postgres_server, "transaction") as port:
        relay = outbox.relay()
        (outbox.directory / "url").write_text(through(port, outbox.url))
        relay.start()
        await eventually(
            lambda: "pool in session mode" in relay.failing().get("postgres", ""), "told"
        )
        await eventually(
            lambda: relay.metric("errors_total", reason="TransactionPooler"), "counted"
        )
        assert await outbox.count() == 0
        (outbox.directory / "url").write_text(outbox.url)
        await outbox.published(1)
        await relay.ready()
