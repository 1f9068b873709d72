"""One connection to NATS over which a durable consumer is read, and what readiness says of it.

Used by the processes that read: consumer runtime and archive.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from outbox_operator.adapters.nats import connection as nats
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.pull_consumer import Delivery, PullConsumer
from outbox_operator.errors import CredentialsError, NatsError, OutboxError
from outbox_operator.telemetry.readiness import ServerState
from outbox_operator.wire.config import NatsConfig


@contextlib.asynccontextmanager
async def pull_session(
    config: NatsConfig,
    *,
    name: str,
    stream: str,
    durable: str,
    state: ServerState,
    stopping: asyncio.Event,
    on_delivery: Callable[[Delivery], None],
    on_change: Callable[[], None],
    on_refused: Callable[[int], None],
) -> AsyncIterator[PullConsumer]:
    """Connect, and hand out the durable consumer, not yet open; the connection ends with the block.

    Args:
        config: Where and how.
        name: Shown in the server's connection list.
        stream: Name of the stream.
        durable: Name of the durable consumer.
        state: Kept up to date while the connection lasts.
        stopping: Once it is set nothing is said of a lost connection.
        on_delivery: As `PullConsumer`.
        on_change: Likewise.
        on_refused: Likewise.

    Raises:
        OutboxError: No connection can be made.
    """
    source: PullConsumer | None = None

    def disconnected() -> None:
        if not stopping.is_set():
            state.set(False, f"NATS at {auth.address}: connection lost")

    def reconnected() -> None:
        state.set(True, f"connected to {auth.address}")
        if source is not None:
            source.forget_requests()

    def closed() -> None:
        if source is not None:
            source.fail(NatsError(f"NATS at {auth.address}: the server ended the session"))

    def refused(error: OutboxError) -> None:
        if not stopping.is_set():
            state.set(False, f"{error.reason}: {error.message}")
        if source is not None:
            source.fail(error)  # so that the files are looked at, which may say otherwise now

    with state.reporting():
        auth = NatsAuth.from_files(config)
        client = await nats.connect(
            auth,
            name=name,
            on_disconnected=disconnected,
            on_reconnected=reconnected,
            on_closed=closed,
            on_refused=refused,
        )
    state.set(True, f"connected to {auth.address}")
    source = PullConsumer(
        client, auth, stream, durable,
        on_delivery=on_delivery, on_change=on_change, on_refused=on_refused,
    )  # fmt: skip
    try:
        yield source
    finally:
        source = None
        await nats.finish(client)


def has_new_login(config: NatsConfig, source: PullConsumer) -> bool:
    """Whether the files say otherwise than when we connected: the rights may be in them."""
    with contextlib.suppress(CredentialsError):
        return NatsAuth.from_files(config) != source.auth
    return False
