"""A full stream: when it is the reason, and what is said of it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.v1alpha1.pipeline import ConsumerSummary
from outbox_operator.api.v1alpha1.stream import EventStreamSpec, StreamState
from outbox_operator.plan.status.conditions import Part, ok, waiting
from outbox_operator.plan.status.full_stream import Fullness, full_part, fullness
from outbox_operator.reasons import Reason

RELAY: Final = ConditionType.RELAY_AVAILABLE
MIB: Final = 1024**2
SAID: Final = (
    "0 of 1 pods ready; pod a is not ready: progress: 5 events wait: maximum bytes exceeded"
)
OTHER: Final = "0 of 1 pods ready; pod a is not ready: postgres: connection refused"


def full_of(
    bytes_: int = 0, messages: int = 0, *, ref: str | None = None, **spec: Any
) -> Fullness | None:
    """Of a stream with so much in it."""
    given = {"name": "ORDERS", "subjects": ["orders.>"], "nats": {"url": "nats://n:4222"}, **spec}
    state = StreamState(name="ORDERS", bytes=bytes_, messages=messages)
    consumers = [
        ConsumerSummary(name="billing", pending=7, ackPending=2),
        ConsumerSummary(name="mailer", pending=8),
    ]
    return fullness(EventStreamSpec.model_validate(given), state, consumers, ref)


@pytest.mark.parametrize(
    ("found", "held"),
    [
        (full_of(MIB, maxBytes="1Mi"), None),  # it drops the oldest
        (full_of(MIB, maxBytes="1Mi", discard="New"), "1.0 MiB of maxBytes 1Mi"),
        (full_of(int(0.985 * MIB), maxBytes="1Mi", discard="New"), "1008.6 KiB of maxBytes 1Mi"),
        (full_of(MIB // 2, maxBytes="1Mi", discard="New"), None),
        (full_of(MIB, discard="New"), None),
        (full_of(0, 30, maxMessages=30, discard="New"), "30 of maxMessages 30"),
        (full_of(0, 29, maxMessages=30, discard="New"), None),
    ],
)
def test_what_it_is_full_of(found: Fullness | None, held: str | None) -> None:
    assert (found.held if found else None) == held


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (full_of(maxBytes="1Mi", discard="New"),
         "in spec.stream raise maxBytes, lower maxAge, which takes away what was handled too, or "
         "set discard: Old"),
        (full_of(maxBytes="1Mi", maxMessages=3, discard="New", retention="WorkQueue"),
         "in spec.stream raise maxBytes or maxMessages; messages go when they are handled, and "
         "consumer billing has 9 before it"),
        (full_of(maxMessages=3, discard="New", retention="Interest", ref="shared"),
         "in spec of EventStream shared raise maxMessages; messages go when they are handled, and "
         "consumer billing has 9 before it"),
    ],
)  # fmt: skip
def test_the_way_out(found: Fullness, said: str) -> None:
    assert found.way_out == said


@pytest.mark.parametrize(
    ("part", "full", "reason", "held"),
    [
        # The server's word, whatever was counted last.
        (waiting(RELAY, Reason.PODS_NOT_READY, SAID),
         full_of(3, maxBytes="1Mi", discard="New"), Reason.STREAM_FULL, "maximum bytes exceeded"),
        (waiting(RELAY, Reason.PODS_NOT_READY, SAID),
         full_of(MIB, maxBytes="1Mi", discard="New"), Reason.STREAM_FULL, "1.0 MiB of maxBytes"),
        # Pods that nobody could ask, and pods that are ready still.
        (waiting(RELAY, Reason.PODS_NOT_READY, "0 of 1 pods ready; pod a is not ready"),
         full_of(MIB, maxBytes="1Mi", discard="New"), Reason.STREAM_FULL, "1.0 MiB of maxBytes"),
        (waiting(RELAY, Reason.RELAY_NOT_PROGRESSING, "5 rows wait"),
         full_of(0, 3, maxMessages=3, discard="New"), Reason.STREAM_FULL, "3 of maxMessages 3"),
        # Of another resource, which this one's command does not change.
        (waiting(RELAY, Reason.PODS_NOT_READY, SAID),
         full_of(maxBytes="1Mi", discard="New", ref="shared"), Reason.PODS_NOT_READY,
         "EventStream"),
    ],
)  # fmt: skip
def test_a_full_stream_is_the_reason(part: Part, full: Fullness, reason: Reason, held: str) -> None:
    found = full_part(part, full)
    assert (found.reason, found.status) == (reason, "False")
    assert found.message.startswith("the stream is full (")
    assert held in found.message
    assert full.way_out in found.message
    assert found.message.endswith(part.message)


@pytest.mark.parametrize(
    ("part", "full"),
    [
        (ok(RELAY, Reason.MINIMUM_REPLICAS), full_of(MIB, maxBytes="1Mi", discard="New")),
        # Another trouble, of which the pod speaks itself.
        (waiting(RELAY, Reason.PODS_NOT_READY, OTHER), full_of(MIB, maxBytes="1Mi", discard="New")),
        (waiting(RELAY, Reason.CRASH_LOOP_BACK_OFF, SAID), full_of(MIB, maxBytes="1Mi",
                                                                    discard="New")),
        (waiting(RELAY, Reason.RELAY_NOT_PROGRESSING, "5 rows wait"),
         full_of(MIB // 2, maxBytes="1Mi", discard="New")),
        (waiting(RELAY, Reason.RELAY_NOT_PROGRESSING, "5 rows wait"), full_of(MIB)),
    ],
)  # fmt: skip
def test_what_has_another_reason_stays_as_it_is(part: Part, full: Fullness | None) -> None:
    assert full_part(part, full) == part
