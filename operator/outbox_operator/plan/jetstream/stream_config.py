"""The configuration that an EventStream's specification asks for, as the JetStream API takes it.

What to do when the server has another one is decided in `plan.jetstream.streams`. Pure. What is
said here of the server was tried on nats-server 2.10 to 2.15; tests/integration/jetstream repeats
it.
"""

from __future__ import annotations

from typing import Final

from outbox_operator.api import meta
from outbox_operator.api.fields import nanoseconds, size_bytes
from outbox_operator.api.v1alpha1.stream import EventStreamSpec
from outbox_operator.api.v1alpha1.stream_parts import StreamSource, SubjectTransform
from outbox_operator.errors import SpecError
from outbox_operator.plan.jetstream.decide import (
    Config,
    at_least_zero,
    limit,
    metadata_with_marks,
    rfc3339,
    switched_on,
    without_empty,
)
from outbox_operator.plan.state import Owner
from outbox_operator.wire.dead_letters import advisory_subjects
from outbox_operator.wire.subjects import first_overlap, is_valid_filter, overlaps

DEAD_LETTERS_OF_METADATA: Final = f"{meta.GROUP}/dead-letters-of"
"""Metadata of a dead-letter stream: name of the stream whose letters it keeps."""

RETENTION: Final = {"Limits": "limits", "Interest": "interest", "WorkQueue": "workqueue"}
STORAGE: Final = {"File": "file", "Memory": "memory"}
DISCARD: Final = {"Old": "old", "New": "new"}
COMPRESSION: Final = {"None": "none", "S2": "s2"}
PERSIST: Final = {"Default": "default", "Async": "async"}
BATCHES: Final = "allow_batched"
BATCHES_LEVEL: Final = 4
TWO_MINUTES: Final = 120_000_000_000


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
        "retention": RETENTION[spec.retention],
        "storage": STORAGE[spec.storage],
        "num_replicas": spec.replicas,
        "max_age": max_age,
        "max_bytes": limit(size_bytes(spec.maxBytes)),
        "max_msgs": limit(spec.maxMessages),
        "max_msgs_per_subject": limit(spec.maxMessagesPerSubject),
        "max_msg_size": limit(size_bytes(spec.maxMessageSize)),
        "max_consumers": limit(spec.maxConsumers),
        "discard": DISCARD[spec.discard],
        "discard_new_per_subject": spec.discardNewPerSubject,
        # The server refuses a window longer than maxAge, and the default, unlike one that was
        # written, must not stop anyone from declaring a stream that forgets sooner.
        "duplicate_window": min(window, max_age) if max_age else window,
        "compression": COMPRESSION[spec.compression],
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
            (BATCHES, spec.allowBatchPublish),
            ("allow_msg_schedules", spec.allowMessageSchedules),
            ("persist_mode", "async" if spec.persistMode == "Async" else None),
        ),
    )
    if spec.allowBatchPublish is None and spec.mirror is None:
        config[BATCHES] = None  # decide_stream knows the server
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


def _check(spec: EventStreamSpec) -> None:
    """Refuse what every server refuses, with a better message."""
    if "." in spec.name:
        raise SpecError(f"spec.name: the name of a JetStream stream has no dots: {spec.name!r}")
    for index, subject in enumerate(spec.subjects):
        path = f"spec.subjects[{index}]"
        if not is_valid_filter(subject):
            raise SpecError(
                f"{path}: {subject!r} is not a subject; write tokens joined by dots, where * "
                "stands for one token and > for all the rest"
            )
    overlap = first_overlap(spec.subjects)
    if overlap is not None:
        earlier, index = overlap
        raise SpecError(
            f"spec.subjects[{index}]: {spec.subjects[index]!r} overlaps "
            f"{spec.subjects[earlier]!r} of the same list; keep the wider one"
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
