"""Connecting, and what every way of not connecting is called."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.url import Login, parse_url, resolve
from outbox_operator.errors import (
    AccessDeniedError,
    CredentialsError,
    PostgresError,
    UnsupportedServerError,
)
from support.postgres import PostgresServer, running_server
from support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.integration

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """Port of a server on loopback; everything it opened is closed at the end."""
    sessions: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sessions.append(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(start, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*sessions)


async def test_connects_and_says_who_it_is(database: str) -> None:
    connection = await connect(parse_url(database), application_name="outbox-test")
    assert await connection.fetchval("SHOW application_name") == "outbox-test"
    assert await connection.fetchval("SHOW statement_timeout") == "30s"
    await connection.close()


async def test_both_sides_notice_that_the_other_is_gone(database: str) -> None:
    connection = await connect(parse_url(database), application_name="outbox-test")
    ours = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
    assert await connection.fetchval("SHOW tcp_user_timeout") == "15000"
    assert await connection.fetchval("SHOW tcp_keepalives_idle") == "10"
    await connection.close()


async def test_wrong_password(postgres_server: PostgresServer, database: str) -> None:
    role, _ = postgres_server.create_role("wrong")
    target = parse_url(postgres_server.url(database.rpartition("/")[2], role, "s3cret-guess"))
    with pytest.raises(CredentialsError) as caught:
        await connect(target, application_name="t")
    assert caught.value.reason == "CredentialsRejected"
    assert role in caught.value.message
    assert target.address in caught.value.message
    assert "s3cret-guess" not in caught.value.message


async def test_no_such_database(postgres_server: PostgresServer) -> None:
    with pytest.raises(CredentialsError) as caught:
        await connect(parse_url(postgres_server.url("nowhere")), application_name="t")
    assert caught.value.reason == "DatabaseMissing"


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(PostgresError) as caught:
            await connect(parse_url(f"postgresql://u:pw@127.0.0.1:{port}/d"), application_name="t")
    assert caught.value.reason == "PostgresUnreachable"
    assert f"127.0.0.1:{port}/d" in caught.value.message
    assert "connection refused" in caught.value.message.lower()


async def test_no_such_host() -> None:
    with pytest.raises(PostgresError, match="no such host"):
        await connect(parse_url("postgresql://u:pw@db.invalid/d"), application_name="t")


async def test_a_server_that_never_answers() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        url = f"postgresql://u:pw@127.0.0.1:{port}/d?sslmode=disable"
        with pytest.raises(PostgresError, match=r"no answer within 0\.2 s"):
            await connect(parse_url(url), application_name="t", timeout=0.2)


async def test_a_server_without_tls_where_tls_is_wanted(database: str) -> None:
    with pytest.raises(PostgresError, match="SSL"):
        await connect(parse_url(database + "?sslmode=require"), application_name="t")


async def test_an_authority_that_is_none(database: str) -> None:
    target = resolve(Login(url=database, tls_mode="verify-full", ca_pem="hunter2"))
    with pytest.raises(CredentialsError, match="not valid PEM") as caught:
        await connect(target, application_name="t")
    assert caught.value.reason == "InvalidSecret"
    assert "hunter2" not in str(caught.value)


async def test_a_login_without_a_password_takes_nothing_of_this_process(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = postgres_server.create_database()
    role, password = postgres_server.create_role("nobodys")
    parts = urlsplit(url)
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"*:*:*:*:{password}\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSWORD", password)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    target = parse_url(f"postgresql://{role}@{parts.hostname}:{parts.port}{parts.path}")
    with pytest.raises(CredentialsError) as caught:
        await connect(target, application_name="t")
    assert caught.value.reason == "CredentialsRejected"
    right = replace(target, password=password)
    await (await connect(right, application_name="t")).close()


async def test_our_statements_are_not_compiled(database: str) -> None:
    connection = await connect(parse_url(database), application_name="t")
    try:
        assert await connection.fetchval("SHOW jit") == "off"
    finally:
        await connection.close()


async def test_no_word_of_the_drivers_state_reaches_anybody(database: str) -> None:
    target = parse_url(database)
    connection = await connect(target, application_name="t")
    asking = asyncio.create_task(connection.execute("SELECT pg_sleep(30)"))
    await asyncio.sleep(0)
    try:
        with pytest.raises(PostgresError) as busy, errors(target):
            await connection.fetchval("SELECT 1")
        connection.terminate()
        with pytest.raises(PostgresError) as ended, errors(target):
            await connection.fetchval("SELECT 1")
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    for caught in (busy, ended):
        assert caught.value.message == f"PostgreSQL at {target.address}: the connection was lost"


async def test_a_server_that_dies_under_a_statement_is_said_in_our_words(database: str) -> None:
    port = int(urlsplit(database).port or 0)
    proxy = await TcpProxy(lambda: port).start()
    target = parse_url(database.replace(f":{port}/", f":{proxy.port}/"))
    connection = await connect(target, application_name="t")
    asyncio.get_running_loop().call_later(0.2, proxy.cut)
    with pytest.raises(PostgresError) as caught, errors(target):
        await connection.execute("SELECT pg_sleep(30)")
    await proxy.close()
    assert caught.value.message in (
        f"PostgreSQL at {target.address}: the connection was lost",
        f"PostgreSQL at {target.address}: connection reset by peer",
    )


async def test_options_of_a_url_are_settings_of_the_session(database: str) -> None:
    options = "-c%20search_path%3Dshop%20-c%20timezone%3DAsia/Tokyo"
    target = parse_url(f"{database}?options={options}")
    connection = await connect(target, application_name="t", statements_of_others=True)
    try:
        assert await connection.fetchval("SHOW search_path") == "shop"
        assert await connection.fetchval("SHOW timezone") == "Asia/Tokyo"
    finally:
        await connection.close()


async def test_translates_what_statements_meet(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    role, password = postgres_server.create_role("plain")
    target = parse_url(postgres_server.url(url.rpartition("/")[2], role, password))
    owner = await connect(parse_url(url), application_name="t")
    await owner.execute("CREATE TABLE public.busy (id int); GRANT SELECT ON public.busy TO PUBLIC")
    connection = await connect(target, application_name="t", statement_timeout=0.2)
    with pytest.raises(AccessDeniedError, match=role), errors(target):
        await connection.execute("CREATE SCHEMA s")
    with pytest.raises(PostgresError) as caught, errors(target):
        await connection.execute("SELECT pg_sleep(5)")
    assert caught.value.reason == "StatementTimeout"
    async with owner.transaction():
        await owner.execute("LOCK TABLE public.busy")
        with pytest.raises(PostgresError) as caught, errors(target):
            await connection.execute("SET lock_timeout = 50; SELECT * FROM public.busy")
        assert caught.value.reason == "LockTimeout"
    with pytest.raises(PostgresError) as caught, errors(target):
        await connection.execute("SELEC")
    assert caught.value.reason == "StatementFailed"
    with pytest.raises(UnsupportedServerError) as lost, errors(target):
        await connection.execute("EXECUTE never_prepared")
    assert lost.value.reason == "TransactionPooler"
    await owner.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
    with pytest.raises(PostgresError) as caught, errors(target):
        await connection.execute("SELECT 1")
    assert caught.value.reason == "PostgresUnreachable"
    await owner.close()
    postgres_server.drop_database(url)


async def test_a_killed_server_is_unreachable_and_comes_back() -> None:
    with running_server() as server:
        target = parse_url(server.url())
        connection = await connect(target, application_name="t")
        server.kill()
        with pytest.raises(PostgresError) as caught, errors(target):
            await connection.execute("SELECT 1")
        assert caught.value.reason == "PostgresUnreachable"
        server.start()
        again = await connect(target, application_name="t")
        assert await again.fetchval("SELECT 1") == 1
        await again.close()
