"""Many streams of an account at once, in the way that costs least."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.connection import connect
from outbox_operator.controller.reconcile.outside import JetStreamSeen
from support.nats import NatsServer, connected, with_permissions
from support.permissions import EVERYTHING, ROLE, deny, give, violations

pytestmark = pytest.mark.integration

NAMES = tuple(f"T{number}" for number in range(8))
LIST = "$JS.API.STREAM.LIST"


@pytest.fixture(params=[None, "2.10.26"], ids=["newest", "oldest"])
def server(request: pytest.FixtureRequest) -> Iterator[NatsServer]:
    """One of its own: what others have on it would count."""
    with NatsServer(with_permissions(**{ROLE: EVERYTHING}), version=request.param) as server:
        yield server


@pytest.fixture
async def admin(server: NatsServer) -> AsyncIterator[JetStreamAdmin]:
    auth = replace(server.auth, username=ROLE, password=ROLE)
    client = await connect(auth, name="test")
    admin = JetStreamAdmin(client, auth)
    for name in NAMES:
        await admin.create_stream({"name": name, "subjects": [f"{name}.>"]})
    yield admin
    await client.close()


async def answered(server: NatsServer) -> int:
    """Requests to the account's API so far, this one included."""
    async with connected(server) as client:
        return (await client.jetstream().account_info()).api.total


async def spent(server: NatsServer, admin: JetStreamAdmin, *names: str) -> int:
    """Requests that it took to find just these streams of some."""
    before = await answered(server)
    found = await admin.streams([*names, "NONE"])
    after = await answered(server)
    assert found.keys() == set(names)
    for name, listed in found.items():
        one = await admin.stream_info(name)
        assert JetStreamSeen.of((None, None), [listed]) == JetStreamSeen.of((None, None), [one])
    return after - before - 1


async def test_a_page_for_all_and_a_question_for_what_is_not_on_it(
    server: NatsServer, admin: JetStreamAdmin
) -> None:
    assert await spent(server, admin, *NAMES) == 2


async def test_few_are_asked_for_by_themselves(server: NatsServer, admin: JetStreamAdmin) -> None:
    assert await spent(server, admin, *NAMES[:2]) == 3


async def test_without_the_right_to_list(server: NatsServer, admin: JetStreamAdmin) -> None:
    """The refusal is heard once, and not at each look."""
    give(server, deny(publish=[LIST]))
    for _ in range(2):
        assert await spent(server, admin, *NAMES) == 9
    assert violations(server) == [LIST]
