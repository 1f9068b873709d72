"""Whether spans are made: what the environment asks for.

Each role calls `start` once. While OpenTelemetry's own environment variables do not ask for spans
there is no tracer, nothing of OpenTelemetry is imported, and what would make spans tests one None.
The other half, which knows OpenTelemetry, is `telemetry.spans`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Final

from outbox_operator.telemetry.tracer import Tracer

log = logging.getLogger(__name__)

PROCESS_SPANS: Final = "OUTBOX_PROCESS_SPANS"
"""Whether the span of a handler is `linked` to the producer's, or its `child`."""

_PROTOCOL: Final = "http/protobuf"


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
