"""What to do about a stream that was found, or about one that is not there.

Called over the configuration that `plan.jetstream.stream_config` renders. Pure. What is said here
of the server (what can be edited, what it adds by itself) was tried on nats-server 2.10 to 2.15;
tests/integration/jetstream repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from outbox_operator.errors import SpecError
from outbox_operator.plan.jetstream.decide import (
    Config,
    ConfigTraits,
    Decision,
    Refused,
    Setting,
    Update,
    decide,
    duration,
    limit,
    mark_of,
    named,
    nothing,
    only_on,
    own_metadata,
    unordered,
    without_empty,
)
from outbox_operator.plan.jetstream.stream_config import (
    BATCHES,
    BATCHES_LEVEL,
    COMPRESSION,
    DISCARD,
    PERSIST,
    RETENTION,
    STORAGE,
    TWO_MINUTES,
)
from outbox_operator.plan.ownership import Claim
from outbox_operator.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedStream:
    """A stream as the server described it.

    Attributes:
        config: Its configuration, as in the JetStream API.
        created: RFC 3339.
        leader: Server that leads it; None outside a cluster.
        clock: What time it was at the server.
        not_copied: Streams that it is to copy and gets nothing of, each with the server's word.
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    created: str | None = None
    messages: int = 0
    bytes: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    consumer_count: int = 0
    leader: str | None = None
    clock: datetime | None = field(default=None, compare=False)
    not_copied: tuple[str, ...] = ()

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subject filters in force."""
        return tuple(self.config.get("subjects") or ())

    @property
    def owner_uid(self) -> str | None:
        """UID of the resource whose mark it carries."""
        mark = mark_of(self.config)
        return None if mark is None else mark.uid


def decide_stream(
    desired: Config,
    observed: ObservedStream | None,
    *,
    claim: Claim,
    settled: bool,
    api_level: int,
) -> Decision:
    """What to do so that a stream is as desired.

    Args:
        desired: From `desired_stream` or `desired_dead_letter_stream`.
        observed: The stream, or None when there is none.
        claim: Who asks.
        settled: Whether this very specification was in force before; a difference is then drift.
        api_level: JetStream API level of the server.

    Returns:
        `InSync`, `Create`, `Update`, or `Refused` with a ConflictError, UnsafeChangeError,
        UnsupportedServerError or SpecError.
    """
    if observed is None and desired["sealed"]:
        return Refused(
            error=SpecError(
                f"stream {desired['name']}: spec.sealed is set, but a stream cannot be created "
                "sealed; create it, fill it, then seal it"
            )
        )
    decision = decide(
        _TRAITS,
        _with_batches(desired, observed, api_level),
        None if observed is None else observed.config,
        claim=claim,
        settled=settled,
        api_level=api_level,
    )
    if isinstance(decision, Update) and _only_batches(desired, decision):
        return replace(decision, drift=False)
    return decision


def _with_batches(desired: Config, observed: ObservedStream | None, api_level: int) -> Config:
    """The desired configuration with `allow_batched` decided, if that was left to us."""
    if BATCHES not in desired or desired[BATCHES] is not None:
        return desired
    known = {key: value for key, value in desired.items() if key != BATCHES}
    if desired["sealed"]:  # nothing can be changed any more, and nothing published
        on = observed is not None and bool(observed.config.get(BATCHES))
    else:
        on = api_level >= BATCHES_LEVEL
    return known | {BATCHES: True} if on else known


def _only_batches(desired: Config, decision: Update) -> bool:
    """Whether nothing but a default of ours is new: a newer server or operator, nobody's drift."""
    return desired.get(BATCHES, False) is None and all(
        change.field == "allowBatchPublish" for change in decision.changes
    )


def _retention_editable(found: object, wanted: object) -> bool:
    # Any other change would drop messages that no consumer asks for at this moment.
    return found == "interest" and wanted == "limits"


def _mirror_editable(_found: object, wanted: object) -> bool:
    return wanted is None  # promotion; servers before 2.12 refuse it themselves


def _first(value: Any) -> Any:
    return 0 if value <= 1 else value


def _canonical(config: Config) -> Config:
    """Without what the server decides by itself."""
    if config.get("mirror"):
        # A mirror takes this over from the stream it copies.
        config = config | {"mirror_direct": False}
    return config


_SETTINGS: Final = (
    Setting(key="description", field="description", default=""),
    Setting(key="subjects", field="subjects", normal=unordered),
    Setting(
        key="retention", field="retention", default="limits",
        editable=_retention_editable, text=named(RETENTION),
    ),
    Setting(
        key="storage", field="storage", default="file", editable=nothing, text=named(STORAGE)
    ),
    Setting(key="num_replicas", field="replicas", default=1),
    Setting(key="max_age", field="maxAge", default=0, text=duration),
    Setting(key="max_bytes", field="maxBytes", normal=limit),
    Setting(key="max_msgs", field="maxMessages", normal=limit),
    Setting(key="max_msgs_per_subject", field="maxMessagesPerSubject", normal=limit),
    Setting(key="max_msg_size", field="maxMessageSize", normal=limit),
    Setting(key="max_consumers", field="maxConsumers", normal=limit, editable=nothing),
    Setting(key="discard", field="discard", default="old", text=named(DISCARD)),
    Setting(key="discard_new_per_subject", field="discardNewPerSubject", default=False),
    Setting(
        key="duplicate_window", field="duplicateWindow", default=TWO_MINUTES, text=duration
    ),
    Setting(key="compression", field="compression", default="none", text=named(COMPRESSION)),
    Setting(key="no_ack", field="noAck", default=False),
    Setting(key="placement", field="placement", normal=without_empty),
    Setting(key="mirror", field="mirror", normal=without_empty, editable=_mirror_editable),
    Setting(key="sources", field="sources", default=[], normal=without_empty),
    Setting(key="subject_transform", field="subjectTransform", normal=without_empty),
    Setting(key="republish", field="republish", normal=without_empty),
    Setting(key="sealed", field="sealed", default=False, editable=only_on),
    Setting(key="deny_delete", field="denyDelete", default=False, editable=only_on),
    Setting(key="deny_purge", field="denyPurge", default=False, editable=only_on),
    Setting(key="allow_direct", field="allowDirect", default=False),
    Setting(key="mirror_direct", field="mirrorDirect", default=False),
    Setting(key="allow_rollup_hdrs", field="allowRollup", default=False),
    Setting(
        key="allow_msg_ttl", field="allowMessageTTL", default=False, editable=only_on, level=1
    ),
    Setting(
        key="subject_delete_marker_ttl", field="subjectDeleteMarkerTTL", default=0, level=1,
        text=duration,
    ),
    Setting(
        key="allow_msg_counter", field="allowMessageCounter", default=False, editable=nothing,
        level=2,
    ),
    Setting(key="allow_atomic", field="allowAtomicPublish", default=False, level=2),
    Setting(key=BATCHES, field="allowBatchPublish", default=False, level=BATCHES_LEVEL),
    Setting(
        key="allow_msg_schedules", field="allowMessageSchedules", default=False, editable=only_on,
        level=2,
    ),
    Setting(
        key="persist_mode", field="persistMode", default="default", editable=nothing, level=2,
        text=named(PERSIST),
    ),
    # The server takes a change of this and does nothing with it.
    Setting(key="first_seq", field="firstSequence", default=0, normal=_first, editable=nothing),
    Setting(key="consumer_limits", field="consumerLimits", normal=without_empty),
    Setting(key="metadata", field="metadata", normal=own_metadata),
)  # fmt: skip

_TRAITS: Final = ConfigTraits(
    what="stream",
    settings=_SETTINGS,
    exists_reason=Reason.STREAM_EXISTS,
    recreate="declare a stream of another name, or delete the stream with its messages and let "
    "it be created anew",
    canonical=_canonical,
)
