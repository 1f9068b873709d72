"""What of a process's log is put on the screen."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from outbox_operator.dev.said import LONGEST_LINE, MOST_LINES, STARTS, Said, last_words


def record(message: str, level: str = "info", logger: str = "shop") -> str:
    time = "2026-11-29T12:00:00.000Z"
    return json.dumps({"time": time, "level": level, "logger": logger, "message": message})


START = record("outbox consume starts", logger=f"{STARTS}.processes")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "billing.log"
    path.write_text("of the run before\n")
    return path


@pytest.fixture
def said(log: Path) -> Said:
    return Said("billing", log)


def write(log: Path, *lines: str, end: str = "\n") -> None:
    with log.open("a") as file:
        file.write("\n".join(lines) + end)


@pytest.mark.parametrize(
    ("line", "shown", "last"),
    {
        "a print": ("  total  7", "  total  7", "  total  7"),
        "a print that looks like JSON": ('{"id": 1}', '{"id": 1}', '{"id": 1}'),
        "half of a record": ('{"time": 1, "level": 2}', '{"time": 1, "level": 2}', "{"),
        "brackets without end": ("{" * 9, "{" * 9, "{"),
        "a failure": (record("failed", "warning", "outbox_operator.x"), "WARNING failed", "W"),
        "a dead letter": (record("dead", "error", "outbox_operator.x"), "ERROR dead", "E"),
        "a handler's own log": (record("invoiced"), "INFO invoiced", ""),
        "the runtime's remark": (record("connected", logger="outbox_operator.x"), None, ""),
        "an empty line": ("", None, ""),
    }.values(),
)
def test_what_is_shown(log: Path, said: Said, line: str, shown: str | None, last: str) -> None:
    write(log, line)
    news = said.news()
    assert [one.startswith("billing | ") for one in news] == [True] * (shown is not None)
    assert [one for one in news if not one.endswith(shown or "")] == []
    assert said.last_words(lives=False).startswith(last)
    assert bool(said.last_words(lives=False)) == bool(last)
    assert said.news() == []


def test_a_line_is_shown_once_it_is_written_whole(log: Path, said: Said) -> None:
    write(log, "to", end="")
    assert said.news() == []
    write(log, "tal")
    assert said.news() == ["billing | total"]


def test_what_each_start_says_again_is_shown_once_until_the_code_is_another(
    log: Path, said: Said
) -> None:
    write(log, START, "no module named 'shop'")
    assert said.news() == ["billing | no module named 'shop'"]
    write(log, START, "no module named 'shop'", "and now this")
    assert said.news() == ["billing | and now this"]
    said.forget()
    assert said.last_words(lives=False) == ""
    write(log, START, "no module named 'shop'")
    assert said.news() == ["billing | no module named 'shop'"]
    assert said.last_words(lives=False) == "no module named 'shop'"


def test_one_that_prints_without_end_leaves_room_for_others(log: Path, said: Said) -> None:
    write(log, *(f"line {number} {'x' * LONGEST_LINE}" for number in range(100)))
    news = said.news()
    assert len(news) == MOST_LINES + 1
    assert max(map(len, news)) < LONGEST_LINE + 20
    assert news[-1] == f"billing | … {100 - MOST_LINES} more lines: {log}"


def test_a_log_that_somebody_emptied_or_removed_is_read_from_its_start(
    log: Path, said: Said
) -> None:
    log.write_text("")
    assert said.news() == []
    write(log, "again")
    assert said.news() == ["billing | again"]
    log.unlink()
    assert said.news() == []


@pytest.mark.parametrize(
    ("lines", "ended", "of_the_one_before"),
    [
        ([], "", ""),
        (["of before"], "of before", ""),
        (
            [START, "no shop", START, record("x", "error"), record("connected")],
            "ERROR x",
            "no shop",
        ),
        ([START, "no shop", START], "", "no shop"),
        ([START, START, "no shop"], "no shop", ""),
        ([START, f"no newline{record('x', 'error')}", f"50 %{START}"], "", "50 %"),
    ],
)
def test_the_last_words_of_the_run_that_ended(
    tmp_path: Path, lines: list[str], ended: str, of_the_one_before: str
) -> None:
    log = tmp_path / "billing.log"
    assert last_words(log, lives=False) == ""
    said = Said("billing", log)
    log.write_text("".join(f"{line}\n" for line in lines))
    said.news()
    for found in (partial(last_words, log), said.last_words):
        assert found(lives=False) == ended
        assert found(lives=True) == of_the_one_before


def test_a_record_behind_what_has_no_newline_is_one(log: Path, said: Said) -> None:
    write(log, f"no newline{record('failed', 'warning')}", '{"time": "is money')
    assert [one.partition(" | ")[2][-14:] for one in said.news()] == [
        "no newline", "WARNING failed", '"time": "is money'[-14:],
    ]  # fmt: skip
