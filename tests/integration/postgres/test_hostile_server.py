"""A server that a tenant names may answer what it likes: the process that asks does not suffer."""

from __future__ import annotations

import asyncio
import base64
import resource
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.errors import errors
from outbox_operator.adapters.postgres.url import Login, PostgresTarget, parse_url, resolve
from outbox_operator.errors import PostgresError
from support.certificates import Certificates
from support.postgres import PostgresServer
from support.waiting import eventually

pytestmark = pytest.mark.integration

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
READY = b"Z\0\0\0\x05I"
LOGGED_IN = b"R\0\0\0\x08\0\0\0\0"


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", 4 + len(body)) + body


def parameter(name: str, value: str) -> bytes:
    return message(b"S", f"{name}\0{value}\0".encode())


async def endlessly(writer: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(ConnectionError):
        while True:
            writer.write(data)
            await writer.drain()


async def asked_to_hash(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Begin a SCRAM login; what the client is to repeat."""
    writer.write(message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"))
    said = await reader.readuntil(b"r=")
    nonce = await reader.read(100)
    assert said
    return b"r=" + nonce + b"x,s=" + base64.b64encode(b"salt")


def hashing(first: bytes) -> bytes:
    return message(b"R", struct.pack("!I", 11) + first)


async def scram(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    first = await asked_to_hash(reader, writer) + b",i=2147483647"
    # In pieces, as a network may deliver it.
    whole = hashing(first)
    for part in (whole[:3], whole[3:20], whole[20:]):
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.01)
    await reader.read()


async def two_numbers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    first = await asked_to_hash(reader, writer)
    writer.write(hashing(b"i=1," + first + b",i=60000000"))
    await reader.read()


async def again_and_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    first = await asked_to_hash(reader, writer)
    writer.write(hashing(first + b",i=600000") * 100)
    await reader.read()


async def after_the_login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    first = await asked_to_hash(reader, writer)
    writer.write(LOGGED_IN + hashing(first + b",i=60000000"))
    await reader.read()


async def one_endless_message(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"R" + struct.pack("!I", 0x7FFFFFFF))
    await endlessly(writer, b"x" * 65536)


async def endless_notices(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(LOGGED_IN)
    await endlessly(writer, message(b"N", b"SNOTICE\0Mhello\0\0") * 1000)


async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def strange_version(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(LOGGED_IN + parameter("server_version", "next year's") + READY)
    await reader.read()


async def other_columns(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Lets in, and answers every question with a number named "a"."""
    writer.write(LOGGED_IN + parameter("server_version", "16.0"))
    writer.write(message(b"K", struct.pack("!II", 1, 2)) + READY)
    columns = struct.pack("!H", 1) + b"a\0" + struct.pack("!IhIhih", 0, 0, 23, 4, -1, 1)
    row = struct.pack("!HII", 1, 4, 7)
    answers = {
        b"P": message(b"1", b""),
        b"D": message(b"t", b"\0\0") + message(b"T", columns),
        b"B": message(b"2", b""),
        b"E": message(b"D", row) + message(b"C", b"SELECT 1\0"),
        b"S": READY,
    }
    while True:
        kind = await reader.readexactly(1)
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        await reader.readexactly(size - 4)
        writer.write(answers.get(kind, b""))


async def shouting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    fields = b"SFATAL\0VFATAL\0CXX000\0M" + b"a\n" * 20_000 + b"\0\0"
    writer.write(message(b"E", fields))
    await writer.drain()


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[PostgresTarget]:
    """Where somebody listens who is no PostgreSQL."""
    sessions: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                (size,) = struct.unpack("!I", await reader.readexactly(4))
                await reader.readexactly(size - 4)
                await answer(reader, writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(
        lambda r, w: sessions.append(asyncio.create_task(serve(r, w))), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    try:
        yield parse_url(f"postgresql://u:hunter2@127.0.0.1:{port}/d?sslmode=disable")
    finally:
        server.close()
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (scram, "over 600000 rounds of hashing"),
        (two_numbers, "over 600000 rounds of hashing"),
        (again_and_again, "hashing again and again"),
        (after_the_login, "a login after one"),
        (one_endless_message, "an answer to the login is over 65536 bytes"),
        (endless_notices, "the answer to a statement is over 4194304 bytes"),
        (garbage, "does not speak PostgreSQL's protocol|an answer to the login is over"),
        (strange_version, "is understood here|version"),
        (other_columns, "is understood here"),
        (shouting, "a a a a"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_login_costs_little_whatever_is_answered(answer: Answer, words: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    async with answering(answer) as target:
        with pytest.raises(PostgresError, match=words) as caught:
            await connect(target, application_name="t", guarded=True)
    # 2147483647 rounds would be ten minutes of CPU.
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
    assert len(caught.value.message) < 1000
    assert "hunter2" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "query",
    [
        "SELECT repeat('x', 5000000)",
        "SELECT repeat('x', 1000) FROM generate_series(1, 10000)",
        "SELECT FROM generate_series(1, 100000)",
        "DO $$ BEGIN FOR i IN 1..10000 LOOP RAISE NOTICE '%', repeat('x', 1000); END LOOP; END $$",
    ],
)
async def test_the_answer_to_a_statement_is_bounded(database: str, query: str) -> None:
    target = parse_url(database)
    connection = await connect(target, application_name="t", guarded=True)
    with pytest.raises(PostgresError, match="over 4194304 bytes"), errors(target):
        await connection.fetch(query)
    await eventually(connection.is_closed, "the connection ends")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ARRAY[1]",
        "SELECT polygon '((0,0),(1,1))'",
        "SELECT 10::numeric ^ 30000",
        "SELECT pg_current_snapshot()",
        "SELECT ROW(1, 2)",
        "SELECT NULL::pg_catalog.pg_class",
    ],
)
async def test_values_take_no_more_room_than_their_bytes(database: str, query: str) -> None:
    """The driver would make room for as many points as a polygon claims to have: gigabytes."""
    target = parse_url(database)
    connection = await connect(target, application_name="t", guarded=True)
    with pytest.raises(PostgresError, match="which was not asked for"), errors(target):
        await connection.fetchval(query)
    await eventually(connection.is_closed, "the connection ends")


async def test_statements_one_after_another_have_their_bound_each(database: str) -> None:
    connection = await connect(parse_url(database), application_name="t", guarded=True)
    try:
        for _ in range(5):
            assert len(await connection.fetchval("SELECT repeat('x', 3000000)")) == 3_000_000
        async with connection.transaction():
            await connection.execute("CREATE TEMP TABLE t (a int)")
            await connection.copy_records_to_table("t", records=[(n,) for n in range(10_000)])
        assert await connection.fetchval("SELECT count(*) FROM t") == 10_000
    finally:
        await connection.close()


async def test_a_guarded_connection_may_be_encrypted(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    server = PostgresServer()
    try:
        server.demand_tls(certificates.path("server.pem"), certificates.path("server.key"))
        server.start()
        login = Login(url=server.url(), ca_pem=certificates.text("ca.pem"))
        target = resolve(login)
        connection = await connect(target, application_name="t", guarded=True)
        with pytest.raises(PostgresError, match="over 4194304 bytes"), errors(target):
            await connection.fetchval("SELECT repeat('x', 5000000)")
        await eventually(connection.is_closed, "the connection ends")
    finally:
        server.remove()
