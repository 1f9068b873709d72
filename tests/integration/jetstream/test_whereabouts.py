"""What real servers say of where a login leads, and what follows from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.connection import connect
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.controller.reconcile.jetstream import sight_of
from outbox_operator.plan.passes.place import is_elsewhere
from support.nats import NatsOptions, NatsServer

ASKING = "$SYS.REQ.USER.INFO"
ACCOUNTS = {
    "A": {
        "jetstream": True,
        "users": [
            {"user": "a", "password": "a"},
            {"user": "dumb", "password": "dumb", "permissions": {"publish": {"deny": [ASKING]}}},
        ],
        "exports": [{"service": "$JS.API.>"}],
    },
    "B": {"jetstream": True, "users": [{"user": "b", "password": "b"}]},
    "GUEST": {
        "users": [{"user": "guest", "password": "guest"}],
        "imports": [{"service": {"account": "A", "subject": "$JS.API.>"}, "to": "$JS.A.API.>"}],
    },
}


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer(NatsOptions(extra={"accounts": ACCOUNTS})) as started:
        yield started


@asynccontextmanager
async def logged_in(
    server: NatsServer, user: str, domain: str | None = None
) -> AsyncIterator[JetStreamAdmin]:
    auth = replace(server.auth, username=user, password=user, domain=domain)
    client = await connect(auth, name="tests")
    try:
        yield JetStreamAdmin(client, auth)
    finally:
        await client.close()


async def test_who_leads_where(server: NatsServer) -> None:
    nats = NatsConnection(url=server.url)
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(logged_in(server, "a"))
        made = await home.create_stream({"name": "ORDERS", "subjects": ["orders.>"]})
        seen = await sight_of(home, nats, made, None)
        assert (seen.place.account, seen.created) == ("A", made.created)
        for user, domain, account, elsewhere in (
            ("a", None, "A", False),
            ("dumb", None, None, False),  # may not ask, and works all the same
            ("b", None, "B", True),
            ("guest", "A", "GUEST", False),  # another account that imports the stream
        ):
            admin = await stack.enter_async_context(logged_in(server, user, domain))
            declared = nats.model_copy(update={"domain": domain})
            found = await admin.stream_info("ORDERS")
            sight = await sight_of(admin, declared, found, home.auth)
            assert sight.place.account == account, user
            assert sight.other_login is (user != "a")
            assert is_elsewhere(seen.place, made.created, sight) is elsewhere, user
        await home.delete_stream("ORDERS")
        gone = await sight_of(home, nats, await home.stream_info("ORDERS"), home.auth)
        assert not is_elsewhere(seen.place, made.created, gone)
