"""A stream and a publisher into it, for tests of runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from outbox_operator.adapters.nats.messages import JetStreamFacts
from outbox_operator.adapters.nats.publisher import Publisher
from outbox_operator.adapters.sink import Fence, Message, Owner, Sent
from outbox_operator.errors import NatsError
from support.nats import NatsCluster, NatsServer, connected, make_stream, unique_prefix
from support.waiting import SECONDS


def generation(server: NatsServer | NatsCluster) -> tuple[int, int]:
    """Major and minor version."""
    major, minor, _ = server.version.split(".")
    return int(major), int(minor)


def an_owner() -> Owner:
    """Somebody who publishes for the first time."""
    return Owner(unique_prefix(), 1)


class PublishedStream:
    """A stream and a publisher into it."""

    def __init__(self, server: NatsServer | NatsCluster, prefix: str, publisher: Publisher) -> None:
        self.server = server
        self.prefix = prefix
        self.publisher = publisher
        self.facts: JetStreamFacts | None = None

    def messages(
        self, count: int, *, subject: str = "a", size: int = 20, first: int = 0
    ) -> list[Message]:
        return [
            message(f"{self.prefix}.{subject}.{number % 7}", number, size)
            for number in range(first, first + count)
        ]

    async def publish(
        self,
        messages: Sequence[Message],
        *,
        fence: Fence | None = None,
        ordered: bool = True,
        pages: int = 1,
        last: bool = True,
    ) -> Sent:
        run = self.publisher.open_run(owner=an_owner(), fence=fence, ordered=ordered)
        each = -(-len(messages) // pages)
        for start in range(0, len(messages), each):
            end = start + each >= len(messages)
            await run.send(messages[start : start + each], last=last and end)
        return await run.finish()

    async def stored(self) -> list[int]:
        """Numbers of the messages in the stream, in its order; waits while it elects a leader."""
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(NatsError):
                    found = self.publisher.tail(f"{self.prefix}.>", 0)
                    return [int(message.headers["Outbox-Position"]) async for message in found]
                await asyncio.sleep(0.05)

    async def request(self, verb: str, **config: Any) -> dict[str, Any]:
        document = dict(config)
        if verb in ("CREATE", "UPDATE"):
            document |= {"name": self.prefix, "subjects": [f"{self.prefix}.>"]}
        async with connected(self.server) as client:
            if verb == "CREATE":
                return await make_stream(client, **document)
            answer = await client.request(
                f"$JS.API.STREAM.{verb}.{self.prefix}", json.dumps(document).encode()
            )
        parsed: dict[str, Any] = json.loads(answer.data)
        assert "error" not in parsed, parsed
        return parsed


def message(subject: str, number: int, size: int = 20, **headers: str) -> Message:
    lines = {"Nats-Msg-Id": str(uuid.UUID(int=number)), "Outbox-Position": str(number)}
    text = "".join(f"{name}: {value}\r\n" for name, value in (lines | headers).items())
    return Message(subject, f"NATS/1.0\r\n{text}\r\n", b"x" * size)


@contextlib.asynccontextmanager
async def published_stream(
    server: NatsServer | NatsCluster, prefix: str, *, ack_seconds: float = SECONDS, **config: Any
) -> AsyncIterator[PublishedStream]:
    """The stream is created if it is not there; the publisher is closed after."""
    publisher = await Publisher.open(
        server.auth, name="tests", stream=prefix, ack_seconds=ack_seconds
    )
    try:
        stream = PublishedStream(server, prefix, publisher)
        await stream.request("CREATE", **config)
        stream.facts = await publisher.facts()
        yield stream
    finally:
        await publisher.close()
