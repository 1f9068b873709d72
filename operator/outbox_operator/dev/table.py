"""The live table of `outbox dev`: what waits, what flows, where it sticks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from outbox_operator.dev.ends import often

Runs = Literal["here", "ended", "elsewhere"]
_RUNS: Final[Mapping[Runs, str]] = {
    "here": "", "ended": "ended, is started again", "elsewhere": "not run here",
}  # fmt: skip
_PIPELINE: Final = (
    "PIPELINE", "BACKLOG", "OLDEST", "PUBLISHED", "PER S", "IN STREAM", "DEAD", "",
)  # fmt: skip
_CONSUMER: Final = (
    "CONSUMER", "PENDING", "IN WORK", "REDELIVERED", "HANDLED", "PER S", "DEAD", "",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head; the first column is a name, the last a remark, and numbers are between."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """A process that ended by itself.

    Attributes:
        times: How often.
        how: It did the last time, for example `exit code 1`.
        at: The time then, as a clock shows it.
        runs: Whether it lives, and not for moments only.
        last: What it said last that may be why; empty: nothing.
    """

    name: str
    times: int
    how: str
    at: str
    runs: bool
    last: str = ""

    @property
    def sentence(self) -> str:
        """All of it in a line for a person."""
        last = "" if self.times == 1 else ", the last time"
        ended = f"{often(self.times)}{last} at {self.at}"
        now = "was started again" if self.runs else "is started again"
        why = f": {self.last}" if self.last else ""
        return f"{self.name} ended {ended} ({self.how}) and {now}{why}"


Shown = Sequence[Table | Restarted | str]
"""What is on the screen: tables, what ended, and lines for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineNumbers:
    """An outbox and its stream at one moment.

    Attributes:
        dead_letters: Of the relay, and of the consumers that read its stream.
        published: Events published since creation.
        stored: Messages in the stream.
        runs: What of its relay runs here.
    """

    name: str
    backlog: int
    backlog_is_estimate: bool
    oldest_seconds: float
    dead_letters: int
    published: int
    stored: int
    runs: Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerNumbers:
    """A durable consumer at one moment.

    Attributes:
        handled: Events handled since the start, without those that became dead letters; None:
            whoever handles does not say.
        dead_letters: Its letters; None: there are too many to look at each.
        runs: What of it runs here: a process, one that has ended and is started again, or nothing.
    """

    name: str
    pending: int
    ack_pending: int
    redelivered: int
    handled: int | None
    dead_letters: int | None
    runs: Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """All numbers of one moment; `seconds` is a monotonic clock."""

    seconds: float
    pipelines: tuple[PipelineNumbers, ...]
    consumers: tuple[ConsumerNumbers, ...]


def render(now: Sample, before: Sample | None, restarts: Sequence[Restarted] = ()) -> Shown:
    """What is shown of a moment.

    Args:
        before: An earlier sample, for rates.
        restarts: Processes that had to be started again.
    """
    elapsed = now.seconds - before.seconds if before is not None else 0.0
    earlier = {p.name: p.published for p in before.pipelines} if before else {}
    handled = {c.name: c.handled for c in before.consumers} if before else {}
    pipelines = tuple(_pipeline(one, earlier, elapsed) for one in now.pipelines)
    consumers = tuple(_consumer(one, handled, elapsed) for one in now.consumers)
    shown: list[Table | Restarted | str] = [Table(_PIPELINE, pipelines)]
    if consumers:
        shown += ["", Table(_CONSUMER, consumers)]
    return [*shown, *restarts]


def _pipeline(one: PipelineNumbers, earlier: Mapping[str, int], elapsed: float) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.backlog}{'+' if one.backlog_is_estimate else ''}",
        f"{one.oldest_seconds:.1f} s" if one.backlog else "-",
        str(one.published),
        _rate(one.published, earlier.get(one.name), elapsed),
        str(one.stored),
        str(one.dead_letters),
        f"relay {_RUNS[one.runs]}" if _RUNS[one.runs] else "",
    )


def _consumer(
    one: ConsumerNumbers, handled: Mapping[str, int | None], elapsed: float
) -> tuple[str, ...]:
    return (
        one.name,
        str(one.pending),
        str(one.ack_pending),
        str(one.redelivered),
        "-" if one.handled is None else str(one.handled),
        _rate(one.handled, handled.get(one.name), elapsed),
        "?" if one.dead_letters is None else str(one.dead_letters),
        _RUNS[one.runs],
    )


def _rate(now: int | None, before: int | None, elapsed: float) -> str:
    if now is None or before is None or elapsed <= 0:
        return "-"
    return f"{max(0.0, (now - before) / elapsed):.0f}"
