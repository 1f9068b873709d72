"""The screens of `outbox status`: one pipeline in full, or a line for each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from outbox_operator.cli.cluster.facts import (
    ArchiveFacts,
    ConsumerFacts,
    PipelineFacts,
    Said,
    Sample,
    StreamFacts,
    StreamGroup,
    Trouble,
)
from outbox_operator.cli.cluster.report import ago, count
from outbox_operator.cli.cluster.screen import Cell, Column, Screen, Tone
from outbox_operator.counted import counted
from outbox_operator.plan.amounts import size, span
from outbox_operator.wire.times import format_time

_INDENT: Final = " " * 11
_CONSUMERS: Final = "consumers"
MOST_EVENTS: Final = 5
_LONGEST_MESSAGE: Final = 600
_LONGEST_EVENT: Final = 240
MOST_NOT_WELL: Final = 20
_TONES: Final[dict[str, Tone]] = {"True": "good", "False": "bad", "Unknown": "warn"}


def one(facts: PipelineFacts, now: datetime, screen: Screen) -> Iterator[str]:
    """A pipeline on one screen."""
    state = screen.paint(facts.ready, _TONES.get(facts.ready, "warn"))
    yield f"OutboxPipeline {facts.namespace}/{facts.name}   Ready: {state} ({facts.reason})"
    if not facts.seen:
        yield from screen.wrap("the operator has not looked at the last change yet", "  ")
    yield ""
    yield from _line("rows", _rows(facts, now), screen)
    yield from _line("relay", _relay(facts, now), screen)
    yield from _line("stream", _stream(facts.stream, now), screen)
    if facts.consumers:
        yield from _consumers(facts.consumers, screen)
        for consumer in facts.consumers:
            if not consumer.sample.known:
                yield from screen.wrap(f"{consumer.name}: {unknown(consumer.sample, now)}", _INDENT)
    else:
        yield from _line("consumers", "none", screen)
    kept = [
        f"{one.name}: {_archive(one.archive, now)}"
        for one in facts.consumers
        if one.archive is not None
    ]
    for head, text in zip(["archive", *[""] * len(kept)], kept, strict=False):
        yield from _line(head, text, screen)
    scaled = [("relay", facts.relay.scaling), *((c.name, c.scaling) for c in facts.consumers)]
    lines = [f"{name}: {text}" for name, text in scaled if text is not None]
    for head, text in zip(["scaling", *[""] * len(lines)], lines, strict=False):
        yield from _line(head, text, screen)
    yield from _line("dead", _dead(facts), screen)
    yield from _troubles(facts.not_well, now, screen)
    if facts.events:
        yield from ("", "events")
        yield from _events(facts.events[-MOST_EVENTS:], now, screen)
    if facts.next:
        yield from ("", "next")
        yield from map(screen.command, facts.next)


def many(
    all_: Sequence[PipelineFacts], now: datetime, screen: Screen, *, namespaces: bool
) -> Iterator[str]:
    """A line for each pipeline, and what is not well."""
    columns = [
        *([Column("NAMESPACE", wraps=True)] if namespaces else []),
        Column("NAME", wraps=True),
        Column("READY"),
        Column("REASON", wraps=True),
        Column("ROWS", right=True),
        Column("OLDEST", right=True, goes=2),
        Column("PER S", right=True, goes=1),
        Column("RELAY", right=True),
        Column("PENDING", right=True),
        Column("DEAD", right=True),
    ]
    yield from screen.table(columns, [_row(facts, namespaces) for facts in all_])
    bad = [facts for facts in all_ if not facts.well]
    if bad:
        yield from ("", f"{len(bad)} of {len(all_)} not well")
    for facts in bad[:MOST_NOT_WELL]:
        text = f"{facts.namespace}/{facts.name}: {_first(facts, now)}"
        yield from screen.tell(text, "  ", hang="    ")
    if len(bad) > MOST_NOT_WELL:
        yield f"  and {len(bad) - MOST_NOT_WELL} more"
    if bad:
        worst = bad[0]
        command = f"kubectl outbox status {worst.name} -n {worst.namespace}"
        yield from ("", screen.command(command))


def alone(
    groups: Sequence[StreamGroup], now: datetime, screen: Screen, *, namespaces: bool
) -> Iterator[str]:
    """A line for each stream without a pipeline, and what is not well."""
    columns = [
        *([Column("NAMESPACE", wraps=True)] if namespaces else []),
        Column("STREAM", wraps=True),
        Column("READY"),
        Column("MESSAGES", right=True),
        Column("CONSUMERS", right=True, goes=1),
        Column("PENDING", right=True),
        Column("OLDEST", right=True, goes=2),
        Column("DEAD", right=True),
    ]
    rows: list[list[str | Cell]] = [
        [
            *([one.namespace] if namespaces else []),
            one.name,
            Cell(one.ready or "-", _TONES.get(one.ready or "", "plain")),
            count(one.stream.messages) if one.ready else "-",
            str(len(one.consumers)),
            count(_most([consumer.pending for consumer in one.consumers])),
            _oldest([consumer.oldest_seconds for consumer in one.consumers]),
            count(one.stream.dead_letters) if one.ready else "-",
        ]
        for one in groups
    ]
    yield "streams without a pipeline"
    yield from screen.table(columns, rows, "  ")
    yield from _troubles([trouble for one in groups for trouble in one.not_well], now, screen)


def unknown(sample: Sample, now: datetime) -> str:
    """Since when numbers are not known, why, and what they were."""
    since = f" for {ago(sample.unknown_since, now).removesuffix(' ago')}"
    text = f"unknown{since if sample.unknown_since else ''}: {sample.why}"
    if not sample.last or sample.read_at is None:
        return f"{text}; never read"
    was = ", ".join(f"{name} {value:.10g}" for name, value in sample.last.items())
    return f"{text}; {ago(sample.read_at, now)} it was {was}"


def pods(ready: int | None, wanted: int | None) -> str:
    """Ready pods of those that are wanted."""
    return f"{count(ready)}/{count(wanted)}" if wanted is not None else "-"


def rate(per_second: float | None) -> str:
    """Events a second."""
    return "-" if per_second is None else f"{per_second:.3g}"


def _line(head: str, text: str, screen: Screen) -> list[str]:
    return screen.wrap(text, head.ljust(len(_INDENT)), hang=_INDENT)


def _rows(facts: PipelineFacts, now: datetime) -> str:
    rows = facts.rows
    if not rows.sample.known:
        return unknown(rows.sample, now)
    oldest = f", the oldest for {span(rows.oldest_seconds or 0)}" if rows.waiting else ""
    waiting = count(rows.waiting, at_least=rows.is_estimate)
    return f"{waiting} wait{oldest}; read {ago(rows.sample.read_at, now)}"


def _relay(facts: PipelineFacts, now: datetime) -> str:
    relay = facts.relay
    parts = [f"{pods(relay.ready, relay.wanted)} ready" if relay.wanted else "stopped"]
    if relay.per_second is not None:
        parts.append(f"{rate(relay.per_second)} events/s")
    if relay.published_total is not None:
        parts.append(f"{relay.published_total} published")
    if relay.last_published_at is not None:
        parts.append(f"the last {ago(relay.last_published_at, now)}")
    if relay.restarts:
        parts.append(counted(relay.restarts, "restart"))
    return ", ".join(parts)


def _stream(stream: StreamFacts, now: datetime) -> str:
    if not stream.sample.known:
        return f"{stream.name or 'not there yet'}: {unknown(stream.sample, now)}"
    return f"{stream.name}: {_messages(stream)}, {size(stream.bytes or 0)}"


def _messages(stream: StreamFacts) -> str:
    return "? messages" if stream.messages is None else counted(stream.messages, "message")


def _archive(archive: ArchiveFacts, now: datetime) -> str:
    if archive.sampled_at is None:
        return "never read"
    complete = "completeness not provable"
    if archive.complete_to is not None:
        complete = f"complete to {format_time(archive.complete_to, 'seconds')}"
    parts = [f"about {counted(archive.rows, 'event')}", complete]
    if archive.gaps:
        parts.append(counted(archive.gaps, "gap"))
    seals = "no seal" if archive.last_seal is None else counted(archive.last_seal, "seal")
    parts.append(f"{seals} against tampering")
    if archive.backfilling:
        parts.append("rows of the outbox on their way")
    return f"{', '.join(parts)}; read {ago(archive.sampled_at, now)}"


def _consumers(consumers: Iterable[ConsumerFacts], screen: Screen) -> Iterator[str]:
    columns = [
        Column("NAME", wraps=True),
        Column("READY"),
        Column("PODS", right=True),
        Column("PENDING", right=True),
        Column("IN WORK", right=True),
        Column("OLDEST", right=True, goes=3),
        Column("AGAIN", right=True, goes=2),
        Column("PER S", right=True, goes=1),
        Column("DEAD", right=True),
    ]
    rows: list[list[str | Cell]] = [
        [
            one.name,
            Cell(one.ready, _TONES.get(one.ready, "warn")),
            "stopped" if one.state == "Stopped" else pods(one.ready_pods, one.wanted),
            count(one.pending),
            count(one.in_flight),
            "?" if one.oldest_seconds is None else span(one.oldest_seconds),
            count(one.redelivered),
            rate(one.per_second),
            count(one.dead_letters),
        ]
        for one in consumers
    ]
    first, *others = screen.table(columns, rows, _INDENT)
    yield _CONSUMERS + first[len(_CONSUMERS) :]
    yield from others


def _dead(facts: PipelineFacts) -> str:
    table, stream = facts.rows.dead_letters, facts.stream.dead_letters
    where = facts.stream.dead_letter_key or "the stream"
    return f"{count(table)} in the table (relay), {count(stream)} in {where} (consumers)"


def _troubles(troubles: Sequence[Trouble], now: datetime, screen: Screen) -> Iterator[str]:
    if troubles:
        yield from ("", "not well")
    for trouble in troubles[:MOST_NOT_WELL]:
        since = "" if trouble.since is None else f", {ago(trouble.since, now)}"
        head = f"  {trouble.kind} {trouble.name}: {trouble.type} {trouble.status}"
        yield from screen.wrap(f"{head.strip()}, {trouble.reason}{since}", "  ", hang="    ")
        if trouble.message:
            yield from screen.tell(_short(trouble.message, _LONGEST_MESSAGE), "    ")
    if len(troubles) > MOST_NOT_WELL:
        yield f"  and {len(troubles) - MOST_NOT_WELL} more"


def _events(events: Iterable[Said], now: datetime, screen: Screen) -> Iterator[str]:
    for said in events:
        again = f" ({counted(said.count, 'time')})" if said.count > 1 else ""
        message = _short(said.message, _LONGEST_EVENT)
        text = f"{ago(said.at, now)} {said.reason}{again} {said.name}: {message}"
        yield from screen.tell(text, "  ", hang="    ")


def _short(text: str, longest: int) -> str:
    """A text that leaves room for the others on one screen; JSON has all of it."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _row(facts: PipelineFacts, namespaces: bool) -> list[str | Cell]:
    most = _most([one.pending for one in facts.consumers])
    return [
        *([facts.namespace] if namespaces else []),
        facts.name,
        Cell(facts.ready, _TONES.get(facts.ready, "warn")),
        facts.reason,
        count(facts.rows.waiting, at_least=facts.rows.is_estimate),
        "?" if facts.rows.oldest_seconds is None else span(facts.rows.oldest_seconds),
        rate(facts.relay.per_second),
        pods(facts.relay.ready, facts.relay.wanted),
        count(most),
        count(dead_letters(facts)),
    ]


def _most(numbers: Sequence[int | None]) -> int | None:
    """The largest; None: one of them is not known."""
    return None if None in numbers else max((n for n in numbers if n is not None), default=0)


def _oldest(ages: Sequence[float | None]) -> str:
    return "?" if None in ages else span(max((a for a in ages if a is not None), default=0))


def dead_letters(facts: PipelineFacts) -> int | None:
    """Dead letters of both kinds; None: not known."""
    table, stream = facts.rows.dead_letters, facts.stream.dead_letters
    return None if table is None or stream is None else table + stream


def _first(facts: PipelineFacts, now: datetime) -> str:
    if facts.not_well:
        trouble = facts.not_well[0]
        return f"{trouble.type} {trouble.status}, {trouble.reason}: {trouble.message}"
    if not facts.seen:
        return "the operator has not looked at the last change yet"
    if facts.ready != "True":
        return f"{facts.reason}: {facts.message}"
    samples = [facts.rows.sample, facts.stream.sample, *(one.sample for one in facts.consumers)]
    return next((unknown(one, now) for one in samples if not one.known), "")
