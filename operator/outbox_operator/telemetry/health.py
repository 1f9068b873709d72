"""The small HTTP server behind the probes: /healthz, /readyz and /metrics.

Started by each role inside its own event loop, on purpose: a loop that is stuck cannot answer,
and that is what the liveness probe is for. Standard library only. A check must be a cheap
look at a value already in memory; it never talks to a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from types import TracebackType
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

log: Final = logging.getLogger(__name__)

_READ_SECONDS: Final = 5.0
"""How long a client may take to ask, and to take its answer."""
_STOP_SECONDS: Final = 1.0
_MAX_HEAD_BYTES: Final = 16 * 1024
_MOST_CONNECTIONS: Final = 200
"""Then the oldest is closed: a probe takes a moment, and descriptors are few."""
_MOST_CONNECTIONS_OF_ONE: Final = 50
"""Of one address, so that no pod takes them all from the probes."""
_MOST_TEXTS: Final = 16
"""Metrics that are being sent at once: a client that reads slowly holds some megabytes. Then the
oldest is cut, not the new one: who reads has them in a moment."""
_MOST_TEXTS_OF_ONE: Final = 4
"""Of one address."""
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
        large: A registry with so many series that writing them takes a good part of a second: it is
            read in a thread beside the event loop, once for all who ask meanwhile, and follows
            `registry`.
        host: Address to listen on; None is every address of the pod, IPv4 and IPv6.
    """

    def __init__(
        self,
        port: int,
        ready: Mapping[str, Check],
        *,
        live: Mapping[str, Check] | None = None,
        registry: CollectorRegistry | None = None,
        large: CollectorRegistry | None = None,
        host: str | None = None,
    ) -> None:
        self._wanted_port = port
        self._host = host
        self._checks = {"/healthz": dict(live or {}), "/readyz": dict(ready)}
        self._registry = registry
        self._large = large
        self._thread: ThreadPoolExecutor | None = None
        self._text: asyncio.Future[bytes] | None = None
        """Of the large registry, while it is being written."""
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._of_address: Counter[str] = Counter()
        self._sending: dict[asyncio.Task[None], str] = {}
        """Those that are being sent metrics, and from where, the oldest first."""

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
        # Not one of the threads of all, which are many and may hang in lookups of names.
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._server = await asyncio.start_server(
            self._connected, self._host, self._wanted_port, limit=_MAX_HEAD_BYTES
        )

    async def stop(self) -> None:
        """Stop listening; requests under way are cut."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = list(self._connections)
        for task in tasks:
            self._cut(task)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await asyncio.gather(*tasks, return_exceptions=True)
                await server.wait_closed()  # since Python 3.12 for connections, too
        if self._thread is not None:
            self._thread.shutdown(wait=False)

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

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str((writer.get_extra_info("peername") or ("",))[0])
        if self._server is None or self._of_address[address] >= _MOST_CONNECTIONS_OF_ONE:
            writer.transport.abort()
            return
        if len(self._connections) >= _MOST_CONNECTIONS:
            self._cut(next(iter(self._connections)))
        # A task of our own: asyncio's logs an error for each that is cancelled at the end.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, address))
        self._connections[task] = writer
        self._of_address[address] += 1

        task.add_done_callback(lambda task: self._ended(task, address))

    def _cut(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task).transport.abort()
        self._sending.pop(task, None)
        task.cancel()

    def _ended(self, task: asyncio.Task[None], address: str) -> None:
        self._connections.pop(task, None)
        self._sending.pop(task, None)
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
    ) -> None:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
            path = rest.split(" ", 1)[0].split("?", 1)[0]
            if method not in ("GET", "HEAD"):
                refusal = {"error": f"method {method} is not allowed, use GET"}
                await _send(writer, method, 405, _JSON, _json(refusal))
            elif path == "/metrics" and self._registry is not None:
                large = () if self._large is None else (await self._written(self._large),)
                text = generate_latest(self._registry)
                self._make_room(address)
                await _send(writer, method, 200, CONTENT_TYPE_LATEST, text, *large)
            else:
                await _send(writer, method, *self._checked(path))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("health request cut short: %s", type(error).__name__)
        except Exception:
            log.exception("a health request was not answered")
        finally:
            writer.transport.abort()

    def _make_room(self, address: str) -> None:
        """Count the current task among those that are being sent metrics."""
        of_one = [task for task, one in self._sending.items() if one == address]
        if len(of_one) >= _MOST_TEXTS_OF_ONE:
            self._cut(of_one[0])
        elif len(self._sending) >= _MOST_TEXTS:
            self._cut(next(iter(self._sending)))
        task = asyncio.current_task()
        if task is not None:
            self._sending[task] = address

    async def _written(self, large: CollectorRegistry) -> bytes:
        """Return the text of the large registry: the one that is being written, if any is."""
        if self._text is None:
            loop = asyncio.get_running_loop()
            self._text = loop.run_in_executor(self._thread, generate_latest, large)
            self._text.add_done_callback(self._forget_text)
        return await asyncio.shield(self._text)

    def _forget_text(self, _: asyncio.Future[bytes]) -> None:
        self._text = None

    def _checked(self, path: str) -> tuple[int, str, bytes]:
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


async def _send(
    writer: asyncio.StreamWriter, method: str, status: int, kind: str, *body: bytes
) -> None:
    """Answer, and wait until the client has all of it.

    Raises:
        TimeoutError: It did not take it in time.
        ConnectionError: It hung up.
    """
    head = (
        f"HTTP/1.1 {status} {_STATUS_TEXT[status]}\r\n"
        f"Date: {formatdate(usegmt=True)}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {sum(map(len, body))}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    writer.transport.set_write_buffer_limits(0)
    writer.writelines([head.encode("latin-1"), *(body if method != "HEAD" else ())])
    async with asyncio.timeout(_READ_SECONDS):
        # All of it before the end: asyncio cannot `abort` what it closed with a rest to be sent.
        await writer.drain()
        writer.close()
        await writer.wait_closed()
