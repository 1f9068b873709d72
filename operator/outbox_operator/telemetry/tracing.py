"""Whether spans are made, and the few things that are done with them.

Each role calls `start` once. While OpenTelemetry's own environment variables do not ask for spans
there is no tracer, nothing of OpenTelemetry is imported, and what would make spans tests one None.
The other half, which knows OpenTelemetry, is `telemetry.spans`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal, Protocol

from outbox_operator.wire.trace_context import TraceParent

log = logging.getLogger(__name__)

MOST_LINKS: Final = 8
"""Of a span about many events; each would cost as much as a span."""
PROCESS_SPANS: Final = "OUTBOX_PROCESS_SPANS"
"""Whether the span of a handler is `linked` to the producer's, or its `child`."""

_PROTOCOL: Final = "http/protobuf"

Kind = Literal["internal", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int]


class Span(Protocol):
    """A span that was begun."""

    @property
    def place(self) -> TraceParent:
        """What its children name, and spans that link to it."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def end(self, at: int | None = None, *, error: str = "") -> None:
        """End it; call once.

        Args:
            at: When, in nanoseconds since 1970; None: now.
            error: What went wrong, in a sentence without secrets; empty: nothing did.
        """


class Tracer(Protocol):
    """Makes spans. Nothing of it waits, and nothing of it raises."""

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
        """Begin a span.

        Args:
            name: Of few values: no ids.
            parent: None: it begins a trace, which is recorded as those of its links are.
            links: `MOST_LINKS` of them at most.
            start: In nanoseconds since 1970; None: now.
        """

    def active(self, span: Span) -> AbstractContextManager[object]:
        """Make a span the parent of those that the code in the block begins."""

    def within(self, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """The same with the span that headers name, if any, recorded or not.

        They are read when somebody asks, which few handlers do.
        """

    def close(self) -> None:
        """Hand on the spans that are left, within a bounded time."""


def start(role: str, *, name: str, namespace: str) -> Tracer | None:
    """Return what makes spans; None: nobody wants any, or they cannot be made, which is logged.

    Args:
        role: `relay` or `consumer`.
        name: Of the service, unless the environment names it.
        namespace: Of the service, likewise.
    """
    wanted, remark = decide(os.environ)
    if remark:
        log.warning("no spans are made: %s", remark)
    if not wanted:
        return None
    try:
        # The SDK reads some of its variables when it is imported.
        from outbox_operator.telemetry import spans

        tracer = spans.open_tracer(role, name=name, namespace=namespace)
    except ImportError:
        log.warning(
            "no spans are made: OpenTelemetry is not installed; the extra outbox-operator[tracing] "
            "brings it"
        )
        return None
    except Exception as error:  # noqa: BLE001 - whatever the variables made of it, events flow
        log.warning("no spans are made: %s: %s", type(error).__name__, error)
        return None
    log.info("spans are made, and sent to the collector")
    return tracer


def decide(environment: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether spans are asked for, and what keeps us from making them all the same.

    An endpoint asks for them, or the exporter by its name; the protocol must be ours.
    """

    def value(*names: str) -> tuple[str, str]:
        """Return the first of the variables that says something, and what."""
        for name in names:
            if found := environment.get(name, "").strip():
                return name, found
        return names[-1], ""

    if value("OTEL_SDK_DISABLED")[1].lower() == "true":
        return False, ""
    exporters = [one.strip().lower() for one in value("OTEL_TRACES_EXPORTER")[1].split(",")]
    endpoint = value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")[1]
    if "none" in exporters or (exporters == [""] and not endpoint):
        return False, ""
    if exporters != [""] and "otlp" not in exporters:
        return False, f"OTEL_TRACES_EXPORTER: wanted otlp or none, found {exporters[0][:100]!r}"
    named, protocol = value("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in ("", _PROTOCOL):
        return False, f"{named}: wanted {_PROTOCOL}, found {protocol[:100]!r}"
    return True, ""


def process_spans_are_children(environment: Mapping[str, str]) -> bool:
    """Return whether the span of a handler belongs to the producer's trace, or is linked to it."""
    text = environment.get(PROCESS_SPANS, "").strip().lower()
    if text not in ("", "linked", "child"):
        log.warning("%s: wanted linked or child, found %r", PROCESS_SPANS, text[:100])
    return text == "child"
