"""Indexes orders. Everything it knows of the operator are environment variables."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError


def needed(name: str) -> str:
    """What the operator always sets, and a person may have forgotten."""
    return os.environ.get(name) or sys.exit(f"{name} is not set")


def secret(name: str) -> str | None:
    """What the file that a variable names holds."""
    return Path(os.environ[name]).read_text().strip() if name in os.environ else None


def tls() -> ssl.SSLContext | None:
    """What is needed for TLS, where anything is."""
    ca, cert = os.environ.get("NATS_CA_FILE"), os.environ.get("NATS_CERT_FILE")
    if ca is None and cert is None:
        return None
    context = ssl.create_default_context(cafile=ca)
    if cert is not None:
        context.load_cert_chain(cert, os.environ["NATS_KEY_FILE"])
    return context


async def index(event_id: str, order: Any) -> None:
    """Store the document under the event's id: a second delivery changes nothing."""
    print(json.dumps({"indexed": event_id, "order": order}), flush=True)


async def handle(message: Msg) -> None:
    """Acknowledge, ask again, or give up."""
    try:
        order = json.loads(message.data)
    except ValueError as error:
        # Becomes a dead letter; the driver's own `term` gives no reason.
        await message._client.publish(message.reply, f"+TERM not JSON: {error}".encode())
        return
    try:
        await index((message.headers or {}).get("Ce-Id", ""), order)
    except OSError as error:
        print(f"order not indexed: {error}", flush=True)
        await message.nak(delay=5)
    else:
        await message.ack()


async def main() -> None:
    """Pull until SIGTERM, then finish what is in hand."""
    stream, durable = needed("OUTBOX_STREAM"), needed("OUTBOX_CONSUMER")
    stopping = asyncio.Event()
    connection = await nats.connect(
        needed("NATS_URL").split(","),
        user=secret("NATS_USERNAME_FILE"),
        password=secret("NATS_PASSWORD_FILE"),
        token=secret("NATS_TOKEN_FILE"),
        user_credentials=os.environ.get("NATS_CREDS_FILE"),
        nkeys_seed=os.environ.get("NATS_NKEY_FILE"),
        tls=tls(),
        tls_handshake_first=os.environ.get("NATS_TLS_HANDSHAKE_FIRST") == "true",
        max_reconnect_attempts=-1,
    )
    # Not before: until there is a connection there is nothing in hand, and nothing to finish.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    jetstream = connection.jetstream(domain=os.environ.get("NATS_DOMAIN"))
    try:
        await jetstream.consumer_info(stream, durable)
    except NotFoundError as error:
        sys.exit(f"OUTBOX_CONSUMER {durable} of OUTBOX_STREAM {stream}: {error.description}")
    reader = await jetstream.pull_subscribe_bind(durable, stream)
    while not stopping.is_set():
        # The driver raises its own TimeoutError when nothing came, and at times the plain one.
        with contextlib.suppress(TimeoutError):
            # Few at a time: all that is in hand has to be done within OUTBOX_ACK_WAIT_SECONDS.
            for message in await reader.fetch(10, timeout=1):
                await handle(message)
    await connection.close()  # sends what is still buffered first


if __name__ == "__main__":
    asyncio.run(main())
