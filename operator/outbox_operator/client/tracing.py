"""The trace an event belongs to, as W3C headers: `traceparent` and `tracestate`.

Called for every event. OpenTelemetry is never imported here: a span can only be active if the
application has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from outbox_operator.wire.headers import TRACEPARENT, TRACESTATE


def with_trace(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an event, with those of the active span unless the application set them."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None or any(name.lower() == TRACEPARENT for name in headers):
        return dict(headers)
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return dict(headers)
    trace = {
        TRACEPARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    }
    if context.trace_state:
        trace[TRACESTATE] = context.trace_state.to_header()
    return {**trace, **headers}
