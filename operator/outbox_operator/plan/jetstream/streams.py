"""Streams: the configuration a specification asks for, and what to do about what was found.

Called by the controller and, for its values, by adapters.nats.admin. Pure. What is said here
of the server (what can be edited, what it adds by itself) was tried on nats-server 2.10 to 2.15;
tests/integration/jetstream repeats it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.api.fields import nanoseconds, size_bytes
from outbox_operator.api.v1alpha1.common import AdoptionPolicy
from outbox_operator.api.v1alpha1.stream import EventStreamSpec, StreamSource, SubjectTransform
from outbox_operator.errors import SpecError
from outbox_operator.plan.jetstream.decide import (
    Config,
    Create,
    Decision,
    InSync,
    Kind,
    Refused,
    Setting,
    Update,
    at_least_zero,
    decide,
    duration,
    limit,
    metadata_with_marks,
    named,
    nothing,
    only_on,
    own_metadata,
    rfc3339,
    switched_on,
    unordered,
    without_empty,
)
from outbox_operator.plan.state import Owner
from outbox_operator.reasons import Reason
from outbox_operator.wire.dead_letters import advisory_subjects
from outbox_operator.wire.subjects import is_valid_filter, overlaps

__all__ = [
    "Create",
    "InSync",
    "ObservedStream",
    "Refused",
    "StreamDecision",
    "Update",
    "dead_letter_name",
    "dead_letter_prefix",
    "decide_stream",
    "desired_dead_letter_stream",
    "desired_stream",
]

StreamDecision = Decision

DEAD_LETTERS_OF_METADATA: Final = f"{meta.GROUP}/dead-letters-of"
"""Metadata of a dead-letter stream: name of the stream whose letters it keeps."""

_RETENTION: Final = {"Limits": "limits", "Interest": "interest", "WorkQueue": "workqueue"}
_STORAGE: Final = {"File": "file", "Memory": "memory"}
_DISCARD: Final = {"Old": "old", "New": "new"}
_COMPRESSION: Final = {"None": "none", "S2": "s2"}
_PERSIST: Final = {"Default": "default", "Async": "async"}
_BATCHES: Final = "allow_batched"
_BATCHES_LEVEL: Final = 4
_TWO_MINUTES: Final = 120_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedStream:
    """A stream as the server described it.

    Attributes:
        config: Its configuration, as in the JetStream API.
        created: RFC 3339.
        leader: Server that leads it; None outside a cluster.
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

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subject filters in force."""
        return tuple(self.config.get("subjects") or ())

    @property
    def owner_uid(self) -> str | None:
        """UID of the resource whose mark it carries."""
        uid = own_metadata(self.config.get("metadata")).get(meta.OWNER_METADATA)
        return None if uid is None else str(uid)


def desired_stream(spec: EventStreamSpec, owner: Owner) -> Config:
    """The whole configuration of a stream, as the JetStream API takes it.

    Every field is present, so that a field removed from the specification gets its default back;
    only fields that newer servers brought are left out unless asked for. `allow_batched` may be
    None, for `decide_stream` to fill in: on where the server has it.

    Raises:
        SpecError: A subject, time, duration, size or combination no server accepts.
    """
    _check(spec)
    max_age = nanoseconds(spec.maxAge)
    window = nanoseconds(spec.duplicateWindow)
    config: Config = {
        "name": spec.name,
        "description": spec.description or "",
        "subjects": list(spec.subjects),
        "retention": _RETENTION[spec.retention],
        "storage": _STORAGE[spec.storage],
        "num_replicas": spec.replicas,
        "max_age": max_age,
        "max_bytes": limit(size_bytes(spec.maxBytes)),
        "max_msgs": limit(spec.maxMessages),
        "max_msgs_per_subject": limit(spec.maxMessagesPerSubject),
        "max_msg_size": limit(size_bytes(spec.maxMessageSize)),
        "max_consumers": limit(spec.maxConsumers),
        "discard": _DISCARD[spec.discard],
        "discard_new_per_subject": spec.discardNewPerSubject,
        # The server refuses a window longer than maxAge, and the default, unlike one that was
        # written, must not stop anyone from declaring a stream that forgets sooner.
        "duplicate_window": min(window, max_age) if max_age else window,
        "compression": _COMPRESSION[spec.compression],
        "no_ack": spec.noAck,
        "placement": without_empty(spec.placement.model_dump()) if spec.placement else None,
        "mirror": _source(spec.mirror, "spec.mirror") if spec.mirror else None,
        "sources": [
            _source(source, f"spec.sources[{index}]") for index, source in enumerate(spec.sources)
        ],
        "subject_transform": _transform(spec.subjectTransform) if spec.subjectTransform else None,
        "republish": (
            {
                "src": spec.republish.source,
                "dest": spec.republish.destination,
                "headers_only": spec.republish.headersOnly,
            }
            if spec.republish
            else None
        ),
        "sealed": spec.sealed,
        "deny_delete": spec.denyDelete,
        "deny_purge": spec.denyPurge,
        "allow_direct": spec.allowDirect,
        "mirror_direct": spec.mirrorDirect,
        "allow_rollup_hdrs": spec.allowRollup,
        "first_seq": spec.firstSequence or 0,
        "consumer_limits": _consumer_limits(spec),
        "metadata": metadata_with_marks(spec.metadata, owner),
    }
    marker = nanoseconds(spec.subjectDeleteMarkerTTL or "0")
    config = switched_on(
        config,
        (
            # Markers are messages with a lifetime of their own; the server switches this on too.
            ("allow_msg_ttl", spec.allowMessageTTL or marker > 0),
            ("subject_delete_marker_ttl", marker),
            ("allow_msg_counter", spec.allowMessageCounter),
            ("allow_atomic", spec.allowAtomicPublish),
            (_BATCHES, spec.allowBatchPublish),
            ("allow_msg_schedules", spec.allowMessageSchedules),
            ("persist_mode", "async" if spec.persistMode == "Async" else None),
        ),
    )
    if spec.allowBatchPublish is None and spec.mirror is None:
        config[_BATCHES] = None  # decide_stream knows the server
    if marker or spec.allowMessageSchedules:
        config["allow_rollup_hdrs"] = True  # implied by the server
    if spec.sealed:
        # What sealing turns these into.
        config |= {
            "max_age": 0, "discard": "new", "deny_delete": True, "deny_purge": True,
            "allow_rollup_hdrs": False, "duplicate_window": window,
        }  # fmt: skip
    return config


def dead_letter_name(spec: EventStreamSpec) -> str:
    """Name of the stream that keeps dead letters."""
    return (spec.deadLetter.name if spec.deadLetter else None) or f"{spec.name}_DLQ"


def dead_letter_prefix(spec: EventStreamSpec) -> str:
    """Dead letters of a consumer go to `<this>.<durable name>`."""
    return (spec.deadLetter.subjectPrefix if spec.deadLetter else None) or f"dlq.{spec.name}"


def desired_dead_letter_stream(spec: EventStreamSpec, owner: Owner) -> Config | None:
    """The whole configuration of the dead-letter stream; None when none is asked for.

    It lives where and how its stream lives.

    Raises:
        SpecError: Its name or subjects collide with the stream's.
    """
    letters = spec.deadLetter
    if letters is None:
        return None
    name, subject = dead_letter_name(spec), f"{dead_letter_prefix(spec)}.>"
    if name == spec.name:
        raise SpecError(f"spec.deadLetter.name: {name!r} is the stream itself; choose another name")
    if not is_valid_filter(subject) or "*" in subject:
        raise SpecError(
            f"spec.deadLetter.subjectPrefix: {dead_letter_prefix(spec)!r} is not a subject without "
            "wildcards, for example dlq.orders"
        )
    for index, other in enumerate(spec.subjects):
        if overlaps(other, subject):
            raise SpecError(
                f"spec.deadLetter.subjectPrefix: dead letters on {subject!r} would be stored in "
                f"stream {spec.name} again, whose spec.subjects[{index}] is {other!r}; choose a "
                "prefix outside of it"
            )
    advisories = advisory_subjects(spec.name) if letters.captureAdvisories else ()
    config = desired_stream(
        EventStreamSpec(
            nats=spec.nats,
            name=name,
            subjects=[subject, *advisories],
            description=f"Dead letters of stream {spec.name}",
            storage=spec.storage,
            replicas=spec.replicas,
            placement=spec.placement,
            maxAge=letters.maxAge,
            maxBytes=letters.maxBytes,
            maxMessages=letters.maxMessages,
            allowBatchPublish=False,
        ),
        owner,
    )
    config["metadata"] |= {DEAD_LETTERS_OF_METADATA: spec.name}
    return config


def decide_stream(
    desired: Config,
    observed: ObservedStream | None,
    *,
    owner: Owner,
    adoption: AdoptionPolicy,
    settled: bool,
    live_owners: Container[str],
    yielding_owners: Container[str] = frozenset(),
    api_level: int,
) -> StreamDecision:
    """What to do so that a stream is as desired.

    Args:
        desired: From `desired_stream` or `desired_dead_letter_stream`.
        observed: The stream, or None when there is none.
        owner: Who asks.
        adoption: What to do about a stream that belongs to nobody.
        settled: Whether this very specification was in force before; a difference is then drift.
        live_owners: UIDs of all resources that exist.
        yielding_owners: UIDs of younger resources that claim the same stream; their mark yields.
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
        _KIND,
        _with_batches(desired, observed, api_level),
        None if observed is None else observed.config,
        owner=owner,
        adoption=adoption,
        settled=settled,
        live_owners=live_owners,
        yielding_owners=yielding_owners,
        api_level=api_level,
    )
    if isinstance(decision, Update) and _only_batches(desired, decision):
        return replace(decision, drift=False)
    return decision


def _with_batches(desired: Config, observed: ObservedStream | None, api_level: int) -> Config:
    """The desired configuration with `allow_batched` decided, if that was left to us."""
    if _BATCHES not in desired or desired[_BATCHES] is not None:
        return desired
    known = {key: value for key, value in desired.items() if key != _BATCHES}
    if desired["sealed"]:  # nothing can be changed any more, and nothing published
        on = observed is not None and bool(observed.config.get(_BATCHES))
    else:
        on = api_level >= _BATCHES_LEVEL
    return known | {_BATCHES: True} if on else known


def _only_batches(desired: Config, decision: Update) -> bool:
    """Whether nothing but a default of ours is new: a newer server or operator, nobody's drift."""
    return desired.get(_BATCHES, False) is None and all(
        change.field == "allowBatchPublish" for change in decision.changes
    )


def _check(spec: EventStreamSpec) -> None:
    """Refuse what every server refuses, with a better message."""
    for index, subject in enumerate(spec.subjects):
        path = f"spec.subjects[{index}]"
        if not is_valid_filter(subject):
            raise SpecError(
                f"{path}: {subject!r} is not a subject; write tokens joined by dots, where * "
                "stands for one token and > for all the rest"
            )
        for earlier in spec.subjects[:index]:
            if overlaps(earlier, subject):
                raise SpecError(
                    f"{path}: {subject!r} overlaps {earlier!r} of the same list; keep the wider one"
                )
    max_age, window = nanoseconds(spec.maxAge), nanoseconds(spec.duplicateWindow)
    default = EventStreamSpec.model_fields["duplicateWindow"].default
    if 0 < max_age < window and spec.duplicateWindow != default:
        raise SpecError(
            f"spec.duplicateWindow: wanted at most maxAge, {spec.maxAge}, after which the stream "
            f"knows nothing of a message; found {spec.duplicateWindow}"
        )
    for field_name in ("subjectDeleteMarkerTTL", "allowMessageSchedules", "allowRollup"):
        if getattr(spec, field_name) and spec.denyPurge:
            raise SpecError(
                f"spec.denyPurge cannot be combined with spec.{field_name}, which purges subjects"
            )


def _source(source: StreamSource, path: str) -> Config:
    if source.filterSubject and not is_valid_filter(source.filterSubject):
        raise SpecError(f"{path}.filterSubject: {source.filterSubject!r} is not a subject")
    parts: Config = {
        "name": source.name,
        "opt_start_seq": source.startSequence,
        "opt_start_time": (
            rfc3339(source.startTime, f"{path}.startTime") if source.startTime else None
        ),
        "filter_subject": source.filterSubject,
        "subject_transforms": [_transform(part) for part in source.subjectTransforms],
    }
    if source.externalApiPrefix or source.externalDeliverPrefix:
        parts["external"] = {
            "api": source.externalApiPrefix or "",
            "deliver": source.externalDeliverPrefix or "",
        }
    return {key: value for key, value in parts.items() if value}


def _transform(transform: SubjectTransform) -> Config:
    return {"src": transform.source, "dest": transform.destination}


def _consumer_limits(spec: EventStreamSpec) -> Config:
    limits = spec.consumerLimits
    if limits is None:
        return {}
    return {
        "inactive_threshold": nanoseconds(limits.inactiveThreshold or "0"),
        "max_ack_pending": at_least_zero(limits.maxAckPending),
    }


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
        editable=_retention_editable, text=named(_RETENTION),
    ),
    Setting(
        key="storage", field="storage", default="file", editable=nothing, text=named(_STORAGE)
    ),
    Setting(key="num_replicas", field="replicas", default=1),
    Setting(key="max_age", field="maxAge", default=0, text=duration),
    Setting(key="max_bytes", field="maxBytes", normal=limit),
    Setting(key="max_msgs", field="maxMessages", normal=limit),
    Setting(key="max_msgs_per_subject", field="maxMessagesPerSubject", normal=limit),
    Setting(key="max_msg_size", field="maxMessageSize", normal=limit),
    Setting(key="max_consumers", field="maxConsumers", normal=limit, editable=nothing),
    Setting(key="discard", field="discard", default="old", text=named(_DISCARD)),
    Setting(key="discard_new_per_subject", field="discardNewPerSubject", default=False),
    Setting(
        key="duplicate_window", field="duplicateWindow", default=_TWO_MINUTES, text=duration
    ),
    Setting(key="compression", field="compression", default="none", text=named(_COMPRESSION)),
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
    Setting(key=_BATCHES, field="allowBatchPublish", default=False, level=_BATCHES_LEVEL),
    Setting(
        key="allow_msg_schedules", field="allowMessageSchedules", default=False, editable=only_on,
        level=2,
    ),
    Setting(
        key="persist_mode", field="persistMode", default="default", editable=nothing, level=2,
        text=named(_PERSIST),
    ),
    # The server takes a change of this and does nothing with it.
    Setting(key="first_seq", field="firstSequence", default=0, normal=_first, editable=nothing),
    Setting(key="consumer_limits", field="consumerLimits", normal=without_empty),
    Setting(key="metadata", field="metadata", normal=own_metadata),
)  # fmt: skip

_KIND: Final = Kind(
    what="stream",
    settings=_SETTINGS,
    exists_reason=Reason.STREAM_EXISTS,
    recreate="declare a stream of another name, or delete the stream with its messages and let "
    "it be created anew",
    canonical=_canonical,
)
