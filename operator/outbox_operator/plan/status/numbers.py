"""What the operator exports of the objects in its care: names, labels, help and values. Pure.

The values are those that passes sample for statuses: nothing is asked for the metrics' sake. What
a pass could not find out is left out, because unknown is not zero; the time of the last sample
stays and says since when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from outbox_operator.telemetry.declaration import Declaration

_OF_PIPELINE: Final = ("namespace", "pipeline")
_OF_CONSUMER: Final = ("namespace", "consumer", "pipeline", "stream")
_OF_STREAM: Final = ("namespace", "stream", "pipeline")


def _gauge(name: str, help_text: str, labels: Sequence[str]) -> Declaration:
    return Declaration("gauge", f"outbox_{name}", help_text, tuple(labels))


def _pipeline(name: str, help_text: str) -> Declaration:
    return _gauge(f"pipeline_{name}", help_text, _OF_PIPELINE)


def _consumer(name: str, help_text: str) -> Declaration:
    return _gauge(f"consumer_{name}", help_text, _OF_CONSUMER)


def _stream(name: str, help_text: str) -> Declaration:
    return _gauge(f"stream_{name}", help_text, _OF_STREAM)


BACKLOG_ROWS: Final = _pipeline(
    "backlog_rows", "Committed rows that are not published, whatever their relay says."
)
BACKLOG_IS_ESTIMATE: Final = _pipeline(
    "backlog_is_estimate", "1 when the backlog is at least that large: counting stopped there."
)
OLDEST_AGE_SECONDS: Final = _pipeline(
    "oldest_age_seconds", "Age of the oldest row that is not published; 0 when none waits."
)
PIPELINE_DEAD_LETTERS: Final = _pipeline("dead_letters", "Rows in the dead-letter table.")
PUBLISHED: Final = Declaration(
    "counter",
    "outbox_pipeline_published_total",
    "Events published since the pipeline was made, whichever relay it was.",
    _OF_PIPELINE,
)
RELAY_WANTED: Final = _pipeline(
    "relay_wanted_replicas", "Relay pods that are wanted; 0 when it is stopped."
)
RELAY_READY: Final = _pipeline("relay_ready_replicas", "Relay pods that are ready.")
RELAY_LIMIT: Final = _pipeline(
    "relay_limit_replicas",
    "Most relay pods that autoscaling asks for: maxReplicas, or as many as can work.",
)
PIPELINE_SAMPLED: Final = _pipeline(
    "sample_timestamp_seconds", "When the numbers of the outbox were last read, as Unix time."
)

PENDING: Final = _consumer("pending", "Messages that are not delivered yet.")
ACK_PENDING: Final = _consumer("ack_pending", "Messages delivered and not acknowledged.")
REDELIVERED: Final = _consumer("redelivered", "Of these, messages delivered more than once.")
CONSUMER_DEAD_LETTERS: Final = _consumer(
    "dead_letters", "Messages of the consumer in the dead-letter stream now."
)
UNREAD_AGE_SECONDS: Final = _consumer(
    "oldest_unread_age_seconds",
    "Age of the oldest message that is not handled: not delivered, or not acknowledged; 0 when "
    "there is none.",
)
CONSUMER_WANTED: Final = _consumer(
    "wanted_replicas", "Pods that are wanted; 0 when it is stopped, none without a handler."
)
CONSUMER_READY: Final = _consumer("ready_replicas", "Pods that are ready; none without a handler.")
CONSUMER_LIMIT: Final = _consumer(
    "limit_replicas", "Most pods that autoscaling asks for: maxReplicas, or as many as can work."
)
CONSUMER_SAMPLED: Final = _consumer(
    "sample_timestamp_seconds", "When the durable consumer was last read, as Unix time."
)

ARCHIVE_ROWS: Final = _consumer("archive_rows", "About how many events its archive holds.")
ARCHIVE_BYTES: Final = _consumer("archive_bytes", "What they take, indexes included.")
ARCHIVE_PARTITIONS: Final = _consumer("archive_partitions", "Tables that hold them.")
ARCHIVE_UNPARTITIONED: Final = _consumer(
    "archive_unpartitioned_rows", "About how many have no partition of their time yet."
)
ARCHIVE_OLDEST: Final = _consumer(
    "archive_oldest_timestamp_seconds",
    "When the stream took the oldest event of the archive, as Unix time; none while it is empty.",
)
ARCHIVE_NEWEST: Final = _consumer(
    "archive_newest_timestamp_seconds", "When it took the newest, as Unix time."
)
ARCHIVE_COMPLETE_TO: Final = _consumer(
    "archive_complete_to_timestamp_seconds",
    "No event that the stream took before is missing, as Unix time; none while nobody can tell.",
)
ARCHIVE_GAPS: Final = _consumer(
    "archive_gaps",
    "Stretches of numbers of events that have not come; none while nobody can tell.",
)
ARCHIVE_SAMPLED: Final = _consumer(
    "archive_sample_timestamp_seconds", "When the archive was last read, as Unix time."
)

STREAM_MESSAGES: Final = _stream("messages", "Messages stored.")
STREAM_BYTES: Final = _stream("bytes", "Bytes stored.")
STREAM_MAX_MESSAGES: Final = _stream(
    "max_messages", "Messages it may store; none when there is no limit."
)
STREAM_MAX_BYTES: Final = _stream("max_bytes", "Bytes it may store; none when there is no limit.")
STREAM_REFUSES: Final = _stream(
    "refuses_when_full",
    "1 when it refuses messages at its limits (`discard: New`), 0 when it drops the oldest.",
)
STREAM_MAX_AGE_SECONDS: Final = _stream(
    "max_age_seconds", "Age at which messages are removed; none when there is no limit."
)
STREAM_DEAD_LETTERS: Final = _stream(
    "dead_letters", "Messages in its dead-letter stream, of all consumers; none without one."
)
REDIS_MEMORY: Final = _stream(
    "redis_memory_bytes", "Memory that all data of the Redis server it is in take."
)
REDIS_MAX_MEMORY: Final = _stream(
    "redis_max_memory_bytes",
    "maxmemory of the Redis server it is in, where it takes no more writes; none when there is no "
    "limit.",
)
STREAM_SAMPLED: Final = _stream(
    "sample_timestamp_seconds", "When the stream was last read, as Unix time."
)

CONDITION: Final = _gauge(
    "condition",
    "Conditions of resources, of tasks until they end: 1 for the status it has, 0 for others.",
    ("kind", "namespace", "name", "type", "status"),
)

TASK_ENDED: Final = _gauge(
    "task_ended_timestamp_seconds",
    "When the last task of its kind on a resource ended, by result (complete, failed), as Unix "
    "time; of those that are still there. Not of dry runs.",
    ("kind", "namespace", "name", "action", "result"),
)

DECLARATIONS: Final = (
    BACKLOG_ROWS,
    BACKLOG_IS_ESTIMATE,
    OLDEST_AGE_SECONDS,
    PIPELINE_DEAD_LETTERS,
    PUBLISHED,
    RELAY_WANTED,
    RELAY_READY,
    RELAY_LIMIT,
    PIPELINE_SAMPLED,
    PENDING,
    ACK_PENDING,
    REDELIVERED,
    CONSUMER_DEAD_LETTERS,
    UNREAD_AGE_SECONDS,
    CONSUMER_WANTED,
    CONSUMER_READY,
    CONSUMER_LIMIT,
    CONSUMER_SAMPLED,
    ARCHIVE_ROWS,
    ARCHIVE_BYTES,
    ARCHIVE_PARTITIONS,
    ARCHIVE_UNPARTITIONED,
    ARCHIVE_OLDEST,
    ARCHIVE_NEWEST,
    ARCHIVE_COMPLETE_TO,
    ARCHIVE_GAPS,
    ARCHIVE_SAMPLED,
    STREAM_MESSAGES,
    STREAM_BYTES,
    STREAM_MAX_MESSAGES,
    STREAM_MAX_BYTES,
    STREAM_REFUSES,
    STREAM_MAX_AGE_SECONDS,
    STREAM_DEAD_LETTERS,
    REDIS_MEMORY,
    REDIS_MAX_MEMORY,
    STREAM_SAMPLED,
    CONDITION,
    TASK_ENDED,
)
