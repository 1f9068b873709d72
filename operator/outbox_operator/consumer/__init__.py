"""The role `outbox consume`: messages to handlers, answers, retries, dead letters, breaker.

Importing this package, for the types that Python handlers are written against, needs the
standard library only.
"""

from __future__ import annotations

from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.consumer.handlers.retry import Retry
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
    "Consumer",
    "Context",
    "DeadLetter",
    "Handlers",
    "Outcome",
    "ReceivedEvent",
    "Retry",
    "RetryAfter",
]
