"""Durable consumers: the configuration a specification asks for, and what to do about what is.

Called by the controller and, for its values, by adapters.nats.admin. Pure. What is said here
of the server was tried on nats-server 2.10 to 2.15; tests/integration/jetstream repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from outbox_operator.api.fields import nanoseconds, size_bytes
from outbox_operator.api.v1alpha1.consumer import ConsumerConfigSpec, EventConsumerSpec
from outbox_operator.errors import SpecError
from outbox_operator.plan.jetstream.decide import (
    Config,
    ConfigTraits,
    Decision,
    Refused,
    Setting,
    at_least_zero,
    decide,
    duration,
    durations,
    limit,
    mark_of,
    metadata_with_marks,
    moment,
    named,
    nothing,
    own_metadata,
    rfc3339,
    switched_on,
    time_text,
    unordered,
)
from outbox_operator.plan.jetstream.starts import keeping_reset
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.state import Owner
from outbox_operator.reasons import Reason
from outbox_operator.wire.subjects import first_overlap, is_valid_filter

_DELIVER: Final = {
    "All": "all",
    "Last": "last",
    "New": "new",
    "ByStartSequence": "by_start_sequence",
    "ByStartTime": "by_start_time",
    "LastPerSubject": "last_per_subject",
}
_ACK: Final = {"Explicit": "explicit", "All": "all", "None": "none"}
_REPLAY: Final = {"Instant": "instant", "Original": "original"}
SINGLE_READER_GROUP: Final = "outbox"
SINGLE_READER_TTL: Final = "20s"
"""So long after a reader is gone another one takes over, unless spec.pinnedTTL says otherwise."""
_PINNING_LEVEL: Final = 1
_PRIORITY: Final = {
    "None": "none",
    "Overflow": "overflow",
    "PinnedClient": "pinned_client",
    "Prioritized": "prioritized",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedConsumer:
    """A durable consumer as the server described it.

    Attributes:
        config: Its configuration, as in the JetStream API.
        created: RFC 3339.
        pending: Messages not delivered yet.
        ack_pending: Delivered and not acknowledged.
        ack_floor: Up to this stream sequence all are done.
        delivered: Deliveries since it was made, those of a message that came again included.
        leader: Server that leads it; None outside a cluster.
    """

    name: str
    stream: str
    config: Mapping[str, Any] = field(default_factory=dict)
    created: str | None = None
    pending: int = 0
    ack_pending: int = 0
    redelivered: int = 0
    waiting: int = 0
    ack_floor: int = 0
    delivered: int = 0
    leader: str | None = None

    @property
    def filters(self) -> tuple[str, ...]:
        """Subjects that it is given; empty: all."""
        one, several = self.config.get("filter_subject"), self.config.get("filter_subjects")
        if one:
            return (str(one),)
        return tuple(map(str, several)) if isinstance(several, list) else ()

    @property
    def owner_uid(self) -> str | None:
        """UID of the resource whose mark it carries."""
        mark = mark_of(self.config)
        return None if mark is None else mark.uid


def desired_consumer(
    spec: EventConsumerSpec, durable: str, owner: Owner, *, runtime: bool, api_level: int
) -> Config:
    """The whole configuration of a durable consumer, as the JetStream API takes it.

    Args:
        spec: What is asked for.
        durable: Name of the durable consumer.
        owner: Who asks.
        runtime: Whether a program of ours handles them, see `settles_itself`.
        api_level: What the server knows; see `_single_reader`.

    Raises:
        SpecError: A subject, time, duration, size or combination no server accepts.
    """
    _check(spec, runtime)
    filters = list(spec.filterSubjects)
    # Our runtime counts deliveries, waits between them and dead-letters by itself. If the server
    # gave up first, the message would be stuck instead of in the dead-letter stream; and a
    # server-side back-off would replace ackWait by its first, short step.
    backoff = [] if runtime else [nanoseconds(step) for step in spec.backoff]
    config: Config = {
        "name": durable,
        "durable_name": durable,
        "description": spec.description or "",
        "deliver_policy": _DELIVER[spec.deliverPolicy],
        "ack_policy": _ACK[spec.ackPolicy],
        # With a back-off its first step is the wait for the first acknowledgement.
        "ack_wait": backoff[0] if backoff else nanoseconds(spec.ackWait),
        "max_deliver": -1 if runtime else limit(spec.maxDeliver),
        "backoff": backoff,
        "max_ack_pending": spec.maxAckPending,
        "max_waiting": spec.maxWaiting,
        "max_batch": spec.maxRequestBatch or 0,
        "max_expires": nanoseconds(spec.maxRequestExpires or "0"),
        "max_bytes": at_least_zero(size_bytes(spec.maxRequestMaxBytes or "-1")),
        "inactive_threshold": nanoseconds(spec.inactiveThreshold or "0"),
        "num_replicas": spec.numReplicas,
        "mem_storage": spec.memoryStorage,
        "headers_only": spec.headersOnly,
        "replay_policy": _REPLAY[spec.replayPolicy],
        "sample_freq": spec.sampleFrequency or "",
        "metadata": metadata_with_marks(spec.metadata, owner),
    }
    if len(filters) == 1:
        config["filter_subject"] = filters[0]
    else:
        config["filter_subjects"] = filters
    if spec.deliverPolicy == "ByStartSequence":
        config["opt_start_seq"] = spec.startSequence
    if spec.startTime is not None:
        config["opt_start_time"] = rfc3339(spec.startTime, "spec.startTime")
    config = switched_on(
        config,
        (
            (
                "pause_until",
                rfc3339(spec.pauseUntil, "spec.pauseUntil") if spec.pauseUntil else None,
            ),
            (
                "priority_policy",
                _PRIORITY[spec.priorityPolicy] if spec.priorityPolicy != "None" else None,
            ),
            ("priority_groups", list(spec.priorityGroups)),
            ("priority_timeout", nanoseconds(spec.pinnedTTL or "0")),
        ),
    )
    if runtime and is_ordered(spec):
        return _single_reader(config, api_level)
    return config


def handled_by_runtime(spec: ConsumerConfigSpec) -> bool:
    """Whether our runtime handles the events, rather than a program of somebody else's."""
    handler = spec.handler
    return handler is not None and (handler.http is not None or handler.python is not None)


def settles_itself(spec: ConsumerConfigSpec) -> bool:
    """Whether a program of ours decides what becomes of a message, so that the server never does:
    our runtime, or what writes an archive."""
    archives = spec.handler is not None and spec.handler.archive is not None
    return archives or handled_by_runtime(spec)


def is_ordered(spec: ConsumerConfigSpec) -> bool:
    """Whether our runtime keeps an order, so that one pod at a time may read."""
    return spec.ordering == "PerKey" or (spec.inbox is not None and spec.inbox.mode == "PerShard")


def _single_reader(config: Config, api_level: int) -> Config:
    """Have the server give messages to one reader at a time; before 2.11 one message at a time."""
    if api_level < _PINNING_LEVEL:
        return config | {"max_ack_pending": 1}
    return {
        "priority_policy": _PRIORITY["PinnedClient"],
        "priority_groups": [SINGLE_READER_GROUP],
        "priority_timeout": nanoseconds(SINGLE_READER_TTL),
        **config,
    }


def decide_consumer(
    desired: Config,
    observed: ObservedConsumer | None,
    *,
    claim: Claim,
    settled: bool,
    api_level: int,
    handled: bool,
    stream_config: Mapping[str, Any] | None = None,
) -> Decision:
    """What to do so that a durable consumer is as desired; arguments as `decide_stream`.

    Args:
        handled: Whether pods of ours read it, which may be stopped for a while.
        stream_config: Configuration of its stream, whose consumer limits fill in an
            inactiveThreshold that was left out.
    """
    limits = (stream_config or {}).get("consumer_limits") or {}
    if handled and limits.get("inactive_threshold"):
        return Refused(
            error=SpecError(
                f"stream {(stream_config or {}).get('name')}: its consumerLimits.inactiveThreshold "
                f"({duration(limits['inactive_threshold'])}) would remove this durable consumer "
                "when its handler is stopped, and with it how far it is; wanted a stream without "
                "it, or a consumer without handler"
            )
        )
    if not desired["inactive_threshold"]:
        desired = desired | {"inactive_threshold": limits.get("inactive_threshold") or 0}
    if observed is not None:
        desired = keeping_reset(desired, observed.config)
    return decide(
        _TRAITS,
        desired,
        None if observed is None else observed.config,
        claim=claim,
        settled=settled,
        api_level=api_level,
    )


def _check(spec: EventConsumerSpec, runtime: bool) -> None:
    """Refuse what every server refuses, with a better message."""
    for index, subject in enumerate(spec.filterSubjects):
        path = f"spec.filterSubjects[{index}]"
        if not is_valid_filter(subject):
            raise SpecError(f"{path}: {subject!r} is not a subject")
    overlap = first_overlap(spec.filterSubjects)
    if overlap is not None:
        earlier, index = overlap
        raise SpecError(
            f"spec.filterSubjects[{index}]: {spec.filterSubjects[index]!r} overlaps "
            f"{spec.filterSubjects[earlier]!r} of the same list; keep the wider one"
        )
    for name, policy in (("startSequence", "ByStartSequence"), ("startTime", "ByStartTime")):
        given = getattr(spec, name) is not None
        if given != (spec.deliverPolicy == policy):
            raise SpecError(
                f"spec.{name} and spec.deliverPolicy: {policy} belong together: set both or neither"
            )
    if not runtime and 0 < spec.maxDeliver < len(spec.backoff):
        raise SpecError(
            f"spec.backoff has {len(spec.backoff)} steps but spec.maxDeliver is {spec.maxDeliver}; "
            "there must not be more steps than deliveries"
        )
    if bool(spec.priorityGroups) != (spec.priorityPolicy != "None"):
        raise SpecError(
            "spec.priorityGroups and spec.priorityPolicy belong together: set both or neither"
        )
    if spec.pinnedTTL is not None and spec.priorityPolicy != "PinnedClient":
        raise SpecError("spec.pinnedTTL needs spec.priorityPolicy: PinnedClient")


def _canonical(config: Config) -> Config:
    """One filter and many are the same list."""
    if config.get("filter_subject"):
        return config | {"filter_subjects": [config["filter_subject"]]}
    return config


_SETTINGS: Final = (
    Setting(key="description", field="description", default=""),
    Setting(
        key="deliver_policy", field="deliverPolicy", default="all", editable=nothing,
        text=named(_DELIVER),
    ),
    Setting(key="opt_start_seq", field="startSequence", default=0, editable=nothing),
    Setting(
        key="opt_start_time", field="startTime", normal=moment, editable=nothing, text=time_text
    ),
    Setting(
        key="ack_policy", field="ackPolicy", default="explicit", editable=nothing,
        text=named(_ACK),
    ),
    Setting(key="ack_wait", field="ackWait", default=0, text=duration),
    Setting(key="max_deliver", field="maxDeliver", normal=limit),
    Setting(key="backoff", field="backoff", default=[], text=durations),
    Setting(key="max_ack_pending", field="maxAckPending", default=0),
    Setting(key="max_waiting", field="maxWaiting", default=0, editable=nothing),
    Setting(key="max_batch", field="maxRequestBatch", default=0),
    Setting(key="max_expires", field="maxRequestExpires", default=0, text=duration),
    Setting(key="max_bytes", field="maxRequestMaxBytes", default=0),
    Setting(key="inactive_threshold", field="inactiveThreshold", default=0, text=duration),
    Setting(key="num_replicas", field="numReplicas", default=0),
    # Older servers take a change of this, newer ones refuse it.
    Setting(key="mem_storage", field="memoryStorage", default=False, editable=nothing),
    Setting(key="headers_only", field="headersOnly", default=False),
    Setting(
        key="replay_policy", field="replayPolicy", default="instant", editable=nothing,
        text=named(_REPLAY),
    ),
    Setting(key="sample_freq", field="sampleFrequency", default=""),
    Setting(key="pause_until", field="pauseUntil", normal=moment, level=1, text=time_text),
    Setting(
        key="priority_policy", field="priorityPolicy", default="none", level=1,
        text=named(_PRIORITY),
    ),
    Setting(key="priority_groups", field="priorityGroups", level=1, normal=unordered),
    Setting(key="priority_timeout", field="pinnedTTL", default=0, level=1, text=duration),
    Setting(key="filter_subjects", field="filterSubjects", normal=unordered),
    # Ours are pulled from. One that pushes can only be found, and cannot be turned around.
    Setting(key="deliver_subject", field="(push delivery)", default="", editable=nothing),
    Setting(key="metadata", field="metadata", normal=own_metadata),
)  # fmt: skip

_TRAITS: Final = ConfigTraits(
    what="durable consumer",
    settings=_SETTINGS,
    exists_reason=Reason.CONSUMER_EXISTS,
    recreate="declare one with another durableName, or delete the durable consumer with its "
    "position and let it be created anew",
    canonical=_canonical,
)
