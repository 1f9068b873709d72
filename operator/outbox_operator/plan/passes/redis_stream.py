"""A pass over an EventStream in Redis: what to do about its keys, and what to say then. Pure.

As `plan.passes.stream` for JetStream; `controller.reconcile.redis_stream` does what is between.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Stream
from outbox_operator.api.v1alpha1.common import StreamPlace
from outbox_operator.api.v1alpha1.redis import RedisConnection, RedisKey, RedisState
from outbox_operator.api.v1alpha1.stream import EventStreamStatus, StreamState
from outbox_operator.counted import counted
from outbox_operator.errors import OutboxError
from outbox_operator.plan.ownership import Claim, held_before
from outbox_operator.plan.passes.redis_left import Looked, groups_of, left_after, left_part
from outbox_operator.plan.passes.redis_lost import lost_of, lost_part, lost_text
from outbox_operator.plan.passes.result import PassPlan, PassResult, part_after
from outbox_operator.plan.redis.keys import key_step, server_problem
from outbox_operator.plan.redis.observed import ObservedKey, ObservedServer
from outbox_operator.plan.state import Owner
from outbox_operator.plan.status.conditions import Part, failed, ok, stamp
from outbox_operator.plan.status.drift import DriftCount
from outbox_operator.plan.status.sampled import of_stream
from outbox_operator.plan.steps import Applied, Step, drifts
from outbox_operator.reasons import Reason

_SHOWN_GROUPS = 50
_KIND = ConditionType.STREAM_READY


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisObserved:
    """What there is for an EventStream.

    Attributes:
        unreachable: Why Redis could not be asked.
        server: What it says of itself.
        keys: What there is at each key, in the order of shards.
        letters: Dead letters of its consumers.
        problem: Why the server did not say how its keys are.
        living: UIDs of all EventStreams that are seen here.
        elsewhere: What is at servers where it was declared before, by URL.
    """

    unreachable: OutboxError | None = None
    server: ObservedServer | None = None
    keys: tuple[ObservedKey, ...] = ()
    letters: int = 0
    problem: OutboxError | None = None
    living: Container[str] = frozenset()
    elsewhere: Mapping[str, Looked] = field(default_factory=dict)


def plan_redis_stream(
    stream: Stream, redis: RedisConnection, observed: RedisObserved
) -> PassPlan[ObservedKey]:
    """The steps that make the keys of a stream as declared."""
    if observed.unreachable is not None:
        return PassPlan(parts=(failed(ConditionType.REDIS_REACHABLE, observed.unreachable),))
    parts = (ok(ConditionType.REDIS_REACHABLE, Reason.CONNECTED),)
    problem = observed.problem
    if problem is None and observed.server is not None:
        problem = server_problem(observed.server, redis.url)
    if problem is not None:
        return PassPlan(parts=parts, problem=problem)
    return PassPlan(
        parts=parts, steps=tuple(_step(stream, redis.url, one, observed) for one in observed.keys)
    )


def _step(
    stream: Stream, url: str, found: ObservedKey, observed: RedisObserved
) -> Step[ObservedKey]:
    before, known = stream.status.stream, _known(stream).get(found.name)
    created = None if known is None else known.created
    # A key of that name elsewhere is another one, unless it was made when ours was.
    stays = before is not None and before.place == StreamPlace(url=url)
    claim = Claim(
        owner=Owner.of(stream.meta),
        adoption=stream.spec.adoptionPolicy,
        held=held_before(stream, _KIND, has_it=known is not None),
        same=created is not None and found.created in ((created, None) if stays else (created,)),
        living=observed.living,
    )
    return key_step(
        found.name, found,
        claim=claim,
        seen_here=stays,
        known=created,
        held=0 if known is None else known.entries,
        paused=stream.meta.paused,
    )  # fmt: skip


def _known(stream: Stream) -> Mapping[str, RedisKey]:
    """The keys that the last status speaks of."""
    state = stream.status.stream
    redis = None if state is None else state.redis
    return {} if redis is None else {key.name: key for key in redis.keys}


def redis_stream_result(
    stream: Stream,
    redis: RedisConnection,
    plan: PassPlan[ObservedKey],
    applied: Sequence[Applied[ObservedKey]],
    observed: RedisObserved,
    now: datetime,
    kept_for: str | None = None,
) -> PassResult[EventStreamStatus]:
    """What a pass comes to.

    Args:
        stream: The resource.
        redis: Where it is declared.
        plan: From `plan_redis_stream`.
        applied: What became of its steps.
        observed: What there was before.
        now: Time of the pass.
        kept_for: The group because of which there are more entries than are declared.
    """
    before = stream.status
    corrections = drifts(applied)
    informs = _informs(before.stream, now)
    unread = PassResult(
        parts=(*plan.parts, *informs), status=before, corrections=corrections,
        sampled=of_stream(stream, None, {}, now),
    )  # fmt: skip
    problem = plan.failure(applied)
    if problem is not None:
        return replace(unread, parts=(*plan.parts, failed(_KIND, problem), *informs))
    if not plan.steps:
        return unread
    parts = (*plan.parts, part_after(_KIND, applied))
    keys = [one.now for one in applied if one.now is not None and one.now.kind == "stream"]
    if len(keys) < len(observed.keys) or any(one.error is not None for one in applied):
        return replace(unread, parts=(*parts, *informs))
    stays = before.stream is not None and before.stream.place == StreamPlace(url=redis.url)
    lost = lost_of(keys, _known(stream) if stays else {})
    drift = DriftCount.after(before.stream, corrections, now)
    state = _state(stream, redis, keys, applied, observed, kept_for).model_copy(
        update={
            "driftCorrectedCount": drift.count,
            "lastDriftTime": drift.time,
            "lastDrift": drift.text,
        }
    )
    state = _with_notices(state, before.stream, lost, observed, now)
    moved = _moved(before.stream, state)
    return PassResult(
        parts=(*parts, *_informs(state, now)),
        status=before.model_copy(update={"stream": state, "sampledAt": stamp(now)}),
        busy=before.stream is None or before.stream.lastSequence != state.lastSequence,
        corrections=corrections,
        moves=() if moved is None else (moved,),
        notices=tuple(lost),
        sampled=of_stream(stream, state, {"max_msgs": stream.spec.maxMessages}, now),
    )


def _informs(state: StreamState | None, now: datetime) -> tuple[Part, Part]:
    """The conditions that inform, as a status has it."""
    redis = None if state is None else state.redis
    return lost_part(redis, now), left_part(() if redis is None else redis.left)


def _with_notices(
    state: StreamState,
    before: StreamState | None,
    lost: Sequence[tuple[Reason, str]],
    observed: RedisObserved,
    now: datetime,
) -> StreamState:
    """A status, with what was lost and what was left behind."""
    was = None if before is None else before.redis
    notes: dict[str, object] = {"left": left_after(before, observed.elsewhere, now)}
    if lost:
        notes |= {"lost": lost_text(lost), "lostTime": stamp(now)}
    elif was is not None:
        notes |= {"lost": was.lost, "lostTime": was.lostTime}
    redis = None if state.redis is None else state.redis.model_copy(update=notes)
    return state.model_copy(update={"redis": redis})


def _moved(before: StreamState | None, now: StreamState) -> str | None:
    """That another URL led to other keys; None: it did not."""
    if before is None or before.place is None or now.place is None:
        return None
    if before.place.url == now.place.url or before.created == now.created:
        return None
    return (
        f"the stream is declared at {now.place.url} now, where it begins anew; what is left at "
        f"{before.place.url} stays there: "
        f"{counted(before.messages or 0, 'entry', 'entries')} when it was looked at last"
    )


def _state(
    stream: Stream,
    redis: RedisConnection,
    keys: Sequence[ObservedKey],
    applied: Sequence[Applied[ObservedKey]],
    observed: RedisObserved,
    kept_for: str | None,
) -> StreamState:
    server = observed.server
    before = stream.status.stream
    sizes = [key.bytes for key in keys]
    groups, place = groups_of(keys), StreamPlace(url=redis.url)
    adopted = any(one.step.adopted for one in applied)
    if before is not None and before.place == place:
        adopted = adopted or before.adopted
    return StreamState(
        name=stream.spec.name,
        created=keys[0].created,
        place=place,
        messages=sum(key.entries for key in keys),
        bytes=sum(size for size in sizes if size is not None),
        firstSequence=min(key.first_id for key in keys),
        lastSequence=max(key.last_id for key in keys),
        consumerCount=len(groups),
        deadLetters=observed.letters,
        redis=RedisState(
            server=f"{server.product} {server.version}" if server else "",
            persistence=_persistence(server),
            replicas=server.replicas if server else 0,
            memoryPolicy=server.policy if server else "",
            usedMemoryBytes=server.used_memory if server else 0,
            maxMemoryBytes=server.max_memory if server else 0,
            keys=[
                RedisKey(
                    name=key.name,
                    created=key.created,
                    entries=key.entries,
                    lastId=key.last_id,
                    removed=key.removed,
                )
                for key in keys
            ],
            groups=groups[:_SHOWN_GROUPS],
            deadLetters=observed.letters,
            keptForGroup=kept_for,
        ),
        adopted=adopted,
    )


def _persistence(server: ObservedServer | None) -> str:
    if server is None or not server.appends:
        return "no appendonly"
    return f"appendonly, appendfsync {server.fsync}" if server.fsync else "appendonly"
