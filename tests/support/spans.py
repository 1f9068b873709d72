"""Spans as a collector gets them: a receiver of OTLP/HTTP, and the OpenTelemetry Collector."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from outbox_operator.embedded.process import ServerProcess
from outbox_operator.telemetry.spans import SdkTracer
from support.chart import find_program
from support.ports import free_port
from support.postgres import NOT_PAST_OUR_DEATH
from support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Seen:
    """A span; times in nanoseconds since 1970, ids as lower-case hex."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    links: Sequence[tuple[str, str]]
    error: str | None
    resource: Mapping[str, Any]

    @property
    def service(self) -> str:
        """Who made it."""
        return str(self.resource["service.name"])

    @property
    def place(self) -> tuple[str, str]:
        """What links to it have to say."""
        return self.trace_id, self.span_id


@dataclass
class Receiver:
    """Takes spans on a loopback port.

    Attributes:
        spans: What it was sent, in order.
        answer: Called before each answer; returns the status.
    """

    port: int = 0
    spans: list[Seen] = field(default_factory=list)
    answer: Callable[[], int] = lambda: 200

    @property
    def url(self) -> str:
        """Base URL, for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def named(self, start: str, **attributes: object) -> list[Seen]:
        """The spans whose name begins so and that have these attributes, `__` for a dot."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}
        return [
            span
            for span in self.spans
            if span.name.startswith(start) and wanted.items() <= span.attributes.items()
        ]

    async def until(self, count: int, start: str = "", **attributes: object) -> list[Seen]:
        """Wait for so many such spans; returns them."""
        await eventually(
            lambda: len(self.named(start, **attributes)) >= count,
            f"{count} spans {start!r} {attributes}; there are {[one.name for one in self.spans]}",
        )
        return self.named(start, **attributes)

    def take(self, kind: str, body: bytes) -> None:
        """Read a request."""
        if kind == "application/json":
            document = json.loads(body)
        else:
            document = MessageToDict(ExportTraceServiceRequest.FromString(body))
        self.spans.extend(_spans(document))


def _spans(document: Mapping[str, Any]) -> Iterator[Seen]:
    for resource in document.get("resourceSpans", ()):
        who = _attributes(resource.get("resource", {}))
        for scope in resource.get("scopeSpans", ()):
            for span in scope["spans"]:
                status = span.get("status", {})
                failed = status.get("code") in (2, "STATUS_CODE_ERROR")
                yield Seen(
                    name=span["name"],
                    kind=_KINDS.get(span.get("kind"), str(span.get("kind"))),
                    trace_id=_hex(span["traceId"]),
                    span_id=_hex(span["spanId"]),
                    parent_id=_hex(span.get("parentSpanId", "")),
                    start=int(span.get("startTimeUnixNano", 0)),
                    end=int(span["endTimeUnixNano"]),
                    attributes=_attributes(span),
                    links=[
                        (_hex(one["traceId"]), _hex(one["spanId"])) for one in span.get("links", ())
                    ],
                    error=status.get("message", "") if failed else None,
                    resource=who,
                )


_KINDS = {
    number: f"SPAN_KIND_{name}"
    for number, name in enumerate(("", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}


def _attributes(of: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for one in of.get("attributes", ()):
        [(kind, value)] = one["value"].items()
        found[one["key"]] = int(value) if kind == "intValue" else value
    return found


def _hex(text: str) -> str:
    """An id: hex in OTLP's JSON, base64 in protobuf's."""
    if len(text) in (0, 16, 32) and all(c in "0123456789abcdef" for c in text):
        return text
    return base64.b64decode(text).hex()


@contextlib.contextmanager
def receiving(port: int | None = None) -> Iterator[Receiver]:
    """A receiver; gone afterwards, and nobody else listens there."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            kind = self.headers["Content-Type"]
            status = receiver.answer()
            if status == 200:
                receiver.take(kind, body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", "0" if kind != "application/json" else "2")
            self.end_headers()
            if kind == "application/json":
                self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port or free_port()), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def environment(receiver: Receiver, **more: str) -> dict[str, str]:
    """What makes a process send its spans there, soon."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        **more,
    }


class Recorded:
    """Makes spans in this process, and keeps them.

    Attributes:
        tracer: For what is tested.
    """

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.tracer = SdkTracer(provider, ours=True)

    @property
    def spans(self) -> list[Seen]:
        """Those that have ended."""
        return [
            Seen(
                name=one.name,
                kind=f"SPAN_KIND_{one.kind.name}",
                trace_id=f"{one.context.trace_id:032x}",
                span_id=f"{one.context.span_id:016x}",
                parent_id="" if one.parent is None else f"{one.parent.span_id:016x}",
                start=one.start_time or 0,
                end=one.end_time or 0,
                attributes=dict(one.attributes or {}),
                links=[
                    (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}")
                    for link in one.links
                ],
                error=None if one.status.is_ok or one.status.is_unset else one.status.description,
                resource=dict(one.resource.attributes),
            )
            for one in self._kept.get_finished_spans()
        ]


def a_parent(number: int, *, sampled: bool = True) -> dict[str, str]:
    """Headers of an event whose producer had a span; number 1 to 255."""
    return {"traceparent": f"00-{number:032x}-{number:016x}-{'01' if sampled else '00'}"}


def place(number: int) -> tuple[str, str]:
    """Trace and span of that producer."""
    return f"{number:032x}", f"{number:016x}"


@contextlib.contextmanager
def collector(receiver: Receiver, folder: Path) -> Iterator[str]:
    """The OpenTelemetry Collector, which hands spans on to a receiver; gives its base URL."""
    port = free_port()
    settings = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {
            "otlphttp": {"endpoint": receiver.url, "encoding": "json", "compression": "none"}
        },
        "service": {
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlphttp"]}},
        },
    }
    process = ServerProcess("otelcol", folder / "otelcol.log")

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    program = str(find_program("otelcol"))
    process.start(
        [*NOT_PAST_OUR_DEATH, program, "--config", f"yaml:{json.dumps(settings)}"],
        answers, user={},
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop(signal.SIGTERM)
