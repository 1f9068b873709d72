"""Encrypted logins: the server proves who it is, and the password never crosses the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.errors import PostgresError
from support.certificates import Certificates
from support.nats import NatsServer
from support.postgres import PostgresServer
from support.relaying import an_outbox

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.demand_tls(certificates.path("server.pem"), certificates.path("server.key"))
        yield server.start()
    finally:
        server.remove()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_verified_login_is_encrypted_and_scram(
    tls_server: PostgresServer, certificates: Certificates, host: str
) -> None:
    url = tls_server.url().replace("127.0.0.1", host)
    target = parse_url(f"{url}?sslmode=verify-full&sslrootcert={certificates.path('ca.pem')}")
    connection = await connect(target, application_name="test")
    try:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        stored = await connection.fetchval(
            "SELECT rolpassword FROM pg_authid WHERE rolname = current_user"
        )
        assert stored.startswith("SCRAM-SHA-256$")
    finally:
        await connection.close()


async def test_another_authority_is_refused(tls_server: PostgresServer, tmp_path: Path) -> None:
    stranger = Certificates(tmp_path).path("ca.pem")
    target = parse_url(f"{tls_server.url()}?sslmode=verify-full&sslrootcert={stranger}")
    with pytest.raises(PostgresError, match="certificate is not trusted"):
        await connect(target, application_name="test")


async def test_the_relay_publishes_through_a_verified_connection(
    tls_server: PostgresServer,
    certificates: Certificates,
    nats_server: NatsServer,
    tmp_path: Path,
) -> None:
    database = tls_server.create_database()
    try:
        async with an_outbox(database, nats_server, tmp_path) as outbox:
            ca = certificates.path("ca.pem")
            outbox.url = f"{database}?sslmode=verify-full&sslrootcert={ca}"
            relay = await outbox.relay().start().ready()
            added = await outbox.add("a")
            (message,) = await outbox.stored(1)
            assert message.event_id == added
            assert relay.terminate() == 0
    finally:
        tls_server.drop_database(database)
