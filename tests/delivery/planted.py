"""A relay with a bug planted into it: `python planted.py <plant> relay`.

Each takes away one thing that the guarantees rest on. A checker that does not catch them proves
nothing.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final


def _id_cursor() -> None:
    """The popular cursor: what is not newer than the newest seen is taken as seen."""
    from outbox_operator.adapters.postgres.rows import Bound
    from outbox_operator.relay.paging import Snapshot

    def bound(self: Snapshot) -> Bound:
        return Bound(str(self.xmax), ())

    Snapshot.bound = bound  # type: ignore[method-assign]


def _drop_ack() -> None:
    """What was handed to the connection is taken as stored."""
    from outbox_operator.adapters.nats.publish_run import Run
    from outbox_operator.adapters.sink import Sent

    async def finish(self: Run) -> Sent:
        self._close()
        before = self._fence.sequence if self._fence is not None else 0
        return Sent(self._sent, None, before + self._sent)

    Run.finish = finish  # type: ignore[method-assign]
    from outbox_operator.adapters.redis.run import RedisRun

    async def finish_in_redis(self: RedisRun) -> Sent:
        last = int(self._expected or 0)
        self.abandon()
        return Sent(self._sent, None, last)

    RedisRun.finish = finish_in_redis  # type: ignore[method-assign]


def _skip_fence() -> None:
    """Nobody asks whether somebody else has published in between."""
    from outbox_operator.adapters.nats.publisher import Publisher

    real = Publisher.open_run

    def open_run(self: Publisher, *, fence: object, **options: Any) -> Any:
        return real(self, fence=None, **options)

    Publisher.open_run = open_run  # type: ignore[method-assign]


def _no_recovery() -> None:
    """The cursor is believed, however far the stream is ahead of it."""
    from outbox_operator.relay.recovery import Tail

    real = Tail.add

    def add(self: Tail, *message: Any) -> None:
        real(self, *message)
        self.published.clear()

    Tail.add = add  # type: ignore[method-assign,assignment]


def _order_by_id() -> None:
    """Events are sent in order of their ids, as a table without a sequence would give them."""
    _before_sending(lambda messages: sorted(messages, key=lambda message: message.head))


def _re_encode() -> None:
    """JSON goes through a parser on its way."""

    def parsed(payload: bytes) -> bytes:
        return json.dumps(json.loads(payload)).encode()

    _before_sending(
        lambda messages: [message._replace(payload=parsed(message.payload)) for message in messages]
    )


def _before_sending(change: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
    from outbox_operator.adapters.nats.publish_run import Run
    from outbox_operator.adapters.redis.run import RedisRun

    real, real_in_redis = Run.send, RedisRun.send

    async def send(self: Run, messages: Sequence[Any], *, last: bool = False) -> None:
        await real(self, change(messages), last=last)

    async def send_to_redis(self: RedisRun, messages: Sequence[Any], *, last: bool = False) -> None:
        await real_in_redis(self, change(messages), last=last)

    Run.send = send  # type: ignore[method-assign]
    RedisRun.send = send_to_redis  # type: ignore[method-assign]


def _plain_ids_of_copies() -> None:
    """What a replay sends again has the message id of the first time."""
    from outbox_operator.wire.replay import Replay

    Replay.mark = property(lambda _: "")  # type: ignore[assignment,method-assign]


def _fence_copies() -> None:
    """The fence is stored although a second stream will check it once more."""
    from outbox_operator.adapters.nats.messages import JetStreamFacts
    from outbox_operator.adapters.nats.publisher import Publisher

    real = Publisher.facts

    async def facts(self: Publisher, subjects: str = "") -> JetStreamFacts:
        return replace(await real(self, subjects), fences=True, republishes=False)

    Publisher.facts = facts  # type: ignore[method-assign]


def _trust_transforms() -> None:
    """Whatever the stream makes of our messages, it is taken to store them as they are."""
    from outbox_operator.adapters.nats.messages import JetStreamFacts
    from outbox_operator.adapters.nats.publisher import Publisher

    real = Publisher.facts

    async def facts(self: Publisher, subjects: str = "") -> JetStreamFacts:
        return replace(await real(self, subjects), unfit="")

    Publisher.facts = facts  # type: ignore[method-assign]


def _forget_holes() -> None:
    """What the stream does not show was not published."""
    from outbox_operator.relay import tail_rows
    from outbox_operator.relay.recovery import Filled

    def fill_none(*_: Any, **__: Any) -> Filled:
        return Filled({}, frozenset(), 0)

    vars(tail_rows)["fill_holes"] = fill_none


def _full_is_poison() -> None:
    """An event that a full stream refuses is given up."""
    from outbox_operator.relay import poison

    poison.treat = lambda refusal: poison.Treatment.POISON


def _believe_the_stream() -> None:
    """Where the stream ends, there it is right."""
    from outbox_operator.relay.stream import ShardStream

    async def look_for_losses(self: ShardStream, facts: Any, last: int) -> None:
        self.created = facts.created

    ShardStream._look_for_losses = look_for_losses  # type: ignore[method-assign]


def _whole_pages() -> None:
    """What cannot be made a message is an error of the page, which is tried again."""
    from outbox_operator.errors import OutboxError
    from outbox_operator.reasons import Reason
    from outbox_operator.relay import poison

    real = poison.inspect

    def inspect(*arguments: Any) -> Any:
        found = real(*arguments)
        if isinstance(found, poison.Poison):
            raise OutboxError(found.error, reason=Reason.INTERNAL_ERROR)
        return found

    poison.inspect = inspect  # type: ignore[assignment]


def _wait_for_oldest() -> None:
    """Nothing is read while an older transaction is open: the reader that asks for `xmin`."""
    from outbox_operator.adapters.postgres.outbox import OutboxStore
    from outbox_operator.adapters.postgres.rows import Bound, Polled, Share
    from outbox_operator.relay.paging import Snapshot

    real = OutboxStore.poll

    async def poll(self: OutboxStore, unseen: Bound, share: Share, *, between: bool) -> Polled:
        found = await real(self, unseen, share, between=between)
        if Snapshot.parse(found.snapshot).open_xids:
            low = min([unseen.from_xid, *unseen.open_xids], key=int)
            before = f"{low}:{unseen.from_xid}:{','.join(unseen.open_xids)}"
            return Polled(before, (), complete=True)
        return found

    OutboxStore.poll = poll  # type: ignore[method-assign]


def _count_deliveries() -> None:
    """What the server counts is taken for attempts."""
    from outbox_operator.consumer.disposition import ToDeadLetters
    from outbox_operator.consumer.key_queues import Item
    from outbox_operator.consumer.suspects import Suspects
    from outbox_operator.reasons import Reason

    def verdict(self: Suspects, item: Item) -> ToDeadLetters | None:
        if self.exhausted(item):
            return ToDeadLetters(Reason.MAX_DELIVER, "delivered too often")
        return None

    Suspects.verdict = verdict  # type: ignore[method-assign]


def _only_exceptions() -> None:
    """What a handler raises that is no `Exception` goes through."""
    from outbox_operator.consumer.handler_calls import HandlerCalls

    class OtherError(BaseException):
        pass

    real = HandlerCalls._call

    async def call(self: HandlerCalls, *arguments: Any) -> Any:
        outcomes = await real(self, *arguments)
        if "PanicError" in str(outcomes):
            raise OtherError
        return outcomes

    HandlerCalls._call = call  # type: ignore[method-assign, assignment]


def _unreachable_counts() -> None:
    """Not to be reached is an answer."""
    from outbox_operator.consumer.handlers.http import HttpHandler
    from outbox_operator.consumer.handlers.types import RetryAfter
    from outbox_operator.errors import HandlerUnavailableError

    real = HttpHandler.handle

    async def handle(self: HttpHandler, *arguments: Any) -> Any:
        try:
            return await real(self, *arguments)
        except HandlerUnavailableError as error:
            return RetryAfter(reason=error.message)

    HttpHandler.handle = handle  # type: ignore[method-assign, assignment]


def _busy_counts() -> None:
    """Whoever says "not now" is taken to have tried."""
    from outbox_operator.consumer.handlers import http
    from outbox_operator.consumer.handlers.http_outcome import outcome
    from outbox_operator.consumer.handlers.types import Busy, RetryAfter

    def counted(*arguments: Any) -> Any:
        found = outcome(*arguments)
        return RetryAfter(reason=found.reason) if isinstance(found, Busy) else found

    vars(http)["outcome"] = counted


def _high_water() -> None:
    """A number that is not above the highest is one of a handled event."""
    from outbox_operator.adapters.postgres import inbox_records
    from outbox_operator.adapters.postgres.inbox_marks import Mark, Place, Sorted, sort_out

    real = sort_out

    def by_number(committed: Mark | None, places: Sequence[Place | None]) -> Sorted:
        found = real(committed, places)
        highest, new = committed.emission if committed is not None else 0, []
        for index in found.new:
            place = places[index]
            if place is not None and place.emission > highest:
                highest = place.emission
                new.append(index)
        found.new = new
        return found

    vars(inbox_records)["sort_out"] = by_number


def _take_over_at_once() -> None:
    """What the last reader had in hand is not waited for."""
    from outbox_operator.adapters.source import Source
    from outbox_operator.consumer.loop import Loop

    async def gather(self: Loop, source: Source) -> None:
        self._workers.handle_held_back(source.epoch)

    Loop._gather = gather  # type: ignore[method-assign]


def _leave_the_dead() -> None:
    """What a reader of a group had that died is its for ever."""
    from outbox_operator.adapters.redis.group import RedisGroup
    from outbox_operator.adapters.redis.group_link import GroupLink

    async def look(self: RedisGroup, link: GroupLink) -> None:
        self._look_at = math.inf

    RedisGroup._look = look  # type: ignore[method-assign]


def _forget_predecessor() -> None:
    """Numbers jump, and nobody is told that it is meant."""
    from outbox_operator.relay.chain import Chain, Naming

    def naming(self: Chain, sent: int) -> Naming | None:
        return None

    Chain.naming = naming  # type: ignore[method-assign]


def _no_ids() -> None:
    """No message has an id, also where nothing else keeps a second copy away."""
    from outbox_operator.relay.stream import ShardStream

    def ids_wanted(self: ShardStream, sent: int) -> bool:
        return False

    ShardStream.ids_wanted = ids_wanted  # type: ignore[method-assign]


def _left_out() -> None:
    """A row that was left out of a page, since it is larger than the others, is not read again."""
    from outbox_operator.relay.row_reading import RowReader

    real = RowReader._learn

    def learn(self: RowReader, rows: Any, way: Any) -> bool:
        return real(self, rows, "measured" if way == "even" else way)

    RowReader._learn = learn  # type: ignore[method-assign]


def _drop_ahead() -> None:
    """A run that ends forgets the page that was read ahead in it."""
    from outbox_operator.relay.loop import RelayLoop
    from outbox_operator.relay.reading import Page

    real = RelayLoop._run

    async def run(self: RelayLoop, page: Page) -> bool:
        drained = await real(self, page)
        await self._reader.close()
        return drained

    RelayLoop._run = run  # type: ignore[method-assign]


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "id-cursor": _id_cursor,
    "drop-ack": _drop_ack,
    "skip-fence": _skip_fence,
    "no-recovery": _no_recovery,
    "order-by-id": _order_by_id,
    "re-encode": _re_encode,
    "plain-ids-of-copies": _plain_ids_of_copies,
    "fence-copies": _fence_copies,
    "trust-transforms": _trust_transforms,
    "forget-holes": _forget_holes,
    "full-is-poison": _full_is_poison,
    "believe-the-stream": _believe_the_stream,
    "whole-pages": _whole_pages,
    "wait-for-oldest": _wait_for_oldest,
    "count-deliveries": _count_deliveries,
    "only-exceptions": _only_exceptions,
    "unreachable-counts": _unreachable_counts,
    "busy-counts": _busy_counts,
    "high-water": _high_water,
    "take-over-at-once": _take_over_at_once,
    "leave-the-dead": _leave_the_dead,
    "forget-predecessor": _forget_predecessor,
    "no-ids": _no_ids,
    "left-out": _left_out,
    "drop-ahead": _drop_ahead,
}


def main() -> int:
    """Plant, then be `outbox`."""
    from outbox_operator.cli.main import main as outbox

    PLANTS[sys.argv[1]]()
    return outbox(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
