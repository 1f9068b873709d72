"""Reports: what was asked, and their lines as JSON or CSV. Pure."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from outbox_operator.adapters.postgres.archive_reports import MOST_LINES, Interval
from outbox_operator.archive.api.problems import Fault, ProblemError, bad_question, shown
from outbox_operator.wire.times import format_time, parse_time

NAMES: Final = ("activity", "actors", "failures", "completeness", "retention")
OF_NOBODY: Final = ("completeness", "retention")
"""Those about the archive, not about events that may be somebody's."""
_DAYS: Final = 30
_MOST_DAYS: Final = 366
_OWN: Final = ("interval", "format")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a report is asked for beside the events.

    Attributes:
        interval: Stretches that it counts by.
        as_csv: Else as JSON.
        given: The other parameters, with a time.
    """

    interval: Interval
    as_csv: bool
    given: Mapping[str, Sequence[str]]


def parse(name: str, given: Mapping[str, Sequence[str]], now: dt.datetime) -> Wish:
    """What the parameters ask for; the last 30 days unless they say otherwise.

    Raises:
        ProblemError: There is no such report, or it cannot be understood.
    """
    if name not in NAMES:
        raise ProblemError(404, "No such report", f"wanted one of {', '.join(NAMES)}")
    faults = []
    chosen = {"interval": "day", "format": "json"}
    for own, allowed in (("interval", get_args(Interval)), ("format", ("json", "csv"))):
        values = given.get(own, (chosen[own],))
        if len(values) != 1 or values[0] not in allowed:
            faults.append(Fault(own, f"one of {', '.join(allowed)}", shown(list(values))))
        chosen[own] = values[0]
    rest = {one: values for one, values in given.items() if one not in _OWN}
    if name in OF_NOBODY:
        faults += [Fault(shown(one)[1:-1], "format alone", "a name not known here") for one in rest]
    else:
        until = parse_time(next(iter(rest.get("to", ())), None)) or now
        try:
            since = parse_time(next(iter(rest.get("from", ())), None)) or until - dt.timedelta(
                days=_DAYS
            )
            rest.setdefault("from", [format_time(since)])
            if until - since > dt.timedelta(days=_MOST_DAYS):
                wanted = f"a time at most {_MOST_DAYS} days before `to`"
                faults.append(Fault("from", wanted, format_time(since)))
        except OverflowError:
            faults.append(Fault("to", "a time as 2026-01-31T12:00:00Z", format_time(until)))
    if faults:
        raise bad_question(*faults)
    return Wish(cast(Interval, chosen["interval"]), chosen["format"] == "csv", rest)


def rendered(name: str, wish: Wish, rows: Sequence[Mapping[str, Any]]) -> str:
    """The report.

    Raises:
        ProblemError: It has too many lines.
    """
    if len(rows) > MOST_LINES:
        raise ProblemError(
            422, "Too many lines", f"it has over {MOST_LINES} lines: ask for a shorter time, or a "
            "longer interval",
        )  # fmt: skip
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    if not wish.as_csv:
        return json.dumps({"report": name, "rows": plain}, ensure_ascii=False)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(plain[0]) if plain else ["rows"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in plain)
    return text.getvalue()


def _plain(value: object) -> object:
    return format_time(value) if isinstance(value, dt.datetime) else value


def _cell(value: object) -> object:
    """No text that a spreadsheet would carry out."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
