"""Wire a process that answers questions about an archive together, and keep it running.

Called by `outbox archive serve`. The database and the issuer of tokens may be away at the start or
go away later: the process says so on /readyz, and goes on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn

from outbox_operator.adapters.postgres.archive_export import ArchiveExporter
from outbox_operator.adapters.postgres.archive_reader import ArchiveReader
from outbox_operator.adapters.postgres.url import Login, resolve
from outbox_operator.aio import wait
from outbox_operator.archive.api.keys import IssuerKeys
from outbox_operator.archive.api.metrics import ApiMetrics
from outbox_operator.archive.api.patience import BoundedProtocol
from outbox_operator.archive.api.routes import make_app
from outbox_operator.archive.api.service import ArchiveApi
from outbox_operator.errors import OutboxError, SpecError
from outbox_operator.telemetry.health import Check, HealthServer
from outbox_operator.telemetry.logging import bind
from outbox_operator.telemetry.readiness import ServerState
from outbox_operator.wire.archive import COLUMNS
from outbox_operator.wire.archive_api import ArchiveApiConfig

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 10.0
"""Between two looks at the database and the keys."""
_MOST_REQUESTS: Final = 1000
"""At the same time; more are told to come again."""
_MOST_HEAD_BYTES: Final = 64 * 1024


class _Server(uvicorn.Server):
    """Without its own signal handlers: this process has one place where it is asked to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ArchiveApiApp:
    """One process that answers.

    Args:
        config: Of the process.

    Attributes:
        metrics: What it counts.
        checks: What readiness asks.
        health: Serves both.
    """

    def __init__(self, config: ArchiveApiConfig) -> None:
        self._config = config
        self._stopping = asyncio.Event()
        self._database, self._issuer = ServerState(), ServerState()
        self.metrics = ApiMetrics(config.namespace, config.consumer)
        self.checks: dict[str, Check] = {
            "database": self._database.check,
            "issuer": self._issuer.check,
        }
        self.health = HealthServer(config.health_port, self.checks, registry=self.metrics.registry)
        self._reader = self._new_reader(config.limits.connections)
        self._exports = self._new_reader(config.limits.exports)
        self._keys = IssuerKeys(config.jwt, self._issuer)
        self._socket: socket.socket | None = None

    def _new_reader(self, size: int) -> ArchiveReader:
        config = self._config
        return ArchiveReader(
            lambda: resolve(Login.from_files(config.database)),
            schema=config.database.schema,
            columns=(*COLUMNS, *config.extracted),
            tenants=config.tenant_column is not None,
            searches=config.text_search,
            size=size,
            application_name=f"outbox-archive-api {config.namespace}/{config.consumer}",
        )

    @property
    def port(self) -> int:
        """The port really listened on; 0 before the start."""
        return 0 if self._socket is None else int(self._socket.getsockname()[1])

    def stop(self) -> None:
        """Finish what is being answered, and end `run`. May be called more than once."""
        self._stopping.set()

    async def run(self) -> None:
        """Answer until `stop` is called.

        Raises:
            SpecError: The port is taken.
        """
        config = self._config
        exporter = ArchiveExporter(self._exports, self._reader, config.database.schema)
        api = ArchiveApi(config, self._reader, exporter, self._keys, self.metrics)
        server = _Server(
            uvicorn.Config(
                make_app(api),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # anybody may write them
                lifespan="off",
                http=BoundedProtocol,
                ws="none",
                h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
                limit_concurrency=_MOST_REQUESTS,
                timeout_graceful_shutdown=round(config.drain_seconds),
            )
        )
        self._socket = _listen(config.port)
        async with self.health:
            looking = asyncio.create_task(self._look())
            serving = asyncio.create_task(server.serve(sockets=[self._socket]))
            log.info("answers on port %d", self.port)
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            stopping.cancel()
            await serving
            self._stopping.set()
            await looking
            await self._reader.close()
            await self._exports.close()
        log.info("stopped")

    async def _look(self) -> None:
        """See again and again how the servers are; readiness says it."""
        while not self._stopping.is_set():
            with contextlib.suppress(OutboxError):
                with self._database.reporting():
                    await self._reader.check()
                self._database.set(True, f"connected to {self._reader.address}")
            await self._keys.refresh()
            await wait(self._stopping, _LOOK_SECONDS)


def _listen(port: int) -> socket.socket:
    """A socket on every address of the pod, IPv6 if there is any."""
    dual = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", port), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual,
            backlog=1024,
        )  # fmt: skip
    except OSError as error:
        raise SpecError(f"port: cannot listen on {port}: {error.strerror}") from error


async def main(config: ArchiveApiConfig) -> None:
    """Answer until SIGTERM or SIGINT; then finish what is being answered."""
    app = ArchiveApiApp(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    with bind(consumer=f"{config.namespace}/{config.consumer}"):
        await app.run()
