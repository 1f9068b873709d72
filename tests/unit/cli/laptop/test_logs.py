"""Which lines of a log are shown, and with which time."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from outbox_operator.cli.laptop import logs
from outbox_operator.errors import KubernetesError
from outbox_operator.wire.times import format_time

NOW: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
FIRST: Final = '{"time": "2026-01-31T11:58:00.000Z", "message": "a"}'
SECOND: Final = '{"time": "2026-01-31T11:59:30.000Z", "message": "b"}'
TEXT: Final = f"{FIRST}\nprinted by a handler\n{SECOND}\n"
AT: Final = "2026-01-31T11:58:00.000Z"
LATER: Final = "2026-01-31T11:59:30.000Z"


def shown(text: str | bytes, query: dict[str, str] | None = None) -> list[str]:
    """Lines of a log, each with its time."""
    data = text if isinstance(text, bytes) else text.encode()
    found = logs.chosen(logs.Log().read(io.BytesIO(data), whole=False), query or {}, NOW)
    return [f"{format_time(at, 'milliseconds')} {line}" for at, line in found]


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ({}, [f"{AT} {FIRST}", f"{AT} printed by a handler", f"{LATER} {SECOND}"]),
        ({"tailLines": "1"}, [f"{LATER} {SECOND}"]),
        ({"limitBytes": str(len(SECOND))}, [f"{LATER} {SECOND}"]),
        ({"sinceSeconds": "60"}, [f"{LATER} {SECOND}"]),
        ({"sinceSeconds": "30"}, [f"{LATER} {SECOND}"]),
        ({"sinceSeconds": "29"}, []),
        ({"sinceTime": "2026-01-31T12:00:00Z"}, []),
        ({"sinceTime": "2026-01-31T11:59:30Z"}, [f"{LATER} {SECOND}"]),
        ({"sinceTime": "2026-01-31T12:59:30+01:00"}, [f"{LATER} {SECOND}"]),
    ],
)
def test_which_lines(query: dict[str, str], lines: list[str]) -> None:
    assert shown(TEXT, query) == lines


@pytest.mark.parametrize(
    "said",
    [
        "[" * 20_000, '{"a": ' * 5_000, '{"time": 5}', '{"time": null}', '{"time": "later"}',
        '{"time": "2026-01-31T12:00:00"}', '{"time": "\\ud800"}', '{"x": ' + "9" * 5000 + "}",
        '{"time"}', "{", "\x00\x1b[2J", "a\rb\x0bc\u2028d",
    ],
    ids=range(12),
)  # fmt: skip
def test_what_others_print_is_a_line_without_a_time(said: str) -> None:
    found = shown(f"{FIRST}\n{said}\n{SECOND}\n")
    assert found == [f"{AT} {FIRST}", f"{AT} {said}", f"{LATER} {SECOND}"]


def test_what_is_no_text_or_has_no_end_is_shown_as_far_as_it_goes() -> None:
    assert shown(b"\xff\xfe\n")[0].endswith(" \ufffd\ufffd")
    [long, last] = shown(b"x" * 10_000_000 + b"\nlast, without an end")
    assert len(long) < logs.LONGEST_LINE + 30
    assert last.endswith(" last, without an end")


def test_a_time_of_another_zone_or_precision_is_the_same_time() -> None:
    [line] = shown('{"time": "2026-01-31T13:58:00.0004+02:00"}\n')
    assert line.startswith(f"{AT} ")


async def test_lines_that_come(tmp_path: Path) -> None:
    path = tmp_path / "relay-orders.log"
    path.write_text(f"{FIRST}\nbegun, ")
    found = logs.lines(path, {"tailLines": "5"}, follow=True)
    assert await anext(found) == f"{AT} {FIRST}"
    with path.open("a") as file:
        file.write(f"ended\n{SECOND}\n")
    assert await anext(found) == f"{AT} begun, ended"
    assert await anext(found) == f"{LATER} {SECOND}"
    await found.aclose()  # type: ignore[attr-defined]


async def test_a_process_that_has_never_run(tmp_path: Path) -> None:
    with pytest.raises(KubernetesError, match="No such file"):
        await anext(logs.lines(tmp_path / "relay-orders.log", {}, follow=False))
