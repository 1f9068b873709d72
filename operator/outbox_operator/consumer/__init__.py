"""The role `outbox consume`: messages to handlers, answers, retries, dead letters, breaker.

Importing this package, for the types that Python handlers are written against, needs the
standard library only.
"""

from __future__ import annotations

from outbox_operator.consumer.handlers.depends import Depends
from outbox_operator.consumer.handlers.middleware import Answers, Call, Next
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.consumer.handlers.retry import Retry
from outbox_operator.consumer.handlers.table_sink import TableSink
from outbox_operator.consumer.handlers.types import (
    Ack,
    Context,
    DeadLetter,
    Outcome,
    ReceivedEvent,
    RetryAfter,
)
from outbox_operator.consumer.in_process import Consumer

__all__ = [
    "Ack",
    "Answers",
    "Call",
    "Consumer",
    "Context",
    "DeadLetter",
    "Depends",
    "Handlers",
    "Next",
    "Outcome",
    "ReceivedEvent",
    "Retry",
    "RetryAfter",
    "TableSink",
]
