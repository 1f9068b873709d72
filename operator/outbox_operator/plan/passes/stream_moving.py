"""A stream that is declared elsewhere than it was, or to which a login leads no more. Pure.

Messages would stay there that nobody would ever handle. Such a move waits for a person, or until
they are handled; stream, durable consumers and pods are left as they are meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, Meta, Pipeline, Stream
from outbox_operator.api.v1alpha1.approval import PendingMove
from outbox_operator.api.v1alpha1.common import NatsConnection, StreamPlace
from outbox_operator.counted import counted
from outbox_operator.plan.passes.approval import Decided, Vote, allows, held, last_word
from outbox_operator.plan.passes.moving import nothing_waited
from outbox_operator.plan.passes.place import Sight, is_elsewhere, place_text
from outbox_operator.plan.plan_hash import plan_hash
from outbox_operator.plan.status.conditions import Part

KEPT_WHERE_STREAM_WAS = "left as it is until the stream may move, see StreamReady"
"""Of the relay."""
KEPT_WHERE_DURABLE_WAS = "left as it is until the durable consumer may move, see ConsumerReady"
"""Of a consumer's pods."""
KEPT_UNTIL_STREAM_SEEN = (
    "left as it is until the stream has been seen with the changed login, see {}"
)
"""Of both."""
_HASH_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMove:
    """A stream that is declared elsewhere than it was.

    Attributes:
        before: Where it was, for people.
        now: Where it is declared.
        waiting: Messages there that consumers have not handled; when nobody can look, those of
            the last statuses.
        seen: Whether that was looked at in this pass.
        letters: Dead letters there.
        hash: What a person approves.
    """

    before: str
    now: str
    waiting: int
    seen: bool
    letters: int = 0
    hash: str

    @property
    def leaves(self) -> str:
        """What stays where it was, for people."""
        late = " when they were counted last"
        text = counted(self.waiting, f"message waited{late}", f"messages waited{late}")
        if self.seen:
            text = counted(self.waiting, "message waits", "messages wait")
        text = f"{text} for consumers at {self.before}"
        if not self.letters:
            return text
        so = "does" if self.letters == 1 else "do"
        return f"{text}; so {so} {counted(self.letters, 'dead letter')}"

    @property
    def text(self) -> str:
        """What is said once the stream has moved."""
        left = f"{self.leaves}, and stay there" if self.waiting else nothing_waited(seen=self.seen)
        return f"the stream is declared at {self.now} now; {left}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What waits where a stream was.

    Attributes:
        waiting: Messages that consumers have not handled.
        seen: Whether that was looked at in this pass.
    """

    waiting: int
    seen: bool


NOTHING_KNOWN = Left(waiting=0, seen=False)


def declared_elsewhere(pipeline: Pipeline, before: NatsConnection, left: Left) -> StreamMove:
    """A move to where a pipeline declares its stream now, from where it declared it before."""
    now = pipeline.spec.jetstream
    return StreamMove(
        before=_declared_text(before), now=_declared_text(now),
        waiting=left.waiting, seen=left.seen,
        hash=_hash(pipeline.meta, before.model_dump_json(), now.model_dump_json()),
    )  # fmt: skip


def stream_elsewhere(stream: Stream, sight: Sight, left: Left) -> StreamMove | None:
    """The move to where the login of an EventStream leads; None: the stream is where it was."""
    before = stream.status.stream
    if before is None or not is_elsewhere(before.place, before.created, sight):
        return None
    return _move(stream.meta, before.place, before.created, sight, left, before.deadLetters)


def durable_elsewhere(consumer: Consumer, sight: Sight, left: Left) -> StreamMove | None:
    """The move to where the login of an EventConsumer leads; None: its stream is where it was."""
    before = consumer.status.consumer
    if before is None or not is_elsewhere(before.place, before.streamCreated, sight):
        return None
    return _move(consumer.meta, before.place, before.streamCreated, sight, left)


def move_held(
    resource: Decided, kind: ConditionType, move: StreamMove, votes: Sequence[Vote] = ()
) -> Part | None:
    """The condition while messages wait where a stream was; None: it may move.

    Args:
        resource: On which it is decided.
        kind: The condition.
        move: From where to where.
        votes: What tasks say of plans.
    """
    word = last_word(resource, "Stream", move.hash, votes)
    if not move.waiting or allows(word):
        return None
    return held(resource, kind, move.hash, word, _waits(move))


def pending_move(move: StreamMove) -> PendingMove:
    """A move that waits, for the status."""
    return PendingMove(hash=move.hash, text=f"The stream moves to {move.now}; {move.leaves}.")


def _waits(move: StreamMove) -> str:
    return (
        f"spec.nats: the stream would be another one at {move.now}, and {move.leaves}. Set it back "
        "and stop the relay, or wait until they are handled there, or approve that they stay there"
    )


def _move(
    meta_: Meta,
    before: StreamPlace | None,
    created: str | None,
    sight: Sight,
    left: Left,
    letters: int | None = None,
) -> StreamMove:
    there = "" if before is None else place_text(before)
    now = sight.place.model_dump_json(exclude={"declared"})
    return StreamMove(
        before=there, now=place_text(sight.place), waiting=left.waiting, seen=left.seen,
        letters=letters or 0, hash=_hash(meta_, f"{there} {created}", now),
    )  # fmt: skip


def _hash(meta_: Meta, before: str, now: str) -> str:
    digest = hashlib.sha256(f"{meta_.uid} {before} {now}".encode()).hexdigest()
    return plan_hash(digest, _HASH_LENGTH)


def _declared_text(nats: NatsConnection) -> str:
    return nats.url if nats.domain is None else f"{nats.url}, domain {nats.domain}"
