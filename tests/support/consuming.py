"""What tests of the consumer runtime need: a stream with a durable consumer, an HTTP endpoint
that can be told how to answer, and a consumer running in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nats.errors
from aiohttp import web
from nats.aio.client import Client
from nats.js.api import RawStreamMsg

from outbox_operator.consumer.app import App, build_handler
from outbox_operator.consumer.handlers.python import PythonHandler
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.consumer.handlers.types import Handler
from outbox_operator.telemetry.tracer import Tracer
from outbox_operator.wire.config import (
    ConsumerConfig,
    HttpHandlerConfig,
    NatsConfig,
    PythonHandlerConfig,
    encode,
)
from support.ports import free_port
from support.waiting import SECONDS, ended, eventually


@dataclass(frozen=True, slots=True)
class Request:
    """What an endpoint was sent; header names in any case."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Event id, in binary mode."""
        return self.headers["Ce-Id"]


Answer = Callable[[Request], Awaitable[web.Response]]


async def accept(_: Request) -> web.Response:
    """The answer of a healthy endpoint."""
    return web.Response(status=204)


def answering(status: int, **headers: str) -> Answer:
    """An endpoint that always answers the same."""

    async def answer(_: Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text="said the endpoint", headers=named)

    return answer


@dataclass
class Endpoint:
    """An HTTP server on a loopback port that it keeps; set `answer` at any time."""

    answer: Answer = accept
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where to POST."""
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}/events"

    def ids(self) -> list[str]:
        """Event ids of all requests, in order."""
        return [request.id for request in self.requests]

    async def start(self) -> None:
        """Listen (again)."""
        self.port = self.port or free_port()  # nobody takes it while it is not listened on
        app = web.Application()
        app.router.add_post("/events", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()

    async def stop(self) -> None:
        """Refuse connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.Response:
        received = Request(request.headers.copy(), await request.read())
        self.requests.append(received)
        return await self.answer(received)


@dataclass(frozen=True)
class Source:
    """A stream, its dead-letter stream, and a durable consumer."""

    client: Client
    prefix: str
    config: ConsumerConfig

    @classmethod
    async def create(
        cls, client: Client, prefix: str, *, ack_wait: float = 30.0, **settings: Any
    ) -> Source:
        """Lay everything out. `settings` go into the consumer's configuration."""
        js = client.jetstream()
        await js.add_stream(name=prefix, subjects=[f"{prefix}.evt.>"])
        await js.add_stream(name=f"{prefix}-dead", subjects=[f"{prefix}.dead.>"])
        config = ConsumerConfig(
            namespace="shop",
            consumer="billing",
            nats=NatsConfig(url=client.connected_url.geturl() if client.connected_url else ""),
            stream=prefix,
            durable="billing",
            ack_wait_seconds=ack_wait,
            dead_letter_subject=f"{prefix}.dead",
            backoff_seconds=(0.05,),
            health_port=free_port(),
        )
        config = replace(config, **settings)
        source = cls(client, prefix, config)
        await source.create_durable()
        return source

    async def create_durable(self, **settings: Any) -> None:
        """Create the durable consumer as the controller would; `settings` as the API names them."""
        config = {
            "durable_name": self.config.durable,
            "ack_policy": "explicit",
            "ack_wait": int(self.config.ack_wait_seconds * 1e9),
            "max_deliver": -1,
            **settings,
        }
        answer = await self.client.request(
            f"$JS.API.CONSUMER.CREATE.{self.prefix}.{config['durable_name']}",
            json.dumps({"stream_name": self.prefix, "config": config}).encode(),
        )
        assert "error" not in json.loads(answer.data), answer.data

    async def create_ordered(self, *, ack_policy: str = "explicit") -> None:
        """The same for an ordered consumer, whose reader loses its place after a second."""
        await self.client.jetstream().delete_consumer(self.prefix, self.config.durable)
        await self.create_durable(
            ack_policy=ack_policy,
            priority_policy="pinned_client",
            priority_groups=["outbox"],
            priority_timeout=1_000_000_000,
        )

    async def unpin(self) -> None:
        """Take the place of the reader away, as `nats consumer unpin` does."""
        await self.client.request(
            f"$JS.API.CONSUMER.UNPIN.{self.prefix}.{self.config.durable}",
            b'{"group": "outbox"}',
            timeout=SECONDS,
        )

    async def publish(
        self,
        payload: Any = None,
        *,
        type: str = "order.created",
        id: str | None = None,
        **headers: str,
    ) -> str:
        """Store an event as the relay would; returns its id."""
        event_id = id or str(uuid.uuid4())
        await self.client.jetstream().publish(
            f"{self.prefix}.evt.{type}",
            json.dumps(payload).encode(),
            headers={
                "Ce-Id": event_id,
                "Ce-Type": type,
                "Ce-Source": "/shop/orders",
                "Ce-Specversion": "1.0",
                "Content-Type": "application/json",
                **headers,
            },
        )
        return event_id

    async def info(self) -> Any:
        """The durable consumer as the server sees it."""
        return await self.client.jetstream().consumer_info(self.prefix, self.config.durable)

    async def settled(self, events: int) -> None:
        """Wait until the first `events` messages of the stream are acknowledged or terminated."""

        async def done() -> bool:
            try:
                info = await self.info()
            except nats.errors.Error:
                return False  # the server is being restarted
            return bool(info.num_ack_pending == 0 and info.ack_floor.stream_seq >= events)

        await eventually(done, f"{events} messages settled")

    async def dead_letters(self) -> list[RawStreamMsg]:
        """Everything in the dead-letter stream."""
        js = self.client.jetstream()
        state = (await js.stream_info(f"{self.prefix}-dead")).state
        return [
            await js.get_msg(f"{self.prefix}-dead", seq)
            for seq in range(max(1, state.first_seq), state.last_seq + 1)
        ]

    def http(self, endpoint: Endpoint, **settings: Any) -> ConsumerConfig:
        """A configuration that delivers to an endpoint."""
        http = HttpHandlerConfig(url=endpoint.url, **settings)
        return replace(self.config, http=http)

    def python(self, module: str = "tests:handler", **settings: Any) -> ConsumerConfig:
        """A configuration that calls a function."""
        return replace(self.config, python=PythonHandlerConfig(module=module, **settings))


def calling(
    function: Callable[..., Any] | Handlers, *, timeout: float = 30.0, name: str = "tests:handler"
) -> PythonHandler:
    """A handler around a function of a test."""
    return PythonHandler(name, function, timeout=timeout, threads=4)


@contextlib.asynccontextmanager
async def consuming(
    config: ConsumerConfig, handler: Handler | None = None, tracer: Tracer | None = None
) -> AsyncIterator[App]:
    """A consumer that runs in this process for the length of a block, then drains."""
    app = App(config, handler or build_handler(config), tracer)
    task = asyncio.create_task(app.run())
    try:
        await eventually(lambda: app.health.port or task.done(), "consumer started")
        yield app
    finally:
        app.stop()
        await ended(task, "the consumer drains")


@contextlib.contextmanager
def consumer_process(
    config: ConsumerConfig, folder: Path, handlers: str, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """`outbox consume` as a process in a folder that holds `handlers` as a module."""
    (folder / "handlers.py").write_text(handlers)
    (folder / "config.json").write_text(encode(config))
    consumer = subprocess.Popen(
        [sys.executable, "-m", "outbox_operator.cli.main", "consume"],
        cwd=folder,
        env={**os.environ, "OUTBOX_CONFIG": str(folder / "config.json"), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield consumer
    finally:
        if consumer.poll() is None:
            consumer.kill()
        consumer.communicate(timeout=SECONDS)


async def readiness(app: App) -> tuple[int, dict[str, Any]]:
    """Status and checks of /readyz."""
    reader, writer = await asyncio.open_connection("127.0.0.1", app.health.port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), json.loads(body)["checks"]


def metric(app: App, name: str, **labels: str) -> float:
    """Value of one series, 0 if it was never touched."""
    everywhere = {"namespace": "shop", "consumer": "billing"}
    return app.metrics.registry.get_sample_value(name, {**everywhere, **labels}) or 0.0
