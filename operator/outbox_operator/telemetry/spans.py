"""Spans by OpenTelemetry's SDK, sent over OTLP/HTTP; configured by its own environment variables.

Imported by `telemetry.tracing` when spans are wanted. The SDK holds a bounded number of ended spans
and sends them from a thread of its own, so that a collector that is slow or away costs spans and
nothing else.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final
from urllib.parse import unquote, urlsplit

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import Attributes as OtelAttributes

from outbox_operator.telemetry.collector import BoundedSession
from outbox_operator.telemetry.logging import bind
from outbox_operator.telemetry.tracer import MOST_LINKS, Attributes, Kind, Span, Tracer
from outbox_operator.version import VERSION
from outbox_operator.wire.trace_context import TraceParent, parent_of

log = logging.getLogger(__name__)

_SCOPE: Final = "outbox_operator"
_CLOSE_SECONDS: Final = 2.0
_QUIET_SECONDS: Final = 300.0
"""Between two lines about a collector that takes nothing."""
_MOST_ERROR_CHARACTERS: Final = 300
_MOST_CHARACTERS: Final = 256
"""Of an attribute: events say what they like."""
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_USUAL_PATH: Final = "v1/traces"
_WORD: Final = re.compile(r"[\w.+/~%-]{4,}")
"""What a header's value is made of, and its name; a shorter one says nothing by itself."""
_KINDS: Final = {
    "internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}  # fmt: skip


def open_tracer(role: str, *, name: str, namespace: str) -> Tracer:
    """Set the SDK up, or use what the application in this process has set up already.

    Raises:
        Exception: A variable has a value that the SDK does not take.
    """
    _say_seldom()
    given = trace.get_tracer_provider()
    if isinstance(given, TracerProvider):
        return SdkTracer(given, ours=False)
    resource = _resource(
        {
            "service.name": name, "service.namespace": namespace, "service.version": VERSION,
            "service.instance.id": socket.gethostname(), "outbox.role": role,
        }
    )  # fmt: skip
    # It would wait for a collector that hangs for half a minute.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=BoundedSession())))
    trace.set_tracer_provider(provider)  # for the spans of handlers
    return SdkTracer(provider, ours=True)


def _resource(defaults: dict[str, str]) -> Resource:
    """Say who makes the spans: as the environment says, and where it does not, as we do."""
    found = Resource.create()
    unnamed = str(found.attributes.get("service.name", "")).startswith("unknown_service")
    missing: dict[str, str] = {
        key: value
        for key, value in defaults.items()
        if key not in found.attributes or (key == "service.name" and unnamed)
    }
    return found.merge(Resource(missing))


class _Span:
    """See `telemetry.tracer.Span`."""

    __slots__ = ("span",)

    def __init__(self, span: trace.Span) -> None:
        self.span = span

    @property
    def place(self) -> TraceParent:
        found = self.span.get_span_context()
        return TraceParent(
            found.trace_id, found.span_id, found.trace_flags.sampled, found.trace_state.to_header()
        )

    def set(self, attributes: Attributes) -> None:
        self.span.set_attributes(_clean(attributes))

    def end(self, at: int | None = None, *, error: str = "") -> None:
        if error:
            self.span.set_status(Status(StatusCode.ERROR, _unicode(error[:_MOST_ERROR_CHARACTERS])))
        self.span.end(at)


class SdkTracer:
    """See `telemetry.tracer.Tracer`.

    Args:
        ours: Whether nobody else closes the provider.
    """

    def __init__(self, provider: TracerProvider, *, ours: bool) -> None:
        self._provider = provider
        self._ours = ours
        self._tracer = provider.get_tracer(_SCOPE, VERSION)
        if isinstance(sampler := getattr(self._tracer, "sampler", None), Sampler):
            self._tracer.sampler = _AsLinked(sampler)  # type: ignore[attr-defined]

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: TraceParent | None,
        attributes: Attributes,
        *,
        links: Sequence[TraceParent] = (),
        start: int | None = None,
    ) -> Span:
        around = context.Context() if parent is None else _around(_span_context(parent))
        return _Span(
            self._tracer.start_span(
                name,
                around,
                _KINDS[kind],
                _clean(attributes),
                [Link(_span_context(one)) for one in links[:MOST_LINKS]],
                start,
            )
        )

    @contextmanager
    def active(self, span: Span) -> Iterator[None]:
        found = trace.INVALID_SPAN if not isinstance(span, _Span) else span.span
        token = context.attach(trace.set_span_in_context(found))
        try:
            with bind(trace_id=f"{found.get_span_context().trace_id:032x}"):
                yield
        finally:
            context.detach(token)

    def within(self, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        return _Within(headers)

    def close(self) -> None:
        if not self._ours:
            return
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
        if closing.is_alive():
            log.warning(
                "the last spans are lost: the collector did not take them within %g s",
                _CLOSE_SECONDS,
            )


class _Named(NonRecordingSpan):
    """The span that headers name."""

    _context = trace.INVALID_SPAN_CONTEXT

    def __init__(self, headers: Mapping[str, str]) -> None:  # of the class above only `_context`
        self._headers: Mapping[str, str] | None = headers

    def get_span_context(self) -> SpanContext:
        if self._headers is not None:
            parent, self._headers = parent_of(self._headers), None
            if parent is not None:
                self._context = _span_context(parent)
        return self._context


[_CURRENT] = trace.set_span_in_context(trace.INVALID_SPAN, context.Context())
"""The key of the current span in a context, which has no public name."""


class _Within:
    """What `contextmanager` and `set_span_in_context` would do, at a quarter of the cost."""

    __slots__ = ("_headers", "_token")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __enter__(self) -> None:
        around = context.get_current()
        self._token = context.attach(context.Context({**around, _CURRENT: _Named(self._headers)}))

    def __exit__(self, *error: object) -> None:
        context.detach(self._token)


class _AsLinked(Sampler):
    """Samples a new trace as that of the first span it is linked to, whose producer decided."""

    def __init__(self, given: Sampler) -> None:
        self._given = given

    def should_sample(
        self,
        parent_context: context.Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: OtelAttributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if links and not trace.get_current_span(parent_context).get_span_context().is_valid:
            linked = links[0].context
            parent_context, trace_id = _around(linked), linked.trace_id
        return self._given.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return self._given.get_description()


def _clean(attributes: Attributes) -> dict[str, str | int]:
    return {
        name: _unicode(value[:_MOST_CHARACTERS]) if isinstance(value, str) else value
        for name, value in attributes.items()
    }


def _unicode(text: str) -> str:
    """Replace what is no Unicode: one such span, and none of its batch could be sent."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _span_context(parent: TraceParent) -> SpanContext:
    return SpanContext(
        parent.trace_id,
        parent.span_id,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([parent.state]) if parent.state else None,
    )


def _around(found: SpanContext) -> context.Context:
    return trace.set_span_in_context(NonRecordingSpan(found), context.Context())


class _Seldom(logging.Handler):
    """Hands on a line of each of the SDK's loggers in a while, and the number of those between.

    A collector that is away is no news each second, nor is an event with an odd `tracestate`; the
    one must not hide the other. What may be a secret, headers for
    the collector and the path and query of its URL, is blanked: the SDK quotes what it cannot send.
    """

    def __init__(self, secrets: str) -> None:
        super().__init__(logging.WARNING)
        words = set(_WORD.findall(secrets)) | set(_WORD.findall(unquote(secrets)))
        longest_first = sorted(words, key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._quiet_until: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        now, name = time.monotonic(), record.name
        if now < self._quiet_until.get(name, 0.0):
            self._left_out[name] += 1
            return
        self._quiet_until[name] = now + _QUIET_SECONDS
        log.warning(
            "spans: %s (from now on said once in %g minutes; events are not affected)",
            self._secret.sub("***", record.getMessage())[:_MOST_ERROR_CHARACTERS],
            _QUIET_SECONDS / 60,
            extra={"left_out": self._left_out.pop(name, 0)},
        )  # fmt: skip


def _say_seldom() -> None:
    sdk = logging.getLogger("opentelemetry")
    headers = [os.environ.get(name, "") for name in _HEADERS]
    urls = [urlsplit(os.environ.get(name, "")) for name in _ENDPOINTS]
    paths = [f"{url.path.removesuffix(_USUAL_PATH)} {url.query} {url.fragment}" for url in urls]
    sdk.handlers = [_Seldom(" ".join([*headers, *paths]))]
    sdk.propagate = False
