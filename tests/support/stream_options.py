"""Every option of streams and durable consumers, and what becomes of it in a pipeline.

One table, from which three things are made: a run on real servers for what works
(`tests/integration/test_stream_options.py`), a refusal by a real API server for what does not
(`tests/cluster/test_crds.py`), and the page `docs/reference/stream-options.md`. A unit test
compares it with the models: a new field needs a row here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A value of a field.

    Attributes:
        field: Name in `spec.stream` of a pipeline, or in `spec.consumers[]`.
        value: As in the resource.
        refused: Part of the API server's refusal; empty: it works.
        note: What to know of it, for the page.
        others: Fields that belong to it.
    """

    field: str
    value: Any
    refused: str = ""
    note: str = ""
    others: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Any]:
        """What a resource says."""
        return {self.field: self.value, **self.others}

    def __str__(self) -> str:
        return f"{self.field}={self.value}".replace(" ", "")


FORGETS: Final = (
    "Events that were consumed are gone from the stream, so duplicates after a crash are dropped "
    "within `duplicateWindow` only."
)
DROPS: Final = "The stream drops its oldest messages, consumed or not."

STREAM: Final = (
    Option(field="description", value="Orders of the shop"),
    Option(field="retention", value="Limits"),
    Option(field="retention", value="Interest", note=FORGETS),
    Option(field="retention", value="WorkQueue", note=FORGETS),
    Option(field="storage", value="File"),
    Option(
        field="storage", value="Memory", note="A restart of NATS forgets every event in the stream."
    ),
    Option(field="replicas", value=1),
    Option(field="maxAge", value="1h", note=DROPS),
    Option(field="maxBytes", value="10Mi", note=DROPS),
    Option(field="maxMessages", value=1000, note=DROPS),
    Option(field="maxMessagesPerSubject", value=1000, note=DROPS),
    Option(
        field="maxMessageSize",
        value="64Ki",
        note="A larger event goes to the dead letters, by `relay.onPoison`.",
    ),
    Option(field="maxConsumers", value=10),
    Option(
        field="discard",
        value="New",
        others={"maxMessages": 1000},
        note="A full stream takes no event; they wait in the outbox.",
    ),
    Option(
        field="discardNewPerSubject",
        value=True,
        others={"discard": "New", "maxMessagesPerSubject": 1000},
        note="A full subject takes no event; it and all behind it wait in the outbox.",
    ),
    Option(field="duplicateWindow", value="10s"),
    Option(field="compression", value="S2"),
    Option(field="noAck", value=True, refused="a pipeline needs acknowledgements"),
    Option(field="placement", value={}),
    Option(field="mirror", value={"name": "X"}, refused="a pipeline cannot publish into a mirror"),
    Option(
        field="sources",
        value=[{"name": "{prefix}-other"}],
        note="Consumers of the pipeline get what is copied, too.",
    ),
    Option(
        field="subjectTransform",
        value={"source": "{prefix}.>", "destination": "stored.{prefix}.>"},
        refused="instead of subjectTransform",
        note="Write the subject you want into `stream.subject`.",
    ),
    Option(field="sealed", value=True, refused="a pipeline cannot publish into a sealed stream"),
    Option(field="denyDelete", value=True),
    Option(field="denyPurge", value=True),
    Option(field="allowDirect", value=False),
    Option(field="mirrorDirect", value=False),
    Option(field="allowRollup", value=True),
    Option(field="allowMessageTTL", value=True),
    Option(
        field="subjectDeleteMarkerTTL",
        value="10m",
        refused="delete markers would be stored among a pipeline's events",
    ),
    Option(
        field="allowMessageCounter",
        value=True,
        refused="a stream of counters, which refuses every event",
    ),
    Option(field="allowAtomicPublish", value=True),
    Option(field="allowBatchPublish", value=True),
    Option(
        field="allowBatchPublish", value=False, note="The relay publishes several times as slowly."
    ),
    Option(field="allowMessageSchedules", value=True, others={"allowMessageTTL": True}),
    Option(
        field="persistMode",
        value="Async",
        others={"storage": "File"},
        note="NATS acknowledges before it writes: a crash loses events that count as published.",
    ),
    Option(field="firstSequence", value=100),
    Option(
        field="consumerLimits",
        value={"maxAckPending": 10_000},
        note="A consumer whose `maxAckPending` is larger (10,000 by default) is refused.",
    ),
    Option(
        field="consumerLimits",
        value={"inactiveThreshold": "1h"},
        refused="would remove the durable consumers of a pipeline that is stopped",
    ),
    Option(field="metadata", value={"team": "shop"}),
    Option(field="deadLetter", value={"maxAge": "30d"}),
    Option(field="adoptionPolicy", value="Adopt"),
)
"""For a stream that a pipeline publishes into. `republish` has a row of its own in the tests of
the relay."""

APART: Final = (
    {"denyPurge", "allowRollup"},
    {"denyPurge", "allowMessageSchedules"},
    {"persistMode", "allowAtomicPublish"},
)
"""What servers refuse together, and say so."""

UNTRIED: Final = {"republish"}

CONSUMER: Final = (
    Option(field="description", value="Bills orders"),
    Option(field="deliverPolicy", value="All"),
    Option(
        field="deliverPolicy",
        value="New",
        note="Where it starts when it is created, and again when somebody deletes it on the "
        "server: what was published in between is not handled.",
    ),
    Option(field="ackWait", value="10s"),
    Option(field="maxDeliver", value=-1),
    Option(field="maxDeliver", value=3),
    Option(field="maxDeliver", value=0, refused="maxDeliver is -1 or at least 1"),
    Option(field="backoff", value=["1s", "5s"]),
    Option(
        field="backoff",
        value=["1s"] * 16,
        refused="backoff has more delays than maxDeliver allows redeliveries",
    ),
    Option(field="maxAckPending", value=1, note="One event at a time over all pods."),
    Option(field="maxAckPending", value=-1),
    Option(field="maxWaiting", value=1, note="One pod reads, the others try again each second."),
    Option(field="maxRequestBatch", value=2),
    Option(field="maxRequestExpires", value="2s"),
    Option(field="maxRequestMaxBytes", value="64Ki"),
    Option(
        field="inactiveThreshold",
        value="1h",
        refused="would remove the durable consumer of a handler that is stopped",
    ),
    Option(field="numReplicas", value=1),
    Option(
        field="memoryStorage",
        value=True,
        note="A restart of NATS forgets how far it is: everything is handled again.",
    ),
    Option(
        field="headersOnly",
        value=True,
        refused="headersOnly leaves the payload out of dead letters too",
    ),
    Option(field="replayPolicy", value="Original", note="A backlog takes as long as it once did."),
    Option(field="sampleFrequency", value="10%"),
    Option(field="pauseUntil", value="2020-01-01T00:00:00Z"),
    Option(
        field="priorityPolicy",
        value="Overflow",
        refused="priorityPolicy needs priorityGroups",
    ),
    Option(field="metadata", value={"team": "shop"}),
)
"""For a consumer whose handler is an HTTP endpoint."""

ELSEWHERE: Final = {
    "startSequence", "startTime",  # with deliverPolicy
    "ackPolicy",  # tests/integration/consumer/test_ordering.py
    "priorityGroups", "pinnedTTL",  # with priorityPolicy; refused by plan.checks for handlers
}  # fmt: skip
"""Settings of a durable consumer that other tests are about."""


def together(options: Sequence[Option]) -> list[dict[str, Any]]:
    """What works, in as few resources as it takes: options also meet each other that way."""
    groups: list[dict[str, Any]] = []
    for option in options:
        if option.refused:
            continue
        for group in groups:
            names = {*group, *option.fields}
            if not any(pair <= names for pair in APART) and all(
                group.get(name, value) == value for name, value in option.fields.items()
            ):
                group.update(option.fields)
                break
        else:
            groups.append(option.fields)
    return groups


def filled(value: Any, prefix: str) -> Any:
    """A value with the names of one test in it."""
    match value:
        case str():
            return value.replace("{prefix}", prefix)
        case list():
            return [filled(part, prefix) for part in value]
        case Mapping():
            return {name: filled(part, prefix) for name, part in value.items()}
        case _:
            return value


def page() -> str:
    """The reference page."""
    parts = [
        "# Options of streams and consumers in a pipeline\n",
        "What a pipeline makes of each setting of JetStream. *Works* was run on real servers, with "
        "a relay that is\nkilled on the way; what is *refused* is refused when you apply it, for a "
        "stream that a pipeline refers to\n(`spec.stream.ref`) in its condition. Written by "
        "`tests/support/stream_options.py`; do not edit.\n",
        "## `spec.stream`\n",
        _table(STREAM),
        "## `spec.consumers[]` with a handler\n",
        _table(CONSUMER),
    ]
    return "\n".join(parts)


def _table(options: tuple[Option, ...]) -> str:
    lines = ["| Field | Value | | |", "|---|---|---|---|"]
    for option in options:
        shown = filled(option.value, "orders")
        what = "refused" if option.refused else "works"
        note = option.note or (f"“… {option.refused} …”" if option.refused else "")
        lines.append(f"| `{option.field}` | `{shown}` | {what} | {note} |")
    return "\n".join(lines) + "\n"
