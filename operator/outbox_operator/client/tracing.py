"""The trace an event belongs to: a span for its writing, and the headers that carry it.

OpenTelemetry is never imported here: a span can only be wanted if the application has imported it,
and until then nothing but that is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from outbox_operator.wire.headers import TRACEPARENT, TRACESTATE
from outbox_operator.wire.trace_context import MOST_STATE_CHARACTERS

_SCOPE: Final = "outbox_operator.client"
_OFF: Final[AbstractContextManager[None]] = nullcontext()
_tracer: tuple[object, Any] = (None, None)
"""A provider, and our tracer of it: to make one costs more than a span."""


def writing(
    schema: str, event: object, count: int = 0
) -> AbstractContextManager[Mapping[str, str] | None]:
    """Make the span of a block that writes events, if the application wants spans.

    Args:
        schema: Where they are written.
        event: The one that is written, or of several the first; an empty list: none is.
        count: How many they are; 0: one, by itself.

    Returns:
        Gives the headers that the events are to carry; None: there are none.
    """
    api = sys.modules.get("opentelemetry.trace")
    return _OFF if api is None or event == [] else _writing(api, schema, event, count)


def with_trace(headers: Mapping[str, str], trace: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of an event, with those of its trace unless the application set them."""
    if not trace or any(name.lower() == TRACEPARENT for name in headers):
        return dict(headers)
    return {**trace, **headers}


@contextmanager
def _writing(api: Any, schema: str, event: Any, count: int) -> Iterator[Mapping[str, str] | None]:
    own = getattr(event, "headers", None)
    current = api.get_current_span().get_span_context()
    unrecorded = current.is_valid and not current.trace_flags.sampled
    if unrecorded or (not count and own and any(name.lower() == TRACEPARENT for name in own)):
        yield _headers(current)
        return
    kind = str(getattr(event, "type", ""))[:100]
    span = _tracer_of(api).start_span(
        f"create {'events' if count else kind}",
        kind=api.SpanKind.PRODUCER,
        attributes={
            "messaging.system": "nats",
            "messaging.operation.name": "create",
            "messaging.operation.type": "create",
            "cloudevents.event_type": kind,
            "outbox.schema": schema,
            **(
                {"messaging.batch.message_count": count}
                if count
                else {"messaging.message.id": str(getattr(event, "id", ""))}
            ),
        },
    )
    # Errors of drivers quote rows, so that their texts are not for a trace.
    with api.use_span(
        span, end_on_exit=True, record_exception=False, set_status_on_exception=False
    ):
        try:
            yield _headers(span.get_span_context())
        except BaseException as error:
            span.set_status(api.Status(api.StatusCode.ERROR, type(error).__name__))
            raise


def _tracer_of(api: Any) -> Any:
    global _tracer
    provider = api.get_tracer_provider()
    if _tracer[0] is not provider:
        _tracer = provider, provider.get_tracer(_SCOPE)
    return _tracer[1]


def _headers(context: Any) -> Mapping[str, str] | None:
    if not context.is_valid:
        return None
    flags = context.trace_flags
    trace = {TRACEPARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"}
    state = context.trace_state.to_header() if context.trace_state else ""
    if 0 < len(state) <= MOST_STATE_CHARACTERS:  # nobody carries on more, and endpoints refuse it
        trace[TRACESTATE] = state
    return trace
