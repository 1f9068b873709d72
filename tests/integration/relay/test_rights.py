"""The relay works with the rights the migrations give, and says which one it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.nats import NatsOptions, NatsServer
from support.outbox import migrate
from support.postgres import PostgresServer
from support.relaying import an_outbox
from support.waiting import eventually

pytestmark = pytest.mark.integration


async def test_an_ordinary_role_is_enough(
    database: str, postgres_server: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    role, password = postgres_server.create_role("relay")
    async with an_outbox(database, nats_server, tmp_path) as outbox:
        await migrate(database, relay_role=role)
        outbox.url = postgres_server.url(database.rpartition("/")[2], role, password)
        relay = await outbox.relay().start().ready()
        good = await outbox.add("a")
        await outbox.add("b", headers="[]")
        (message,) = await outbox.stored(1)
        assert message.event_id == good
        await eventually(lambda: relay.metric("poison_total", reason="InvalidHeaders"), "poison")
        assert len(await outbox.dead_letters()) == 1
        assert relay.terminate() == 0


async def test_a_missing_right_is_named(
    database: str, postgres_server: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> None:
    role, password = postgres_server.create_role("relay")
    async with an_outbox(database, nats_server, tmp_path) as outbox:
        outbox.url = postgres_server.url(database.rpartition("/")[2], role, password)
        relay = outbox.relay().start()
        await eventually(lambda: role in relay.failing().get("role", ""), "says which role")
        assert "permission denied for schema outbox" in relay.failing()["role"]


async def test_a_subject_the_account_may_not_publish_to_is_named(
    database: str, tmp_path: Path
) -> None:
    everything = {"publish": ">", "subscribe": ">"}
    limited = {"publish": {"allow": ["$JS.API.>", "_INBOX.>"]}, "subscribe": ">"}
    users = [
        {"user": "tests", "password": "tests", "permissions": everything},
        {"user": "relay", "password": "relay", "permissions": limited},
    ]
    options = NatsOptions(username="tests", password="tests")
    with NatsServer(NatsOptions(extra={"authorization": {"users": users}})) as nats:
        nats.options = options
        async with an_outbox(database, nats, tmp_path) as outbox:
            (tmp_path / "user").write_text("relay")
            await outbox.add("a")
            login = {"url": nats.url, "username_file": str(tmp_path / "user")}
            relay = outbox.relay(nats={**login, "password_file": str(tmp_path / "user")}).start()
            await eventually(
                lambda: "may not publish on" in relay.get("/readyz")[1],
                "says why",
                relay=relay,
            )
            assert f"{outbox.prefix}.created" in relay.get("/readyz")[1]
