"""How far a shard is handled: never further than that, whatever happens to stream and consumer."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox_operator.adapters.postgres.inbox_marks import Mark, Place, sort_out
from outbox_operator.wire.durable import Durable

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
READER = Durable("ORDERS", "monday", "")
NEW, UNPLACED, KNOWN = "new", "by id", "duplicate"


def place(
    sequence: int,
    second: int | None = None,
    *,
    emission: int | None = None,
    durable: Durable = READER,
    subject: str = "orders.a",
) -> Place:
    return Place(
        durable=durable,
        sequence=sequence,
        stored=START + dt.timedelta(seconds=sequence if second is None else second),
        subject=subject,
        emission=sequence if emission is None else emission,
    )


def mark(first: int, last: int, *, emission: int | None = None, durable: Durable = READER) -> Mark:
    return replace(Mark.at(place(last, emission=emission, durable=durable)), first=first)


MADE_ANEW = replace(READER, created="tuesday")
MORE = replace(MADE_ANEW, filter="orders.a orders.b")
ONE = replace(READER, filter="orders.a")
ELSEWHERE = replace(READER, stream="COPY")
MANY = replace(READER, one_reader=False)
TWICE = [place(n) for n in range(1, 4)] + [place(n, emission=n - 3) for n in range(4, 6)]


@pytest.mark.parametrize(
    ("committed", "places", "wanted"),
    [
        pytest.param(None, TWICE, [NEW] * 5, id="lower numbers behind the mark under way"),
        pytest.param(mark(1, 3), TWICE, [KNOWN] * 3 + [NEW] * 2, id="behind the committed mark"),
        pytest.param(
            mark(1, 3, emission=2**63 - 1), [place(3), place(4)], [KNOWN, NEW], id="forged number"
        ),
        pytest.param(mark(5, 9), [place(4), place(5)], [UNPLACED, KNOWN], id="before the stretch"),
        pytest.param(mark(1, 9), [place(7, 10)], [UNPLACED], id="stream put back"),
        pytest.param(mark(1, 9), [place(10, 8)], [UNPLACED], id="clock went back"),
        pytest.param(
            mark(1, 9), [place(1, 8, emission=10, durable=MADE_ANEW)], [UNPLACED],
            id="stream made anew by a clock that went back",
        ),
        pytest.param(
            mark(1, 9), [place(1, 10, durable=MADE_ANEW), place(2, 11, durable=MADE_ANEW)],
            [NEW, NEW], id="stream made anew",
        ),
        pytest.param(
            mark(1, 9), [place(9, durable=MADE_ANEW), place(10, durable=MADE_ANEW)], [KNOWN, NEW],
            id="consumer made anew",
        ),
        pytest.param(mark(1, 9), [place(5, durable=ELSEWHERE)], [NEW], id="another stream"),
        pytest.param(mark(1, 9), [place(5, durable=MANY)], [KNOWN], id="several readers, known"),
        pytest.param(mark(1, 9), [place(10, durable=MANY)], [UNPLACED], id="several readers"),
        pytest.param(None, [place(10, durable=MANY)], [UNPLACED], id="several readers, first"),
        pytest.param(
            mark(1, 9, durable=ONE),
            [place(4, durable=MORE), place(5, durable=MORE, subject="orders.b")],
            [KNOWN, UNPLACED], id="more is filtered in",
        ),
        pytest.param(mark(1, 4), [place(6), place(5)], [NEW, UNPLACED], id="out of order"),
        pytest.param(mark(1, 9), [None], [UNPLACED], id="of no shard"),
        pytest.param(None, [None, place(1), None], [UNPLACED, NEW, UNPLACED], id="mixed"),
    ],
)  # fmt: skip
def test_only_what_is_surely_handled_is_a_duplicate(
    committed: Mark | None, places: list[Place | None], wanted: list[str]
) -> None:
    found = sort_out(committed, places)
    kinds = [
        NEW if index in found.new else UNPLACED if index in found.unplaced else KNOWN
        for index in range(len(places))
    ]
    assert kinds == wanted


def test_what_a_consumer_made_anew_was_not_given_is_not_in_the_stretch() -> None:
    """Made with deliverPolicy New, it skipped 4 to 6; made again with All, it is given them."""
    skipping = replace(READER, created="tuesday")
    skipped = sort_out(mark(1, 3), [place(7, durable=skipping)])
    again = replace(READER, created="wednesday")
    found = sort_out(skipped.mark, [place(n, durable=again) for n in range(4, 9)])
    assert (found.unplaced, found.new) == ([0, 1, 2], [4])


def test_a_consumer_that_is_made_anew_twice_repeats_nothing() -> None:
    first = replace(READER, created="tuesday")
    found = sort_out(mark(1, 3), [place(n, durable=first) for n in range(1, 6)])
    assert found.new == [3, 4]
    second = replace(READER, created="wednesday")
    found = sort_out(found.mark, [place(n, durable=second) for n in range(1, 7)])
    assert (found.new, found.unplaced) == ([5], [])


@dataclass
class Model:
    """A stream with what became of it, a durable consumer, and an inbox beside a list of truth."""

    stored: list[tuple[Place, int]] = field(default_factory=list)
    """Messages that are in the stream, and their own numbers, which nothing else has."""
    durable: Durable = READER
    delivered: int = 0
    """How many of them the consumer got past."""
    committed: Mark | None = None
    ids: set[int] = field(default_factory=set)
    effects: dict[int, int] = field(default_factory=dict)
    made: int = 0
    sequence: int = 0
    clock: int = 0
    begun: int = 0
    """When the stream was made or put back. No clock goes back behind that: a message with an
    earlier time and a lower number at a sequence given out again looks like one handled before."""
    latest: int = 0
    emission: int = 0
    careful: bool = True
    """Whether nothing happened that may have an event handled again."""

    def publish(self, count: int) -> None:
        for _ in range(count):
            self.emission += 1
            self.store(self.emission, "orders.b" if self.emission % 3 == 0 else "orders.a")

    def store(self, emission: int, subject: str) -> None:
        self.made += 1
        self.sequence += 1
        self.clock += 1
        self.latest = max(self.latest, self.clock)
        at = place(self.sequence, self.clock, emission=emission, subject=subject)
        self.stored.append((at, self.made))

    def handle(self, count: int, *, fails: bool) -> None:
        """The next messages in one transaction, in order, from the first without an answer."""
        given = [
            (replace(at, durable=self.durable), number)
            for at, number in self.stored[self.delivered : self.delivered + count]
            if self.durable.is_given(at.subject)
        ]
        if not given:
            self.delivered = min(self.delivered + count, len(self.stored))
            return
        found = sort_out(self.committed, [at for at, _ in given])
        numbers = [number for _, number in given]
        claimed = [index for index in found.unplaced if numbers[index] not in self.ids]
        new = {*found.new, *claimed}
        for index, number in enumerate(numbers):
            assert index in new or number in self.effects, "lost"
        if fails:
            return
        for index in new:
            number = numbers[index]
            assert number not in self.effects or not self.careful, "twice"
            self.effects[number] = self.effects.get(number, 0) + 1
        self.ids.update(numbers[index] for index in claimed)
        self.committed = found.mark
        self.delivered = min(self.delivered + count, len(self.stored))

    def made_anew(self, filter: str, *, skips: bool) -> None:
        """The durable consumer, with deliverPolicy New or All."""
        self.careful &= not skips and filter == self.durable.filter
        self.durable = Durable("ORDERS", f"{self.durable.created}'", filter)
        self.delivered = len(self.stored) if skips else 0

    def stream_made_anew(self) -> None:
        self.stored.clear()
        self.sequence = 0
        self.begun = self.clock = max(self.clock, self.latest)
        self.made_anew(self.durable.filter, skips=False)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 6)),
        st.tuples(st.just("forge"), st.sampled_from([0, 1, 3, 2**63 - 1])),
        st.tuples(st.just("handle"), st.integers(1, 5), st.booleans()),
        st.tuples(st.just("again"), st.integers(1, 5)),
        st.tuples(st.just("anew"), st.sampled_from(["", "orders.a", "orders.b"]), st.booleans()),
        st.tuples(st.just("stream")),
        st.tuples(st.just("outbox")),
        st.tuples(st.just("back"), st.integers(1, 4)),
        st.tuples(st.just("clock"), st.integers(1, 4)),
    ),
    max_size=12,
)


@settings(database=None, deadline=None, derandomize=True, max_examples=500)
@given(steps)
def test_nothing_is_lost_whatever_happens(steps: list[tuple[object, ...]]) -> None:
    model = Model()
    model.publish(4)
    model.handle(4, fails=False)
    for step in steps:
        match step:
            case "publish", int(count):
                model.publish(count)
            case "forge", int(emission):
                model.store(emission, "orders.a")
            case "handle", int(count), bool(fails):
                model.handle(count, fails=fails)
            case "again", int(count):  # answers were lost
                model.delivered = max(0, model.delivered - count)
            case "anew", str(filter), bool(skips):
                model.made_anew(filter, skips=skips)
            case ("stream",):
                model.stream_made_anew()
            case ("outbox",):
                model.emission = 0
            case "back", int(count):  # the stream's store is an earlier copy
                del model.stored[-count:]
                model.sequence = max(0, model.sequence - count)
                model.begun = model.clock = model.latest
                model.delivered = min(model.delivered, len(model.stored))
            case "clock", int(seconds):
                model.clock = max(model.begun, model.clock - seconds)
                model.careful = False
    model.handle(1000, fails=False)
