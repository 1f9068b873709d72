"""Numbers of an outbox and its relay, as status fields and conditions. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.pipeline import OutboxStatus, RelayStatus
from outbox_operator.api.v1alpha1.stream import StreamState
from outbox_operator.counted import counted
from outbox_operator.plan.advice import next_step
from outbox_operator.plan.postgres.state import OutboxNumbers
from outbox_operator.plan.status.conditions import Part, info, round_age, stamp, waiting
from outbox_operator.plan.status.workload import Replicas
from outbox_operator.reasons import Reason
from outbox_operator.wire.cursors import stream_made_anew_text

_REASONS: Final = frozenset(Reason)
LAG_ROWS = 5000
LAG_SECONDS = 60.0
STUCK_SECONDS = 20.0
"""A relay with backlog that published nothing for this long makes no progress."""


def outbox_status(numbers: OutboxNumbers) -> OutboxStatus:
    """The sample as a status field."""
    return OutboxStatus(
        backlogRows=numbers.backlog_rows,
        backlogIsEstimate=numbers.backlog_is_estimate,
        oldestAgeSeconds=round_age(numbers.oldest_age_seconds),
        deadLetters=numbers.dead_letters,
        sampledAt=stamp(numbers.taken_at),
    )


def relay_status(
    before: RelayStatus | None,
    earlier: OutboxNumbers | None,
    numbers: OutboxNumbers | None,
    pods: Replicas,
    restarts: int | None,
) -> RelayStatus:
    """Pods and progress of the relay.

    Args:
        before: What the status said last.
        earlier: The previous sample; the rate is over the time since then.
        numbers: The sample of this pass; None when there is none.
        pods: Numbers of the relay's pods.
        restarts: Restarts of their containers; None when they were not counted, because all is
            well: then it is what it was.
    """
    kept = before or RelayStatus()
    counted = kept.restarts if restarts is None else restarts
    if numbers is None:
        return kept.model_copy(
            update={
                "replicas": pods.existing,
                "readyReplicas": pods.ready,
                "publishedPerSecond": 0.0,
                "restarts": counted,
            }
        )
    rate = 0.0
    if earlier is not None:
        passed = (numbers.taken_at - earlier.taken_at).total_seconds()
        published = max(0, numbers.published_total - earlier.published_total)
        rate = float(f"{published / passed:.3g}") if passed > 0 else 0.0
    last = numbers.last_published_at
    return RelayStatus(
        replicas=pods.existing,
        readyReplicas=pods.ready,
        publishedTotal=numbers.published_total,
        publishedPerSecond=rate,
        lastPublishedTime=stamp(last) if last else None,
        position=numbers.last_position,
        restarts=counted,
    )


def progress_part(part: Part, numbers: OutboxNumbers) -> Part:
    """Ready pods are not enough: with backlog something must have been published lately."""
    if numbers.backlog_rows == 0 or numbers.oldest_age_seconds < STUCK_SECONDS:
        return part
    last = numbers.last_published_at
    quiet = (numbers.taken_at - last).total_seconds() if last else numbers.oldest_age_seconds
    if quiet < STUCK_SECONDS:
        return part
    since = f"for {quiet:.0f} s" if last else "ever"
    more = " or more" if numbers.backlog_is_estimate else ""
    return waiting(
        ConditionType.RELAY_AVAILABLE,
        Reason.RELAY_NOT_PROGRESSING,
        f"{counted(numbers.backlog_rows, 'row waits', 'rows wait', more=more)}, the oldest for "
        f"{numbers.oldest_age_seconds:.0f} s, and nothing was published {since}; "
        "see the relay's log and /readyz",
    )


def foreign_cursor_part(problem: str, meta: Meta) -> Part:
    """The cursors are another server's: only a person can say what shall be published.

    Args:
        problem: A sentence.
        meta: Of the pipeline.
    """
    reason = Reason.CURSOR_FROM_OTHER_SERVER
    command = next_step(reason, meta.kind, meta.namespace, meta.name)
    return Part(
        type=ConditionType.RELAY_AVAILABLE,
        status="False",
        reason=reason,
        message=f"{problem}; run: {command}",
        stalled=True,
    )


def lagging_part(numbers: OutboxNumbers) -> Part:
    """Whether the relay is behind; informs, never flips Ready."""
    more = "+" if numbers.backlog_is_estimate else ""
    if numbers.backlog_rows >= LAG_ROWS or numbers.oldest_age_seconds >= LAG_SECONDS:
        text = (
            f"{counted(numbers.backlog_rows, 'row waits', 'rows wait', more=more)}, "
            f"the oldest for {round_age(numbers.oldest_age_seconds):g} s"
        )
        return info(ConditionType.LAGGING, True, Reason.BACKLOG_ABOVE_THRESHOLD, text)
    return info(ConditionType.LAGGING, False, Reason.BELOW_THRESHOLD)


def foreign_publisher_part(numbers: OutboxNumbers) -> Part:
    """Whether somebody else publishes to the pipeline's subjects; informs, never flips Ready."""
    kind = ConditionType.FOREIGN_PUBLISHER
    reason, text = _reason_and_text(numbers.remark, Reason.PUBLISHING_WITHOUT_FENCE)
    if text and reason == Reason.PUBLISHING_WITHOUT_FENCE:
        return info(kind, True, reason, text)
    return info(kind, False, Reason.NOBODY_ELSE)


def unfenced_part(numbers: OutboxNumbers) -> Part:
    """Whether a relay publishes without the fence, for whatever reason; informs."""
    reason, text = _reason_and_text(numbers.remark, Reason.PUBLISHING_WITHOUT_FENCE)
    if text:
        return info(ConditionType.UNFENCED, True, reason, text)
    return info(ConditionType.UNFENCED, False, Reason.FENCED)


def rows_parts(numbers: OutboxNumbers, stream: StreamState | None) -> tuple[Part, ...]:
    """Say everything about an outbox that may be worth a look, and decides nothing.

    Args:
        numbers: Of the outbox.
        stream: As it is; None: not known.
    """
    return (
        lagging_part(numbers), foreign_publisher_part(numbers), unfenced_part(numbers),
        lost_events_part(numbers, stream), positions_moved_part(numbers),
    )  # fmt: skip


def lost_events_part(numbers: OutboxNumbers, stream: StreamState | None) -> Part:
    """Whether the stream lost what it had acknowledged; informs, because the relay heals it.

    Args:
        numbers: What relays have noted. They look when there is something to publish.
        stream: The stream as it is; None: nobody knows.
    """
    reason, text = _reason_and_text(numbers.notice, Reason.STREAM_ROLLED_BACK)
    if not text and stream is not None and _newer(stream.created, numbers.stream_created):
        reason = Reason.STREAM_RECREATED
        text = stream_made_anew_text(stream.name, stream.created or "")
    if text:
        return info(ConditionType.STREAM_LOST_EVENTS, True, reason, text)
    return info(ConditionType.STREAM_LOST_EVENTS, False, Reason.NOTHING_LOST)


def _newer(created: str | None, known: str | None) -> bool:
    """Whether a stream was made after the one that relays know. What is no time is not newer."""
    try:
        return datetime.fromisoformat(created or "") > datetime.fromisoformat(known or "")
    except (TypeError, ValueError):  # with and without a zone cannot be compared
        return False


def positions_moved_part(numbers: OutboxNumbers) -> Part:
    """Whether the sequence stood before positions in use; informs, because it was moved on."""
    reason, text = _reason_and_text(numbers.position_notice, Reason.SEQUENCE_BEHIND)
    if text:
        return info(ConditionType.POSITIONS_MOVED, True, reason, text)
    return info(ConditionType.POSITIONS_MOVED, False, Reason.SEQUENCE_AHEAD)


def _reason_and_text(remark: str | None, usual: Reason) -> tuple[Reason, str]:
    """What a relay wrote as `Reason: text`; relays of before wrote the text alone."""
    word, colon, text = (remark or "").partition(": ")
    if colon and word in _REASONS:
        return Reason(word), text
    return usual, remark or ""
