"""Dead letters as text: a line each, or one with all that is known of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from outbox_operator.cli.cluster.letters import Place
from outbox_operator.cli.cluster.letters_read import Read
from outbox_operator.cli.cluster.report import ago, count, document, moment
from outbox_operator.cli.cluster.screen import Column, Screen

_TOLD = ("id", "headers", "payload", "payloadBase64", "payloadCut", "payloadBytes", "error")


def counts(all_: Sequence[Place], screen: Screen, *, namespaces: bool) -> Iterator[str]:
    """How many there are by place, where there is one."""
    shown = [one for one in all_ if one.dead_letters != 0]
    if not shown:
        yield "there are no dead letters" if all_ else "nothing is there that could have any"
        return
    columns = [
        *([Column("NAMESPACE", wraps=True)] if namespaces else []),
        Column("PIPELINE", wraps=True),
        Column("OF", wraps=True),
        Column("DEAD", right=True),
        Column("READ-AT", goes=1),
    ]
    rows = [
        [
            *([one.namespace] if namespaces else []),
            one.pipeline or "-",
            one.where,
            count(one.dead_letters),
            str(document(one.read_at) or "never"),
        ]
        for one in shown
    ]
    yield from screen.table(columns, rows)
    first = shown[0]
    target = first.pipeline or f"evc/{first.name}"
    yield from ("", screen.command(f"kubectl outbox dlq list {target} -n {first.namespace}"))


def listed(all_: Sequence[Read], now: datetime, screen: Screen) -> Iterator[str]:
    """A line for each letter."""
    columns = [
        Column("OF", wraps=True),
        Column("ID"),
        Column("TYPE", wraps=True),
        Column("KEY", wraps=True),
        Column("REASON", wraps=True),
        Column("DIED", goes=1),
    ]
    rows = [
        [
            one.place.where.rpartition("/")[2],
            str(letter["id"]),
            str(letter.get("type", "")),
            str(letter.get("key", "")),
            str(letter.get("reason", "")),
            ago(moment(letter.get("deadAt")), now),
        ]
        for one in all_
        for letter in one.letters
    ]
    if rows:
        yield from screen.table(columns, rows)
    elif not any(one.problem for one in all_):
        yield "there are no dead letters"
    for one in all_:
        if one.more:
            yield f"{one.place.where}: there are more; --limit shows up to 1000"
    yield from problems(all_, screen)


def whole(all_: Sequence[Read], screen: Screen) -> Iterator[str]:
    """All that is known of letters."""
    first = True
    for one in all_:
        for letter in one.letters:
            if not first:
                yield ""
            first = False
            yield from _whole(letter, one.place, screen)
    yield from problems(all_, screen)


def problems(all_: Sequence[Read], screen: Screen) -> Iterator[str]:
    """What could not be read."""
    for one in all_:
        if one.problem is not None:
            yield from screen.tell(problem(one), hang="  ")


def problem(one: Read) -> str:
    """What kept somebody from reading all letters of a place."""
    how = "not all read" if one.letters else "not read"
    return f"{one.place.where}: {how}: {one.problem}"


def _whole(letter: Mapping[str, Any], place: Place, screen: Screen) -> Iterator[str]:
    yield from screen.wrap(f"event {letter['id']}, dead letter of {place.where}")
    for name, value in letter.items():
        if name not in _TOLD:
            yield from screen.wrap(f"{name}: {value}", "  ", hang="    ")
    yield "  error:"
    for line in str(letter.get("error", "")).splitlines():
        yield from screen.wrap(line, "    ")
    yield "  headers:"
    headers = letter.get("headers") or {}
    if isinstance(headers, Mapping):
        for name, value in headers.items():
            yield from screen.wrap(f"{name}: {value}", "    ", hang="      ")
    else:  # of a row whose headers are none
        yield from screen.wrap(str(headers), "    ", hang="      ")
    yield f"  payload: {letter.get('payloadBytes')} bytes" + (
        "" if "payload" in letter or "payloadBase64" in letter else "; --payload shows it"
    )
    if "payload" in letter:
        for line in str(letter["payload"]).splitlines():
            yield from screen.wrap(line, "    ")
    if "payloadBase64" in letter:
        yield from screen.wrap(f"base64: {letter['payloadBase64']}", "    ")
    if letter.get("payloadCut"):
        yield "    (cut)"
