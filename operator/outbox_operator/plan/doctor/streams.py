"""What NATS says of streams and durable consumers, and which events go unread soon. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outbox_operator.counted import counted
from outbox_operator.plan.amounts import size, span
from outbox_operator.plan.doctor.findings import (
    Check,
    Finding,
    error,
    info,
    warning,
)

WATCH: Final = 0.5
"""Share of a limit that what is unread may take up before it is worth a look."""
ALARM: Final = 0.9
FULL: Final = 0.8
_RATE_SECONDS: Final = 60.0
"""A rate over less than that says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A server that holds a copy of a stream."""

    name: str
    current: bool
    offline: bool
    lag: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """A stream as the server describes it. Limits of 0 or below: there is none.

    Attributes:
        retention: In NATS's words: limits, interest, workqueue.
        discard: old or new.
        max_age: Seconds.
        first_at: When the oldest message was stored; None: there is none.
        cluster: Names of servers that hold it, of a cluster with more than one.
        leaderless: It is in a cluster, and nobody leads it.
    """

    name: str
    retention: str = "limits"
    discard: str = "old"
    max_age: float = 0
    max_bytes: int = -1
    max_messages: int = -1
    max_per_subject: int = -1
    messages: int = 0
    bytes: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    replicas: tuple[Replica, ...] = ()
    leaderless: bool = False
    dead_letters: bool = False

    @property
    def bytes_per_second(self) -> float | None:
        """How fast it grows, from what it holds; None: it holds too little to tell."""
        if self.first_at is None or self.last_at is None:
            return None
        seconds = (self.last_at - self.first_at).total_seconds()
        return self.bytes / seconds if seconds >= _RATE_SECONDS else None

    @property
    def messages_per_second(self) -> float | None:
        """The same of messages."""
        rate = self.bytes_per_second
        return None if rate is None or not self.bytes else rate * self.messages / self.bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableFacts:
    """A durable consumer as the server describes it.

    Attributes:
        pending: Messages not delivered.
        ack_pending: Delivered and not acknowledged.
        waiting: Pull requests that wait.
        oldest_sequence: Of the first message that is not handled; None: none, or not known.
        oldest_unread: When that one was stored.
        push: Whether messages are pushed to it.
        mark: `Kind/namespace/name` of its mark; empty: it has none.
        living: Whether the resource of the mark is there; None: that cannot be told.
        stopped: Whether its resource wants no pods.
    """

    name: str
    stream: str
    pending: int = 0
    ack_pending: int = 0
    waiting: int = 0
    oldest_sequence: int | None = None
    oldest_unread: datetime | None = None
    push: bool = False
    mark: str = ""
    living: bool | None = None
    stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """What an account may store. Bytes; below 0: no limit."""

    where: str
    storage: int = 0
    max_storage: int = -1
    memory: int = 0
    max_memory: int = -1


def check_account(facts: AccountFacts) -> Iterator[Finding]:
    """Whether there is room left."""
    for kind, used, most in (
        ("file", facts.storage, facts.max_storage),
        ("memory", facts.memory, facts.max_memory),
    ):
        if most <= 0 or used < FULL * most:
            continue
        make = error if used >= 0.95 * most else warning
        yield make(
            Check.STORAGE, facts.where,
            f"{size(used)} of {size(most)} {kind} storage of the account are taken; without any, "
            "nothing is stored",
            remedy="nats account info; nats stream report",
        )  # fmt: skip


def check_stream(facts: StreamFacts) -> Iterator[Finding]:
    """Limits against what is there and how fast it grows, and the state of its copies."""
    what = f"stream {facts.name}"
    if facts.leaderless:
        yield error(
            Check.REPLICA_BEHIND, what, "none of its servers leads it; nothing is stored or read",
            remedy="nats server report jetstream",
        )  # fmt: skip
    for replica in facts.replicas:
        if replica.offline or not replica.current:
            state = "is offline" if replica.offline else f"is {replica.lag} operations behind"
            yield warning(
                Check.REPLICA_BEHIND, what, f"its copy on {replica.name} {state}",
                "all copies current: with too few of them nothing is stored",
                "nats server report jetstream",
            )  # fmt: skip
    yield from _fills(facts, what)
    limits = (facts.max_age, facts.max_bytes, facts.max_messages, facts.max_per_subject)
    if facts.retention == "limits" and not facts.dead_letters and max(limits) <= 0:
        rate = facts.bytes_per_second
        grown = "" if rate is None else f", {size(rate * 86_400)} a day at its present rate"
        yield info(
            Check.STREAM_UNLIMITED, what,
            f"has no limit, and keeps what was handled for ever: {size(facts.bytes)} now{grown}",
            "maxAge, maxBytes or maxMessages, longer than your longest outage",
            f"nats stream info {facts.name}",
        )  # fmt: skip


def _fills(facts: StreamFacts, what: str) -> Iterator[Finding]:
    """With `discard: New`, what is full refuses."""
    if facts.discard != "new":
        return
    for name, used, most, rate, text in (
        ("maxBytes", facts.bytes, facts.max_bytes, facts.bytes_per_second, size),
        ("maxMessages", facts.messages, facts.max_messages, facts.messages_per_second, str),
    ):
        if most <= 0 or used < FULL * most:
            continue
        left = most - used
        soon = "" if not rate or facts.retention != "limits" else f", in {span(left / rate)}"
        make = error if used >= 0.98 * most else warning
        when = "it is full" if left <= 0 else f"when it is full{soon}"
        yield make(
            Check.STREAM_FILLS, what,
            f"{text(used)} of {name} {text(most)} are taken; {when}, events wait in the outbox",
            f"room for your longest outage: a higher {name}, or discard: Old",
            f"nats stream info {facts.name}",
        )  # fmt: skip


def check_durable(facts: DurableFacts, stream: StreamFacts, now: datetime) -> Iterator[Finding]:
    """Whether events go before somebody has read them, and whether anybody is there to."""
    what = f"durable consumer {facts.name} of stream {facts.stream}"
    unread = facts.pending + facts.ack_pending
    if facts.living is False or (facts.living is None and not facts.mark):
        whose = f"of {facts.mark}, which is gone" if facts.mark else "that no resource declared"
        heal = f"nats consumer rm {facts.stream} {facts.name}  # when nobody needs it"
        keeps = stream.retention in ("interest", "workqueue") and unread
        make = warning if keeps else info
        kept = f"; the stream keeps {counted(unread, 'message')} for it" if keeps else ""
        yield make(Check.DURABLE_OF_NOBODY, what, f"a durable consumer {whose}{kept}", remedy=heal)
        return
    if unread:
        yield from _ages_out(facts, stream, what, now)
    idle = facts.pending and not facts.waiting and not facts.ack_pending and not facts.push
    if idle and not facts.stopped:
        yield warning(
            Check.NOBODY_READS, what,
            f"{counted(facts.pending, 'message waits', 'messages wait')}, and nobody asks for any",
            "pods that read", "kubectl get evc,pods  # in the namespace of the consumer",
        )  # fmt: skip


def _ages_out(
    facts: DurableFacts, stream: StreamFacts, what: str, now: datetime
) -> Iterator[Finding]:
    """The limits that would take unread events away: time, bytes, number."""
    for name, share, left in _pressures(facts, stream, now):
        if share < WATCH:
            continue
        make = error if share >= ALARM else warning
        if left is None:
            when = "soon"
        elif left <= 0:
            when = "now"
        else:
            when = f"in {span(left)}"
        yield make(
            Check.AGES_OUT, what,
            f"{when} unread events age out: what is unread takes up {min(share, 9.99):.0%} of "
            f"{name} of the stream",
            f"less than {WATCH:.0%}",
            f"more pods or concurrency for the consumer, or a higher {name}",
        )  # fmt: skip


def _pressures(
    facts: DurableFacts, stream: StreamFacts, now: datetime
) -> Iterator[tuple[str, float, float | None]]:
    """Limit, share of it that is unread, seconds until the first unread event goes if known."""
    if stream.max_age > 0 and facts.oldest_unread is not None:
        age = (now - facts.oldest_unread).total_seconds()
        yield "maxAge", age / stream.max_age, stream.max_age - age
    held = stream.last_sequence - stream.first_sequence + 1
    if stream.discard != "old" or facts.oldest_sequence is None or held <= 0:
        return
    part = min(1.0, max(0.0, (stream.last_sequence - facts.oldest_sequence + 1) / held))
    for name, used, most, rate in (
        ("maxBytes", stream.bytes, stream.max_bytes, stream.bytes_per_second),
        ("maxMessages", stream.messages, stream.max_messages, stream.messages_per_second),
    ):
        if most > 0:
            unread = part * used
            yield name, unread / most, (most - unread) / rate if rate else None
