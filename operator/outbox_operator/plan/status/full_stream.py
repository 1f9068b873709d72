"""A relay that makes no progress because its stream is full: said with the way out. Pure.

What the pods say is the server's own word for it; without that, what the stream holds tells.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from outbox_operator.api.fields import size_bytes
from outbox_operator.api.v1alpha1.pipeline import ConsumerSummary
from outbox_operator.api.v1alpha1.stream import EventStreamSpec, StreamState
from outbox_operator.plan.amounts import size
from outbox_operator.plan.status.conditions import Part
from outbox_operator.reasons import Reason

_SAID: Final = re.compile(r"maximum (?:bytes|messages)(?: per subject)? exceeded|Redis is full")
_SAYS: Final = " is not ready: "
"""Before what a pod says of itself."""
_NEARLY: Final = 0.98
"""The next message need not fit into what is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fullness:
    """A stream that refuses what comes when it is full.

    Attributes:
        held: What it holds of which limit, if that is all there is room for.
        way_out: What a person can do.
        is_own: Whether the pipeline declares the stream itself.
    """

    held: str | None
    way_out: str
    is_own: bool


def fullness(
    spec: EventStreamSpec,
    state: StreamState | None,
    consumers: Sequence[ConsumerSummary],
    declared: str | None,
) -> Fullness | None:
    """How full a stream is; None: it drops the oldest message, and refuses none.

    Args:
        spec: Of the EventStream.
        state: What the server last said of it.
        consumers: The pipeline's, for who keeps messages there.
        declared: Name of the EventStream, if the pipeline only refers to it.
    """
    if spec.redis is not None:
        return _of_redis(state)
    if spec.discard != "New":
        return None
    most_bytes, most = size_bytes(spec.maxBytes), spec.maxMessages
    held = None
    if state is not None and 0 < most_bytes * _NEARLY <= state.bytes:
        held = f"{size(state.bytes)} of maxBytes {spec.maxBytes}"
    elif state is not None and 0 < most <= state.messages:
        held = f"{state.messages} of maxMessages {most}"
    where = "spec.stream" if declared is None else f"spec of EventStream {declared}"
    raised = [
        name
        for name, limit in (
            ("maxBytes", most_bytes), ("maxMessages", most),
            ("maxMessagesPerSubject", spec.maxMessagesPerSubject),
        )
        if limit > 0
    ]  # fmt: skip
    way_out = f"in {where} raise {' or '.join(raised) or 'its limits'}"
    if spec.retention == "Limits":
        way_out += ", lower maxAge, which takes away what was handled too, or set discard: Old"
    else:
        way_out += f"; messages go when they are handled{_slowest(consumers)}"
    return Fullness(held=held, way_out=way_out, is_own=declared is None)


def _of_redis(state: StreamState | None) -> Fullness:
    """A server without memory refuses all writes."""
    held, redis = None, None if state is None else state.redis
    if redis is not None and 0 < redis.maxMemoryBytes * _NEARLY <= redis.usedMemoryBytes:
        held = f"{size(redis.usedMemoryBytes)} of maxmemory {size(redis.maxMemoryBytes)}"
    way_out = "raise maxmemory of the server, or make room: a lower spec.stream.maxMessages"
    if redis is not None and redis.keptForGroup:
        way_out += f"; entries wait for group {redis.keptForGroup} to acknowledge them"
    return Fullness(held=held, way_out=way_out, is_own=True)


def _slowest(consumers: Sequence[ConsumerSummary]) -> str:
    """Who has most before it."""
    waits = {one.name: one.pending + one.ackPending for one in consumers}
    name = max(waits, key=waits.__getitem__, default=None)
    return f", and consumer {name} has {waits[name]} before it" if name and waits[name] else ""


def full_part(part: Part, full: Fullness | None) -> Part:
    """RelayAvailable, with what a full stream has to do with it.

    Args:
        part: As pods and progress have it.
        full: Of the stream.
    """
    of_relay = (Reason.PODS_NOT_READY, Reason.RELAY_NOT_PROGRESSING)
    if full is None or part.status == "True" or part.reason not in of_relay:
        return part
    said = _SAID.search(part.message)
    silent = part.reason == Reason.RELAY_NOT_PROGRESSING or _SAYS not in part.message
    if said is None and not (silent and full.held):
        return part
    held = full.held or (said[0] if said else "")
    return dataclasses.replace(
        part,
        reason=Reason.STREAM_FULL if full.is_own else part.reason,
        message=f"the stream is full ({held}) and refuses what comes: {full.way_out}; "
        f"{part.message}",
    )
