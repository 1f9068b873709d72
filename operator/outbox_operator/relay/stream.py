"""What the relay of a shard knows of its stream: what it accepts, its end, what is in it already.

Used by `relay.loop` and its helpers. All of it can become invalid: the stream was changed, a run
ended without an answer, somebody else published. Then it is asked for again, and what the tail
shows to be published is skipped when it is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence, Set
from typing import Final

from outbox_operator.adapters.sink import Fence, Owner, Sent, Sink, SinkRun, StreamFacts
from outbox_operator.reasons import Reason
from outbox_operator.relay import elsewhere, losses, poison, tail_rows
from outbox_operator.relay.chain import Chain
from outbox_operator.relay.fencing import Fencing
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.open_tail import OpenTail
from outbox_operator.relay.reach import Reach
from outbox_operator.relay.recovery import (
    DOUBT_GAP,
    EMISSION_GAP,
    MOST_SKIPPED,
    WINDOWS,
    Numbering,
    Tail,
    first_wanted,
    numbering,
    owner_name,
)
from outbox_operator.relay.settings import Settings

log = logging.getLogger(__name__)

_MOST_UNSAVED: Final = MOST_SKIPPED // 2
FACTS_SECONDS: Final = 5.0
"""Publishing for longer, ask again what the stream is like: it may be changed at any time."""


class ShardStream:
    """Knowledge about one shard's end of a stream.

    Args:
        epoch: Of our ownership.
        system: System identifier of the database server.
        known: Sequence up to which the cursor accounts for all messages on our subjects; None
            when it does not say.
        created: When the stream of that sequence was created; None when it is not known.
        notice: What the stream lost, as the cursor says.
        numbers: Of the last event published, as far as the cursor knows.
        numbered: Number of the event at `known`, when that is an earlier one.
        held: Number of the last event that the stream is known to have taken; None: that is no
            other one than the last published.
        candidates: Reads every row up to a position that the cursor does not account for.
        waiting: Tells which rows at some positions it does not account for.

    Attributes:
        chain: What messages name as the number before theirs.
        numbers: Of the last event published.
        reach: How far rows were sent.
        fence: Whether we publish behind it, and why not.
        max_message_bytes: As the stream last said.
        created: When the stream was created that `known` is about.
        notice: What the stream has lost, after its reason and a colon; None: nothing new.
    """

    def __init__(
        self,
        sink: Sink,
        settings: Settings,
        metrics: RelayMetrics,
        *,
        shard: int,
        epoch: int,
        system: str,
        known: int | None,
        created: str | None,
        notice: str | None,
        numbers: Numbering,
        numbered: int | None,
        held: int | None,
        candidates: tail_rows.ReadCandidates,
        waiting: tail_rows.Waiting,
    ) -> None:
        self._owner = Owner(owner_name(system, settings.source, shard), epoch)
        self.numbers = numbers
        self.chain = Chain(held)
        self._numbered = numbered
        self._resumed_at = 0
        self._candidates, self._waiting = candidates, waiting
        self._open = OpenTail()
        self.reach = Reach()
        self.max_message_bytes = 0
        self.created = created
        self.notice = notice
        self._sink = sink
        self._template = settings.template
        self._subjects = settings.template.filter(shard=shard)
        self._source = settings.source
        self._ordered = settings.config.ordering == "PerKey"
        self.fence = Fencing(self._subjects, ordered=self._ordered)
        self._shard = shard
        self._metrics = metrics
        self._known = known
        self._last: int | None = None
        self._facts: StreamFacts | None = None
        self._facts_at = 0.0
        self._tail = Tail(shard, settings.source, numbers.last)
        self._outcome_open = True
        self._fence_refused = False
        self._windows_left = 0
        self._tail_was_read = self._plain = False
        self._ended_behind: tuple[int, int] | None = None
        """Messages of a fenced run that was answered, and the end before it."""

    @property
    def in_doubt(self) -> bool:
        """Whether `refresh` is to see that what was acknowledged last is there."""
        return self._ended_behind is not None

    def ids_wanted(self, sent: int) -> bool:
        """Return whether messages that are sent now have to carry an id; call `refresh` first.

        A second copy of one without would be stored. Behind a fence, on a stream that tells what
        it took, nobody sends one, unless something is in doubt: the tail was not as the cursor
        says, or not for the first time, and not all that was visible then has been read since.

        Args:
            sent: Messages of the run before them; a run is fenced from its beginning on.
        """
        facts = self._facts
        if facts is None or not facts.exact or self.published or self.chain.held is not None:
            return True
        fenced = self.fence.up if sent else self.fence.raised(facts)
        return not (fenced and (self._plain or self._windows_left <= 0))

    @property
    def published(self) -> Mapping[int, str]:
        """Event ids by position of rows that are in the stream and that the cursor does not
        account for; they will be read once more."""
        return self._open.published

    @property
    def guessed(self) -> Set[int]:
        """Positions of those of them that no message shows."""
        return self._open.guessed

    @property
    def known(self) -> int | None:
        """Sequence to store with the cursor."""
        return self._open.accounted(self._known)

    @property
    def end(self) -> int | None:
        """Sequence up to which the stream has all events before the cursor; None: not known."""
        return self._last

    @property
    def tail_is_open(self) -> bool:
        """Whether to store no cursor yet: rows of the tail are still being read once more, and
        what is missing between a point among them and the end could not be counted. Not for long:
        no more is published meanwhile than the next owner can remember."""
        return len(self._open) > 0 and self.numbers.last - self._resumed_at < _MOST_UNSAVED

    def invalidate_facts(self) -> None:
        """Have `refresh` ask again what the stream accepts: it may have been changed."""
        self._facts = None

    def invalidate_tail(self) -> None:
        """Have `refresh` read the tail again: it is not known what was stored."""
        self._facts = self._last = None
        self._outcome_open = True

    async def refresh(self) -> StreamFacts:
        """Find out what has become invalid; costs nothing when nothing has.

        Raises:
            OutboxError: The stream is missing, accepts none of our subjects, or does not answer.
        """
        if self._facts is None or time.monotonic() - self._facts_at > FACTS_SECONDS:
            facts = await self._sink.facts(self._subjects)
            poison.check_stream(self._template, facts)
            self._facts, self.max_message_bytes = facts, facts.max_message_bytes
            before, self._facts_at = self._facts_at, time.monotonic()
            self.fence.note_republishing(facts, self._facts_at - before)
        if self._last is None:
            await self._read_tail(self._facts)
        return self._facts

    def open_run(self) -> SinkRun:
        """Open a run of messages behind the last one; call `refresh` first."""
        facts, last = self._facts, self._last
        if facts is None or last is None:
            raise ValueError(f"stream of shard {self._shard}: refresh() before open_run()")
        self.chain.opened()
        return self._sink.open_run(
            owner=self._owner,
            subjects=self._subjects,
            fence=Fence(self._subjects, last) if self.fence.raised(facts) else None,
            ordered=self._ordered,
            on_ack=self._acknowledged,
        )

    def ended(self, sent: Sent) -> None:
        """Record the end of a run."""
        self.numbers = self.numbers.after(sent.count)
        self.chain.stored(sent.count)
        self.reach.ended()
        self._ended_behind = None
        if sent.count and self.fence.up and self._last is not None:
            self._ended_behind = (sent.count, self._last)
        if sent.last_sequence is not None and sent.last_sequence <= (self._known or 0):
            # New messages behind the last one that we know have higher numbers than it.
            self.invalidate_tail()
            return
        if sent.last_sequence is not None:
            self._last = sent.last_sequence
            if self.fence.up:
                self._open.dealt_to = self._last
            self._notice_dropped(self._last)
        elif sent.count and self.fence.up:
            self._last = None
        if not self.published:
            self._account()
        if sent.refusal is None and sent.count and self.fence.up:
            self.fence.held()

    def _notice_dropped(self, last: int) -> None:
        """Say when the stream holds fewer than it acknowledged: it knew their ids from others.

        Args:
            last: Sequence of the last message on our subjects.
        """
        dropped = losses.dropped(*self._ended_behind, last) if self._ended_behind else 0
        self._ended_behind = None
        if dropped:
            self._metrics.dropped.inc(dropped)
            losses.say_dropped(self._subjects, dropped)

    def passed(self, positions: Sequence[int]) -> None:
        """Record that the cursor has moved behind rows."""
        self.reach.passed(positions)
        if self.published and self._open.met(positions):
            self._close_tail()

    def window_read(self) -> None:
        """Record that everything that was visible at some moment has been read and dealt with."""
        self._windows_left -= 1
        self.chain.window_read()
        if self.published and self._windows_left <= 0:
            self._close_tail()

    def _close_tail(self) -> None:
        self._open.clear()
        self._account()

    def fence_refused(self) -> None:
        """Have `refresh` find out who published behind our last message, or that it is gone."""
        self._facts = self._last = None
        self._fence_refused = True

    def _account(self) -> None:
        if self._last is not None:
            self._known = self._last

    async def _read_tail(self, facts: StreamFacts) -> None:
        """Read the tail: what is in the stream behind the point the cursor accounts for."""
        numbered = self.numbers.last if self._numbered is None else self._numbered
        self._tail = tail = Tail(self._shard, self._source, numbered)
        found = await self._sink.last_of(self._subjects)
        # What a frozen relay has on its way must not come in between.
        if await self._sink.shut_out(self._owner, self._subjects, found):
            found = await self._sink.last_of(self._subjects)
        last = found.sequence if found is not None else 0
        again, self._plain = self._tail_was_read, False
        shown = 0
        if found is not None:
            shown = tail.number_in(found.headers)
            self.reach.seen(tail.highest_in(found.headers))
        await self._look_for_losses(facts, last)
        self._open.found_end(last)
        tail.dealt_to, tail.unless = self._open.dealt_to, self.published
        known = self._known or 0
        self._notice_dropped(last)
        if not facts.keeps_tail:
            # What was consumed is gone: de-duplication alone has to do. And a message that nobody
            # has consumed yet does not say that there was none behind it.
            self._last = last
            unseen = last == self._known and await self._sink.last_sequence(self._subjects) > last
            self._number_anew(tail, None if unseen else last, facts)
            self.chain.seen(shown)
            if self._known is None:
                self._known = last  # so that nobody takes the shard for one that never published
            self._tail_was_read = True
            return
        after = first_wanted(self._known, last)
        if moved := await elsewhere.last_one(self._sink, self._subjects, tail, known, last):
            self.reach.seen(tail.highest_in(moved.headers))
            after, last = known, await elsewhere.read(self._sink, self._subjects, tail, known, last)
        elif last > after:
            async for message in self._sink.tail(self._subjects, after):
                tail.add(message.sequence, message.subject, message.headers)
                last = message.sequence
        self.reach.seen(tail.highest)
        tail_rows.say_forgotten(tail, facts, self._metrics)
        unsure = await tail_rows.fill(
            tail, facts, self._candidates, self._metrics, self.published, dense=self._ordered
        )
        if unsure:
            self.chain.doubted(self.numbers.last)
        stored = self.numbers.last if self._numbered is None else 0
        self._number_anew(tail, known if moved else last, facts)
        if unsure and self._ordered:
            # Two numbers of one row: to be seen whatever else the stream drops.
            self.numbers = self.numbers.above(self.numbers.last + DOUBT_GAP)
        self.chain.seen(max(shown, tail.emission))
        self._resumed_at = self.numbers.last
        self._numbered = None  # holes up to here are dealt with: rows of them are in there
        before = len(self._open)
        self._open.add(tail.published, tail.sequences)
        if not moved:  # else there may be more of ours on subjects of before
            self._open.dealt_to = last
        if self.published and not again and 0 < tail.earliest <= stored:
            await tail_rows.leave_out_those_before_the_cursor(self._open, self._waiting)
        self._metrics.resumed.inc(max(0, len(self._open) - before))
        self._windows_left = WINDOWS
        # A shard that never published is as clear as one whose end is where the cursor says.
        self._plain = not again and not tail.published and (moved is not None or last == known)
        self._last, self._tail_was_read = last, True
        if self._ordered:  # else applications may well publish by themselves
            self._metrics.foreign.inc(tail.foreign)
        if not self.published:
            self._account()
        tail_rows.say_read(tail, after, last)
        if self._fence_refused:
            self._fence_refused = False
            self.fence.refused(facts, tail)

    async def _look_for_losses(self, facts: StreamFacts, last: int) -> None:
        """Tell whether the stream is the one we know, with all that it acknowledged.

        Args:
            last: Sequence of the last message on our subjects.

        Raises:
            StreamRolledBackError: It lost some.
        """
        known, created = self._known, self.created
        self.created = facts.created
        if created is None or known is None:
            return
        if created == facts.created:
            # What was published while the tail is open is known to be there, and not yet saved.
            held = max(known, self._open.dealt_to)
            if last < held:
                await losses.check_end(self._sink, self._subjects, facts, self._tail, held, last)
            return
        self._known = None
        self._open.made_anew()
        if self.numbers.last:
            self.notice = losses.made_anew(facts)
            log.warning("%s", self.notice, extra={"reason": Reason.STREAM_RECREATED})

    def _number_anew(self, tail: Tail, last: int | None, facts: StreamFacts) -> None:
        """Go on with numbers above every one that may be in the stream, or may have been."""
        before = self.numbers
        self.numbers = numbering(
            before, tail, known=self._known, last=last, outcome_open=self._outcome_open
        )
        self._outcome_open = False
        self._pass_over(facts)
        if self.numbers.last - before.last >= EMISSION_GAP and not tail.emission:
            self.chain.doubted(before.last)
            log.info(
                "stream %s no longer has what was published last: what was published after the "
                "last save, if anything, is sent again and dropped within %g s only",
                facts.stream, facts.duplicate_window_seconds,
                extra={"reason": Reason.TAIL_INCOMPLETE},
            )  # fmt: skip

    def _pass_over(self, facts: StreamFacts) -> None:
        """Leave out the numbers that somebody else has taken."""
        last = self.numbers.last
        self.numbers = self.numbers.above(facts.taken)
        if self.numbers.last == last:
            return
        self.chain.doubted(last)
        log.warning(
            "somebody else publishes to stream %s: numbers of events go on above %d",
            facts.stream, facts.taken, extra={"reason": Reason.FOREIGN_ENTRIES},
        )  # fmt: skip

    def _acknowledged(self, _: int, seconds: float) -> None:
        self._metrics.ack_seconds.observe(seconds)
