"""An inbox whose server comes back without its end, and gives numbers of transactions out again."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import uuid
from collections.abc import Sequence
from typing import Any, Final, Literal

import asyncpg
import pytest

from outbox_operator.adapters.postgres.inbox import InboxStore, Record
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.errors import PostgresError
from outbox_operator.wire.durable import Durable
from support.outbox import migrate_inbox
from support.postgres import running_server
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

pytestmark = pytest.mark.integration

Mode = Literal["PerEvent", "PerShard"]
XID = "SELECT pg_current_xact_id()::text"
UNWRITTEN: Final[dict[str, Any]] = {
    "wal_writer_delay": "10s", "autovacuum": "off", "wal_level": "minimal", "max_wal_senders": "0",
}  # fmt: skip
"""Nothing but a commit has the server write its log."""


def a_record(number: int) -> Record:
    now = dt.datetime.now(dt.UTC)
    return Record(
        event_id=uuid.uuid4(), source_topic="s", event_type="t", payload=b"", source="/s",
        shard="0", emission=number, stored=now, sequence=number, durable=Durable("S", "2026", ">"),
    )  # fmt: skip


async def given_out_again(url: str, number: int) -> None:
    """Have others commit until the server has given a transaction's number out again."""

    async def again() -> bool:
        try:
            other = await asyncpg.connect(url)
            try:
                while int(await other.fetchval(XID)) < number:
                    pass
                fate = await other.fetchval("SELECT pg_xact_status($1::text::xid8)", str(number))
            finally:
                other.terminate()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False  # it is not back yet, or about to fall
        return bool(fate == "committed")

    await eventually(again, "another transaction with the number")


@pytest.mark.parametrize(
    ("mode", "dies"), [("PerEvent", "server"), ("PerEvent", "session"), ("PerShard", "session")]
)
async def test_another_ones_transaction_is_not_taken_for_ours(mode: Mode, dies: str) -> None:
    """A power cut or a failover; or a session that is killed, behind which all the others are
    ended: what was not on the disk is gone. A pooler or a proxy lets us wait for it (FD-U3)."""
    with running_server(**UNWRITTEN) as server:
        url = server.create_database()
        await migrate_inbox(url)
        proxy = await TcpProxy(lambda: server.port).start()
        store = InboxStore(
            parse_url(url.replace(f":{server.port}/", f":{proxy.port}/")), consumer_name="c",
            schema="outbox", mode=mode, size=1,
        )  # fmt: skip
        before, record = a_record(1), a_record(2)
        handled: list[bool] = []
        tasks: list[asyncio.Task[None]] = []

        async def fall_at_commit(number: int, process: int) -> None:
            if mode == "PerShard":  # let the mark be moved, and the answer be heard
                await eventually(lambda: proxy.held_bytes, "a mark on its way")
                proxy.step()
                await eventually(lambda: proxy.held and not proxy.held_bytes, "its answer")
                proxy.step()
            await eventually(lambda: proxy.held_bytes, "a commit on its way")
            if dies == "server":
                server.kill()
                server.start()
            else:
                os.kill(process, signal.SIGKILL)
            await given_out_again(url, number)
            proxy.cut()
            proxy.release()

        async def prepare(_: Any, __: Sequence[int]) -> bool:
            return True

        async def handle(connection: Any, _: Sequence[int]) -> bool:
            if not tasks:
                number = int(await connection.fetchval(XID))
                process = connection.get_server_pid()
                proxy.hold()
                tasks.append(asyncio.create_task(fall_at_commit(number, process)))
            else:
                handled.append(True)
            return True

        try:
            assert await store.process([before], prepare)  # statements have two trips at first
            with pytest.raises(PostgresError, match=r"started anew|not known"):
                await store.process([record], handle)
            await asyncio.gather(*tasks)
            assert not handled
            assert await store.process([record], handle)
            assert handled == [True]
        finally:
            await store.close()
            await proxy.close()
