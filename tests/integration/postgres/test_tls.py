"""Encrypted logins: the server proves who it is, and the password never crosses the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.diagnose import PostgresLook
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.errors import CredentialsError, PostgresError
from outbox_operator.plan.doctor.logins import check_login
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
        server.demand_tls(*(certificates.path(f"server.{end}") for end in ("pem", "key")))
        server.allow_certificates(certificates.path("ca.pem"), "client")
        server.start()
        server.execute("CREATE ROLE client LOGIN")
        yield server
    finally:
        server.remove()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_verified_login_is_encrypted_and_scram(
    tls_server: PostgresServer, certificates: Certificates, host: str
) -> None:
    url = tls_server.url().replace("127.0.0.1", host)
    ca = certificates.path("ca.pem").read_text()
    target = resolve(Login(url=url, tls_mode="verify-full", ca_pem=ca))
    connection = await connect(target, application_name="test")
    try:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        stored = await connection.fetchval(
            "SELECT rolpassword FROM pg_authid WHERE rolname = current_user"
        )
        assert stored.startswith("SCRAM-SHA-256$")
    finally:
        await connection.close()


async def test_a_login_by_client_certificate(
    tls_server: PostgresServer, certificates: Certificates
) -> None:
    parts = urlsplit(tls_server.url())
    login = Login(
        url=f"postgresql://client@localhost:{parts.port}{parts.path}",
        ca_pem=certificates.text("ca.pem"),
        cert_pem=certificates.text("client.pem"),
        key_pem=certificates.text("client.key"),
    )
    connection = await connect(resolve(login), application_name="test")
    try:
        found = await connection.fetchval(
            "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        assert found == "/CN=client"
        # The certificates of tests end in two days, which the doctor says of each of the three.
        facts = await PostgresLook(connection, resolve(login)).login()
        said = [one.message for one in check_login(facts, datetime.now(UTC))]
        assert [text.partition(" ends in")[0] for text in said] == [
            "the certificate of the server", "our client certificate",
            "the last of the authorities",
        ]  # fmt: skip
    finally:
        await connection.close()
    without = replace(login, cert_pem=None, key_pem=None)
    with pytest.raises(CredentialsError, match="certificate"):
        await connect(resolve(without), application_name="test")


async def test_another_authority_is_refused(tls_server: PostgresServer, tmp_path: Path) -> None:
    stranger = Certificates(tmp_path).path("ca.pem").read_text()
    target = resolve(Login(url=tls_server.url(), tls_mode="verify-full", ca_pem=stranger))
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
            outbox.url = database
            login = {"url_file": str(outbox.directory / "url"), "tls_mode": "verify-full"}
            ca = str(certificates.path("ca.pem"))
            relay = await outbox.relay(database={**login, "ca_file": ca}).start().ready()
            added = await outbox.add("a")
            (message,) = await outbox.stored(1)
            assert message.event_id == added
            assert relay.terminate() == 0
    finally:
        tls_server.drop_database(database)
