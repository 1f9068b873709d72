"""Spans of events on their way through the outbox, made once the stream has acknowledged them.

Used by `relay.loop` while spans are wanted. Only events whose row carries a recorded `traceparent`
have any: one from the commit, or from when the row was written, to the acknowledgement, which
nobody but the relay can know of; and within the first of each page one for the publishing of the
page. The others of the page are linked to that, and it to some of them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from outbox_operator.adapters.postgres.rows import (
    CREATED_AT,
    EVENT_ID,
    EVENT_TYPE,
    HEADERS,
    POSITION,
    NewDeadLetter,
    Row,
    Rows,
)
from outbox_operator.relay.poison import PagePlan
from outbox_operator.relay.settings import Settings
from outbox_operator.telemetry.tracer import MOST_LINKS, Attributes, Span, Tracer
from outbox_operator.wire.trace_context import TraceParent, sampled_parents_in

_WAIT: Final = "outbox wait"


@dataclass(frozen=True, slots=True)
class _Traced:
    """An event on its way.

    Attributes:
        number: Of its message in the run, from 0.
        born: When its row was written, or committed, in nanoseconds since 1970.
        sent: When its page was handed on, likewise.
        subject: Of its message.
        size: Bytes of its payload.
    """

    parent: TraceParent
    attributes: Attributes
    born: int
    number: int = 0
    sent: int = 0
    subject: str = ""
    size: int = 0


class Traces:
    """Spans of the events of one shard.

    Args:
        tracer: Makes them.
        settings: Of the relay.
        shard: Its number.
        since: Index of the column of rows with which the waiting begins.
    """

    def __init__(self, tracer: Tracer, settings: Settings, shard: int, since: int) -> None:
        config = settings.config
        self._tracer = tracer
        self._publish = f"publish {config.subject}"
        self._common: Attributes = {
            "outbox.pipeline": f"{config.namespace}/{config.pipeline}",
            "messaging.system": "nats",
            "messaging.destination.template": config.subject,
            "messaging.destination.partition.id": str(shard),
        }
        self._names_keys = "partition_key" in settings.template.pieces[1::2]
        self._born: Callable[[Row], int] = itemgetter(since)
        self._start = "created_at" if since == CREATED_AT else "commit"
        self._sent = 0
        self._stored = 0
        self._under_way: deque[_Traced] = deque()
        self._dying: dict[int, _Traced] = {}

    def begin_run(self) -> None:
        """Forget what was sent before and not acknowledged: it is sent again."""
        self._sent = self._stored = 0
        self._under_way.clear()
        self._dying.clear()

    def sending(self, rows: Rows, plan: PagePlan) -> None:
        """Note the events of a page that are recorded; its messages are sent next."""
        first = self._sent
        self._sent += len(plan.messages)
        parents = sampled_parents_in([row[HEADERS] for row in rows])
        if not parents:
            return
        found = {rows[place][POSITION]: (rows[place], one) for place, one in parents.items()}
        now = time.time_ns()
        for number, position in enumerate(plan.positions):
            if position in found:
                row, parent = found[position]
                message = plan.messages[number]
                self._under_way.append(
                    _Traced(
                        parent, self._facts(row), self._born(row) * 1000,
                        first + number, now, message[0], len(message[2]),
                    )
                )  # fmt: skip
        for letter in plan.dead_letters:
            if letter.position in found:
                row, parent = found[letter.position]
                self._dying[letter.position] = _Traced(
                    parent, self._facts(row), self._born(row) * 1000
                )

    def stored(self, messages: int, acked_at: float) -> None:
        """Make the spans of the next so many messages of the run, which are acknowledged.

        Args:
            acked_at: When, in seconds since 1970.
        """
        self._stored += messages
        page: list[_Traced] = []
        while self._under_way and self._under_way[0].number < self._stored:
            page.append(self._under_way.popleft())
        if not page:
            return
        end = int(acked_at * 1e9)
        first, *others = page
        waiting = self._waiting(first, end)
        publish = self._tracer.begin(
            self._publish,
            "client",
            waiting.place,
            {
                **self._common, "messaging.operation.name": "publish",
                "messaging.operation.type": "send", **self._destination(first),
                "messaging.batch.message_count": messages,
            },
            links=[one.parent for one in others[:MOST_LINKS]],
            start=min(first.sent, end),
        )  # fmt: skip
        publish.end(end)
        waiting.end(end)
        for one in others:
            self._waiting(one, end, links=[publish.place]).end(end)

    def put_aside(self, letters: Sequence[NewDeadLetter]) -> None:
        """Make the spans of events that are dead letters now."""
        for letter in letters:
            dying = self._dying.pop(letter.position, None)
            if dying is not None:
                now = time.time_ns()
                span = self._waiting(dying, now)
                span.set({"outbox.dead_letter.reason": letter.reason.value})
                span.end(now, error=letter.reason.value)  # the sentence may quote the row

    def _waiting(self, one: _Traced, end: int, links: Sequence[TraceParent] = ()) -> Span:
        return self._tracer.begin(
            _WAIT, "internal", one.parent,
            {**self._common, **one.attributes, **self._destination(one)},
            links=links,
            # A database's clock may be ahead of ours, and a row may say any time at all.
            start=max(0, min(one.born, end)),
        )  # fmt: skip

    def _destination(self, one: _Traced) -> Attributes:
        return {} if self._names_keys else {"messaging.destination.name": one.subject}

    def _facts(self, row: Row) -> Attributes:
        return {
            "messaging.message.id": str(row[EVENT_ID]),
            "cloudevents.event_id": str(row[EVENT_ID]),
            "cloudevents.event_type": row[EVENT_TYPE],
            "outbox.position": row[POSITION],
            "outbox.since": self._start,
        }
