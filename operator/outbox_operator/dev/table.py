"""The live table of `outbox dev`: what waits, what flows, where it sticks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineNumbers:
    """An outbox and its stream at one moment.

    Attributes:
        published: Events published since creation.
        stored: Messages in the stream.
    """

    name: str
    backlog: int
    backlog_is_estimate: bool
    oldest_seconds: float
    dead_letters: int
    published: int
    stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerNumbers:
    """A durable consumer at one moment.

    Attributes:
        handled: Sequence up to which everything is acknowledged.
        local: Whether one of our processes handles its messages here.
    """

    name: str
    pending: int
    ack_pending: int
    redelivered: int
    handled: int
    local: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """All numbers of one moment; `seconds` is a monotonic clock."""

    seconds: float
    pipelines: tuple[PipelineNumbers, ...]
    consumers: tuple[ConsumerNumbers, ...]


def render(now: Sample, before: Sample | None, restarts: Sequence[str] = ()) -> list[str]:
    """The table as lines.

    Args:
        before: An earlier sample, for rates.
        restarts: Processes that had to be started again.
    """
    elapsed = now.seconds - before.seconds if before is not None else 0.0
    earlier = {p.name: p.published for p in before.pipelines} if before else {}
    handled = {c.name: c.handled for c in before.consumers} if before else {}
    head = ["PIPELINE", "BACKLOG", "OLDEST", "PUBLISHED", "PER S", "IN STREAM", "DEAD"]
    lines = _aligned([head, *(_pipeline(one, earlier, elapsed) for one in now.pipelines)])
    if now.consumers:
        head = ["CONSUMER", "PENDING", "IN WORK", "REDELIVERED", "HANDLED TO", "PER S", ""]
        rows = (_consumer(one, handled, elapsed) for one in now.consumers)
        lines += ["", *_aligned([head, *rows])]
    return lines + [f"started again: {name}" for name in restarts]


def _pipeline(one: PipelineNumbers, earlier: Mapping[str, int], elapsed: float) -> list[str]:
    return [
        one.name,
        f"{one.backlog}{'+' if one.backlog_is_estimate else ''}",
        f"{one.oldest_seconds:.1f} s" if one.backlog else "-",
        str(one.published),
        _rate(one.published, earlier.get(one.name), elapsed),
        str(one.stored),
        str(one.dead_letters),
    ]


def _consumer(one: ConsumerNumbers, handled: Mapping[str, int], elapsed: float) -> list[str]:
    return [
        one.name,
        str(one.pending),
        str(one.ack_pending),
        str(one.redelivered),
        str(one.handled),
        _rate(one.handled, handled.get(one.name), elapsed),
        "" if one.local else "not run here",
    ]


def _rate(now: int, before: int | None, elapsed: float) -> str:
    if before is None or elapsed <= 0:
        return "-"
    return f"{max(0.0, (now - before) / elapsed):.0f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
