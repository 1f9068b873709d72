"""The small HTTP server behind the probes: /healthz, /readyz and /metrics.

Started by each role inside its own event loop, on purpose: a loop that is stuck cannot answer,
and that is what the liveness probe is for. Standard library only. A check must be a cheap
look at a value already in memory; it never talks to a server.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

log: Final = logging.getLogger(__name__)

_READ_SECONDS: Final = 5.0
_MAX_HEAD_BYTES: Final = 16 * 1024
_JSON: Final = "application/json; charset=utf-8"
_STATUS_TEXT: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class CheckResult(NamedTuple):
    """What a check found; `reason` is a sentence for a person, also when all is well."""

    ok: bool
    reason: str


Check = Callable[[], tuple[bool, str]]


class HealthServer:
    """Serves the probes and the metrics until stopped; use with `async with`.

    Args:
        port: TCP port; 0 picks a free one, see `port` after the start.
        ready: Named checks behind /readyz; all must hold.
        live: Named checks behind /healthz; none means that answering is proof enough.
        registry: Where /metrics reads; None answers 404 there.
        host: Address to listen on; None is every address of the pod, IPv4 and IPv6.
    """

    def __init__(
        self,
        port: int,
        ready: Mapping[str, Check],
        *,
        live: Mapping[str, Check] | None = None,
        registry: CollectorRegistry | None = None,
        host: str | None = None,
    ) -> None:
        self._wanted_port = port
        self._host = host
        self._checks = {"/healthz": dict(live or {}), "/readyz": dict(ready)}
        self._registry = registry
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port really listened on; 0 before the start."""
        if self._server is None or not self._server.sockets:
            return 0
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The port is taken or the address is not ours.
        """
        self._server = await asyncio.start_server(
            self._serve, self._host, self._wanted_port, limit=_MAX_HEAD_BYTES
        )

    async def stop(self) -> None:
        """Stop listening; requests under way are cut."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> HealthServer:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _READ_SECONDS)
            method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
            path = rest.split(" ", 1)[0].split("?", 1)[0]
            status, kind, body = self._answer(method, path)
            writer.write(_response(status, kind, body, with_body=method != "HEAD"))
            await asyncio.wait_for(writer.drain(), _READ_SECONDS)
        except (
            TimeoutError,
            ConnectionError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ) as error:
            log.debug("health request cut short: %s", type(error).__name__)
        finally:
            writer.close()

    def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if method not in ("GET", "HEAD"):
            return 405, _JSON, _json({"error": f"method {method} is not allowed, use GET"})
        if path == "/metrics" and self._registry is not None:
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        checks = self._checks.get(path)
        if checks is None:
            return 404, _JSON, _json({"error": "use /healthz, /readyz or /metrics"})
        found = {name: CheckResult(*check()) for name, check in checks.items()}
        ok = all(outcome.ok for outcome in found.values())
        body = {
            "status": "ok" if ok else "failing",
            "checks": {name: outcome._asdict() for name, outcome in found.items()},
        }
        return (200 if ok else 503), _JSON, _json(body)


def _json(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _response(status: int, kind: str, body: bytes, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_STATUS_TEXT[status]}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (body if with_body else b"")
