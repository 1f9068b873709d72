"""What the outbox tables hold, as the relay sees it: rows, cursor, bounds and extents.

Values passed between `adapters.postgres.outbox` and `relay`; the tables themselves are described
in `plan.postgres.schema`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from outbox_operator.reasons import Reason


class Row(NamedTuple):
    """One event as it is in the table.

    Attributes:
        payload: None when the row was not read whole.
        headers: JSON text; None when there are none. Of a copy that a replay has written,
            `COPY_MARK`, the name of the replay, and, behind a space, a JSON array of what is in
            `replay` and of the headers. Of a row that
            was not read whole, what is in the way: a column and its bytes, such as
            `payload 1179639000`, or a sentence.
        created_at: Microseconds since 1970, within the years 1 to 9999.
    """

    position: int
    event_id: str
    event_type: str
    partition_key: str
    routing_key: str | None
    payload: bytes | None
    headers: str | None
    created_at: int

    @classmethod
    def named(cls, record: Row) -> Row:
        """What comes from the database as a real `Row`."""
        return cls._make(record[: len(cls._fields)])


Rows = Sequence[Row]
"""What comes from the database only counts like a `Row`: by index, without names. To make an
object of each would cost as much as to publish it; `Row.named` does it where names are wanted,
and these are names of indexes. The loop of `relay.message` that every event goes through writes
numbers, for speed."""
COPY_MARK: Final = "replay "
"""No JSON text begins with it, so whatever an application writes is no copy."""
POSITION: Final = 0
EVENT_ID: Final = 1
EVENT_TYPE: Final = 2
PARTITION_KEY: Final = 3
PAYLOAD: Final = 5
HEADERS: Final = 6
CREATED_AT: Final = 7
COMMITTED_AT: Final = 8
"""As `created_at`, of a server that keeps the times of commits (`StoredCursor.commit_times`)."""


def is_copy(headers: str | None) -> bool:
    """Whether a row with these `Row.headers` is a copy that a replay has written."""
    return headers is not None and headers.startswith(COPY_MARK)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a shard is.

    Attributes:
        snapshot_from: S1: everything visible in it is published.
        snapshot_to: S2 inside a window.
        last_position: Rows of that window up to here are done.
        emission: Number of the last event published.
        emission_gaps: How many numbers up to it were left out.
        stream_sequence: Sequence of that event in the stream; None when it is not known.
        remark: What a person should know of the shard; None: nothing.
        stream_created: When the stream was created that `stream_sequence` is of; None: not known.
        notice: What the stream has lost, for a person; None: nothing that we know of.
    """

    snapshot_from: str
    snapshot_to: str | None
    last_position: int
    emission: int
    emission_gaps: int
    stream_sequence: int | None
    remark: str | None
    stream_created: str | None
    notice: str | None


@dataclass(frozen=True, slots=True)
class StoredCursor:
    """The cursor of a shard as it was read, and what the server says of itself.

    Attributes:
        cursor: How far the last owner was.
        checkpoints: Earlier points, as `relay.checkpoints` writes them.
        resent_to: A rebase had rows up to this position sent again; 0: none had.
        resent_epoch: Number of the ownership since then, which no other rebase has.
        cursor_system: System identifier of the server that the snapshots belong to, if known.
        server_system: System identifier of this server.
        server_snapshot: A snapshot of now.
        newest_xid: The latest transaction that wrote an event, if any did.
        commit_times: Whether rows come with the time of their commit.
    """

    cursor: Cursor
    checkpoints: str
    resent_to: int
    resent_epoch: int
    cursor_system: str | None
    server_system: str
    server_snapshot: str
    newest_xid: str | None
    commit_times: bool


Way = Literal["even", "plain", "measured", "named", "placed"]
"""How to read rows. even: as fast as can be; without the payload of those that are larger than
their share of the page, or unfold to far more than is stored. plain: without that of the latter
alone. measured: these too, unless no message can hold them, and those that cannot be are
told what is in the way. named: without payload and headers. placed: position and id alone."""


@dataclass(frozen=True, slots=True)
class Share:
    """How much to read at once, and how.

    Attributes:
        rows: At most so many.
        size: About so many bytes of them.
        largest: Rows of more bytes in the table are not read whole.
    """

    rows: int
    size: int
    largest: int
    way: Way = "plain"


@dataclass(frozen=True, slots=True)
class Bound:
    """The transactions that a snapshot does not see.

    Attributes:
        from_xid: Every transaction from this one on (its xmax).
        open_xids: And these, which were under way (its xip).
    """

    from_xid: str
    open_xids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Polled:
    """Answer to a poll.

    Attributes:
        snapshot: S2, the snapshot the rows were read with.
        rows: In order of position; empty when they are not all.
        complete: Whether these are all rows between S1 and S2.
    """

    snapshot: str
    rows: Rows
    complete: bool


class Part(NamedTuple):
    """Some of the transactions of a window, and where their rows are.

    Attributes:
        begin: From this transaction on.
        end: And before this one.
        first: Position of the first of their rows.
        last: And of the last.
        rows: How many there are.
    """

    begin: str
    end: str
    first: int
    last: int
    rows: int


@dataclass(frozen=True, slots=True)
class Span:
    """Extent of what is left of a window.

    Attributes:
        first: Where walking over the positions begins.
        last: Where it ends.
        rows: How many there are, late ones included.
        late: Positions before `first` that are read one by one.
        behind: The transactions that were open in S1, if rows of theirs are not among `late`: no
            range, but all their rows, the late ones included.
        parts: The rows of the others, in order of transactions.
        positions: Of all rows of `parts`, if there is just one.
    """

    first: int
    last: int
    rows: int
    late: Sequence[int] = ()
    behind: Part | None = None
    parts: tuple[Part, ...] = ()
    positions: Sequence[int] | None = None


class Candidate(NamedTuple):
    """A row that may have been published, or not.

    Attributes:
        key: SHA-256 of its ordering key, of a row without one, of nothing; of a copy, of that, a
            zero and the name of its replay.
    """

    position: int
    event_id: str
    key: bytes


class Candidates(NamedTuple):
    """Rows that may have been published.

    Attributes:
        rows: In no order.
        complete: Whether there are no others.
    """

    rows: Sequence[Candidate]
    complete: bool


@dataclass(frozen=True, slots=True)
class NewDeadLetter:
    """A row on its way to the dead letters, and why.

    Attributes:
        blocked: Whether only because its key is blocked.
        event_id: Of the event, for the log.
        trace_id: Of its trace, likewise; None: it has none.
    """

    position: int
    key: str
    reason: Reason
    error: str
    blocked: bool
    event_id: str = ""
    trace_id: str | None = None
