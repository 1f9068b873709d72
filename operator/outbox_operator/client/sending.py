"""What immediate sending is for one pipeline, and the events that wait for a commit.

Ordered pipelines: the relay is nudged, since whoever publishes past it breaks the order of keys.
Unordered ones: the event is published directly under its own id, and the relay's later message is
dropped as a duplicate.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from outbox_operator.client.explaining import sqlstate
from outbox_operator.client.nats_link import Job, NatsLink
from outbox_operator.client.rows import PayloadType, Row
from outbox_operator.errors import SpecError, TransactionError
from outbox_operator.wire import message
from outbox_operator.wire.subjects import SubjectTemplate, nudge_subject

MOST_DIRECT: Final = 100
"""Events of one transaction that are published directly; the relay brings the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nudge:
    """Wake the relay after a commit. For pipelines of every kind.

    Attributes:
        link: The way to NATS.
        namespace: Of the OutboxPipeline.
        pipeline: Its name.

    Raises:
        SpecError: One of them is none.
    """

    link: NatsLink
    namespace: str
    pipeline: str

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Publish after a commit. Only for pipelines with `outbox.ordering: None`.

    Attributes:
        link: The way to NATS; the login must be allowed to publish to the stream's subjects.
        namespace: Of the OutboxPipeline.
        pipeline: Its name.
        subject: Its `stream.subject`.

    Raises:
        SpecError: One of them is none; the subject is no template, or names the shard, which only
            the relay knows.
    """

    link: NatsLink
    namespace: str
    pipeline: str
    subject: str
    template: SubjectTemplate = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)
        template = SubjectTemplate.parse(self.subject)
        if "shard" in template.pieces[1::2]:
            raise SpecError(
                f"subject {self.subject!r} holds {{shard}}, which only the relay knows; use Nudge"
            )
        object.__setattr__(self, "template", template)


def _check(send: Nudge | Publish) -> None:
    for name, kind in (("link", NatsLink), ("namespace", str), ("pipeline", str)):
        value = getattr(send, name)
        if not isinstance(value, kind) or not value:
            # Never what it is: a URL holds a password.
            found = "an empty one" if isinstance(value, kind) else type(value).__name__
            raise SpecError(
                f"{type(send).__name__}: {name}: wanted a {kind.__name__}, found {found}"
            )


@dataclass(frozen=True, slots=True)
class _Event:
    send: Nudge | Publish
    event_id: str
    subject: str
    payload: bytes
    headers: dict[str, str] | None

    def job(self, committed: float) -> Job:
        return Job(
            self.send.namespace, self.send.pipeline, self.subject, self.payload, self.headers,
            committed,
        )  # fmt: skip

    def submit(self, committed: float) -> None:
        self.send.link._submit(self.job(committed))


class Sender:
    """Immediate sending of one outbox.

    Args:
        send: How.
        schema: Of the outbox, for templates that name it.
        payload_type: Of the outbox.

    Raises:
        SpecError: `send` is neither a `Nudge` nor a `Publish`.
    """

    def __init__(self, send: Nudge | Publish, *, schema: str, payload_type: PayloadType) -> None:
        if not isinstance(send, (Nudge, Publish)):
            raise SpecError(f"send is {type(send).__name__}, wanted Nudge(…) or Publish(…)")
        self._send = send
        self._schema = schema
        self._payload_type = payload_type

    @property
    def enabled(self) -> bool:
        """The feature flag."""
        return self._send.link.enabled

    @property
    def publishes(self) -> bool:
        """Whether messages are published directly, so that only committed events may be."""
        return isinstance(self._send, Publish)

    def event(self, row: Row) -> _Event:
        """What is to be sent once the row is committed."""
        if isinstance(self._send, Nudge):
            subject = nudge_subject(self._send.namespace, self._send.pipeline)
            return _Event(self._send, row.event_id, subject, b"", None)
        return _Event(
            self._send,
            row.event_id,
            message.event_subject(
                self._send.template,
                event_type=row.event_type,
                partition_key=row.partition_key,
                routing_key=row.routing_key,
                schema=self._schema,
            ),
            row.payload if isinstance(row.payload, bytes) else row.payload.encode(),
            message.event_headers(
                event_id=row.event_id,
                event_type=row.event_type,
                partition_key=row.partition_key,
                source=message.event_source(self._send.namespace, self._send.pipeline),
                time=message.event_time(dt.datetime.now(dt.UTC)),
                content_type=message.CONTENT_TYPES[self._payload_type],
                own=json.loads(row.headers),
            ),
        )


class Pending:
    """Events of one open transaction that are to be sent when it is committed.

    Args:
        follows_savepoints: Whoever holds these forgets them when a savepoint takes them back;
            else the database must be asked.
    """

    def __init__(self, *, follows_savepoints: bool = False) -> None:
        self._follows_savepoints = follows_savepoints
        self._nudges: dict[str, list[_Event]] = {}
        self._direct: dict[str, _Event] = {}

    @property
    def some(self) -> bool:
        """Whether there are any."""
        return bool(self._nudges or self._direct)

    @property
    def recorded(self) -> bool:
        """Whether the database must be asked, before the commit, which of them still stand."""
        return bool(self._direct) and not self._follows_savepoints

    def must_record(self, sender: Sender) -> bool:
        """Whether the database must remember an event of this sender until then."""
        return sender.publishes and not self._follows_savepoints

    def accepts(self, sender: Sender) -> bool:
        """Whether an event of this sender is to be sent, or left to the relay."""
        full = sender.publishes and len(self._direct) >= MOST_DIRECT
        return sender.enabled and not full

    def add(self, sender: Sender, row: Row) -> None:
        """Send this one too."""
        event = sender.event(row)
        if event.headers is None:
            self._nudges.setdefault(event.subject, []).append(event)
        else:
            self._direct[event.event_id] = event

    def clear(self) -> None:
        """The transaction was rolled back."""
        self._nudges, self._direct = {}, {}

    def send(self, surviving: str = "") -> None:
        """The transaction is committed.

        Args:
            surviving: Ids of the recorded events that no savepoint took back.
        """
        now = time.perf_counter()
        nudges, direct = self._nudges, self._direct
        self.clear()
        for event_id in direct if self._follows_savepoints else surviving.split():
            if event_id in direct:
                direct[event_id].submit(now)
        for events in nudges.values():
            for event in events:
                event.submit(now)


_OPEN: Final[dict[int, Pending]] = {}
"""Of the blocks that are open now, by the identity of their connection."""


@contextmanager
def collecting(connection: object) -> Iterator[Pending]:
    """Within the block, `pending_of` knows the connection.

    Raises:
        TransactionError: Another block is open on it.
    """
    # Asked here too: until the answer to BEGIN is there the driver does not know of the first.
    if id(connection) in _OPEN:
        raise transaction_is_open()
    pending = _OPEN[id(connection)] = Pending()
    try:
        yield pending
    finally:
        del _OPEN[id(connection)]


def transaction_is_open() -> TransactionError:
    """The error for a block inside a transaction."""
    return TransactionError(
        "a transaction is open on this connection already, so the end of an inner one would not "
        "be its commit; open the outermost with outbox.transaction(connection)"
    )


def rolled_back() -> TransactionError:
    """The error for a block whose end would not commit anything."""
    return TransactionError(
        "the transaction of this block is rolled back, because a statement in it had failed and "
        "its error was not let through; let it through, or open a savepoint around what may fail"
    )


def pending_of(connection: object) -> Pending:
    """The events that wait for the transaction of a connection.

    Raises:
        TransactionError: Nobody would tell us of its end.
    """
    found = _OPEN.get(id(connection))
    if found is None:
        kind = type(connection)
        raise TransactionError(
            f"nobody tells when the transaction of this {kind.__module__}.{kind.__qualname__} is "
            "committed; open it with outbox.transaction(connection), or use add"
        )
    return found


def failed_transaction(error: BaseException) -> bool:
    """Whether a statement was refused because the transaction had failed before it."""
    return sqlstate(error) == "25P02"
