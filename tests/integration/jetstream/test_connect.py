"""Connecting to NATS: what works, and what each failure is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.connection import connect, server_version
from outbox_operator.adapters.nats.diagnose import JetStreamLook
from outbox_operator.errors import CredentialsError, NatsError, UnsupportedServerError
from outbox_operator.plan.doctor.logins import check_login
from outbox_operator.wire.config import NatsConfig
from support.certificates import Certificates
from support.nats import NatsOptions, NatsServer, connected, unique_prefix
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def locked_server() -> Iterator[NatsServer]:
    with NatsServer(NatsOptions(username="shop", password="hunter2-secret")) as server:
        yield server


async def test_connects_and_knows_the_version(nats_server: NatsServer) -> None:
    client = await connect(nats_server.auth, name="test")
    assert server_version(client) >= (2, 15, 0)
    await client.close()


async def test_login_with_the_right_password(locked_server: NatsServer) -> None:
    client = await connect(locked_server.auth, name="test")
    await client.close()


@pytest.mark.parametrize(
    "change",
    [
        {"password": "wrong-secret"},
        {"username": None, "password": None},
        {"username": None, "password": None, "token": "wrong-secret"},
    ],
)
async def test_refused_login_is_a_credentials_error_without_the_secret(
    locked_server: NatsServer, change: dict[str, str | None]
) -> None:
    with pytest.raises(CredentialsError) as caught:
        await connect(replace(locked_server.auth, **change), name="test")  # type: ignore[arg-type]
    assert locked_server.auth.address in caught.value.message
    assert "secret" not in caught.value.message


async def test_token(tmp_path: Path) -> None:
    with NatsServer(NatsOptions(token="open-sesame")) as server:
        await connect_closed(server.auth)
        token = tmp_path / "token"
        token.write_text("open-sesame\n")
        await connect_closed(NatsAuth.from_files(NatsConfig(url=server.url, token_file=str(token))))


async def connect_closed(auth: NatsAuth) -> None:
    client = await connect(auth, name="test")
    await client.close()


async def test_nobody_listens() -> None:
    with NatsServer() as server:
        auth = server.auth
    with pytest.raises(NatsError, match="connection refused") as caught:
        await connect(auth, name="test")
    assert auth.address in caught.value.message
    assert caught.value.retryable


async def test_unknown_host() -> None:
    with pytest.raises(NatsError, match="no such host"):
        await connect(NatsAuth(url="nats://nats.invalid:4222"), name="test")


async def test_silent_server_times_out() -> None:
    with NatsServer() as server:
        server.pause()
        try:
            with pytest.raises(NatsError, match="no answer in time"):
                await connect(server.auth, name="test", timeout=0.3)
        finally:
            server.resume()


async def test_what_is_unsent_at_the_end_is_sent_first(nats_server: NatsServer) -> None:
    subject = unique_prefix()
    async with connected(nats_server) as other:
        arrivals = await other.subscribe(subject)
        await other.flush()
        client = await connect(nats_server.auth, name="test")
        client.enqueue(f"PUB {subject} 1\r\nx\r\n".encode() * 100, 100)
        await client.close()
        for _ in range(100):
            await arrivals.next_msg(SECONDS)


async def test_a_flush_is_answered_behind_what_was_handed_over_before_it() -> None:
    """Without a pause in between, which would give nats-py's own writer its turn."""
    heard: list[str] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"s","version":"2.15.1","max_payload":1000000}\r\n')
        async for line in reader:
            heard.append(line.split()[0].decode())
            if heard[-1] == "PING":
                writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = await connect(NatsAuth(url=f"nats://127.0.0.1:{port}"), name="test")
        heard.clear()
        await client.subscribe("a")
        await client.flush()
        assert heard == ["SUB", "PING"]
        await client.close()


@pytest.mark.parametrize("what", ["request", "confirm"])
async def test_a_cancellation_in_the_moment_of_the_answer_counts(
    nats_server: NatsServer, what: str
) -> None:
    async with connected(nats_server) as other:
        client = await connect(nats_server.auth, name="test")
        subject = unique_prefix()

        async def answer(message: Msg) -> None:
            await other.publish(message.reply, b"here")

        await other.subscribe(subject, cb=answer)
        await other.flush()
        asked = client.request(subject, timeout=30) if what == "request" else client.confirm(30)
        task = asyncio.create_task(asked)
        waiting: Callable[[], list[asyncio.Future[object]]] = (
            (lambda: list(client._resp_map.values()))
            if what == "request"
            else (lambda: list(client._pongs))
        )
        (future,) = await eventually(waiting, "it was asked", pause=0)
        # Behind what wakes the task, and before it runs.
        future.add_done_callback(lambda _: task.cancel())
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.close()


async def test_second_server_of_the_list_is_used(nats_server: NatsServer) -> None:
    auth = NatsAuth(url=f"nats://127.0.0.1:1,{nats_server.url}")
    await connect_closed(auth)


async def test_connection_heals_after_a_restart() -> None:
    lost, back = asyncio.Event(), asyncio.Event()

    with NatsServer() as server:
        client = await connect(
            server.auth, name="test", on_disconnected=lost.set, on_reconnected=back.set
        )
        server.kill()
        await asyncio.wait_for(lost.wait(), SECONDS)
        server.start()
        await asyncio.wait_for(back.wait(), SECONDS)
        await client.flush(timeout=60)
        await client.close()


async def test_missing_secret_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "creds"
    with pytest.raises(CredentialsError, match=str(missing)):
        NatsAuth.from_files(NatsConfig(url="nats://n:4222", creds_file=str(missing)))


async def test_malformed_nkey_is_a_credentials_error(nats_server: NatsServer) -> None:
    with pytest.raises(CredentialsError, match="NKey seed"):
        await connect(NatsAuth(url=nats_server.url, nkey_seed="SUnonsense"), name="test")


async def test_malformed_creds_file_is_a_credentials_error(nats_server: NatsServer) -> None:
    with pytest.raises(CredentialsError, match="credentials file"):
        await connect(NatsAuth(url=nats_server.url, creds="nonsense"), name="test")


def test_secrets_do_not_show_in_the_repr() -> None:
    auth = NatsAuth(
        url="nats://n:4222", creds="hush", username="hush", password="hush", token="hush",
        nkey_seed="hush", ca_pem="hush", cert_pem="hush", key_pem="hush",
    )  # fmt: skip
    assert "hush" not in repr(auth)
    assert NatsAuth(url="nats://user:hush@n:4222,tls://m").address == "nats://n:4222,tls://m"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=[False, True], ids=["info-first", "handshake-first"])
def mutual_tls_server(
    certificates: Certificates, request: pytest.FixtureRequest
) -> Iterator[tuple[NatsServer, bool]]:
    options = NatsOptions(
        tls_cert=certificates.path("server.pem"),
        tls_key=certificates.path("server.key"),
        tls_client_ca=certificates.path("ca.pem"),
        tls_handshake_first=request.param,
    )
    with NatsServer(options) as server:
        yield server, request.param


async def test_mutual_tls(
    mutual_tls_server: tuple[NatsServer, bool], certificates: Certificates
) -> None:
    server, handshake_first = mutual_tls_server
    full = NatsAuth(
        url=server.url,
        ca_pem=certificates.text("ca.pem"),
        cert_pem=certificates.text("client.pem"),
        key_pem=certificates.text("client.key"),
        tls_handshake_first=handshake_first,
    )
    client = await connect(full, name="test")
    facts = JetStreamLook(client, full).login()
    await client.close()
    # The certificates of tests end in two days, which the doctor says of each of the three.
    said = [one.message for one in check_login(facts, datetime.now(UTC))]
    assert [text.partition(" ends in")[0] for text in said] == [
        "the certificate of the server", "our client certificate", "the last of the authorities",
    ]  # fmt: skip
    with pytest.raises(NatsError, match="certificate is not trusted"):
        await connect(replace(full, ca_pem=None), name="test")
    with pytest.raises(NatsError, match=r"server closed the connection|CERTIFICATE_REQUIRED"):
        await connect(replace(full, cert_pem=None, key_pem=None), name="test")


async def test_key_of_another_certificate(certificates: Certificates) -> None:
    with pytest.raises(CredentialsError, match="do not belong together"):
        await connect(
            NatsAuth(
                url="tls://localhost:1",
                cert_pem=certificates.text("client.pem"),
                key_pem=certificates.text("server.key"),
            ),
            name="test",
        )


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
async def test_the_end_does_not_wait_for_a_server_that_hangs(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    """More than the network takes is unsent: the polite goodbye would wait for it for ever."""
    options = NatsOptions()
    if tls:
        options = NatsOptions(
            tls_cert=certificates.path("server.pem"), tls_key=certificates.path("server.key")
        )
    monkeypatch.setattr("outbox_operator.adapters.nats.driver._CLOSE_SECONDS", 0.5)
    with NatsServer(options) as server:
        auth = replace(server.auth, ca_pem=certificates.text("ca.pem") if tls else None)
        client = await connect(auth, name="test")
        server.pause()
        frame = b"PUB x 1000000\r\n" + bytes(1_000_000) + b"\r\n"
        client.enqueue(frame * 32, 32)
        async with asyncio.timeout(SECONDS):
            await client.close()
        assert client.is_closed
        server.resume()


async def test_asking_for_tls_never_falls_back_to_clear_text(nats_server: NatsServer) -> None:
    url = nats_server.url.replace("nats://", "tls://")
    with pytest.raises(NatsError, match="TLS was asked for"):
        await connect(NatsAuth(url=url, username="shop", password="hush"), name="test")


async def test_too_old_server_is_refused() -> None:
    """Speaks just enough of the protocol: no package holds a server as old as this."""

    gone = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version":"2.9.25","max_payload":1048576,"headers":true}\r\n')
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()
        gone.set()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(UnsupportedServerError, match=r"2\.10\.0 or newer .* found 2\.9\.25"):
            await connect(NatsAuth(url=f"nats://127.0.0.1:{port}"), name="test")
        await asyncio.wait_for(gone.wait(), SECONDS)
