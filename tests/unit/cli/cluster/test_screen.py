"""Tables and sentences on terminals of any width, and on none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from outbox_operator.cli.cluster.options import FORMS
from outbox_operator.cli.cluster.report import Report, rendered
from outbox_operator.cli.cluster.screen import Cell, Column, Screen, clean

COLUMNS = [
    Column("NAME", wraps=True),
    Column("REASON", wraps=True),
    Column("RATE", right=True, goes=1),
    Column("ROWS", right=True),
]
ROWS = [
    ["orders", "PipelineRunning", "12", "0"],
    ["a-pipeline-with-a-long-name", "PostgresUnreachable", "1", "123456"],
]


@pytest.mark.parametrize("width", [None, 40, 50, 60, 80, 200])
def test_a_table_is_never_wider_than_the_screen(width: int | None) -> None:
    lines = Screen(width=width).table(COLUMNS, ROWS)
    assert width is None or max(map(len, lines)) <= width
    assert lines[1].endswith(" 0")
    assert lines[2].endswith(" 123456")


def test_without_a_terminal_nothing_is_cut() -> None:
    assert Screen().table(COLUMNS, ROWS) == [
        "NAME                         REASON               RATE    ROWS",
        "orders                       PipelineRunning        12       0",
        "a-pipeline-with-a-long-name  PostgresUnreachable     1  123456",
    ]


def test_a_column_goes_before_a_name_or_a_reason_takes_two_lines() -> None:
    assert Screen(width=57).table(COLUMNS, ROWS) == [
        "NAME                         REASON                 ROWS",
        "orders                       PipelineRunning           0",
        "a-pipeline-with-a-long-name  PostgresUnreachable  123456",
    ]
    assert Screen(width=40).table(COLUMNS, ROWS) == [
        "NAME             REASON             ROWS",
        "orders           PipelineRunning       0",
        "a-pipeline-      Postgres         123456",
        "with-a-long-     Unreachable",
        "name",
    ]


@pytest.mark.parametrize("name", ["x" * 63, "x-" * 31 + "x", "xxxxx-" * 10 + "xxx"])
@pytest.mark.parametrize("width", [40, 47, 59, 80])
def test_nothing_of_a_name_is_lost(width: int, name: str) -> None:
    lines = Screen(width=width).table(COLUMNS, [[name, "PostgresUnreachable", "1", "2"]])
    assert max(map(len, lines)) <= width
    assert sum(line.count("x") for line in lines) == name.count("x")
    assert "…" not in "".join(lines)


def test_what_others_write_takes_no_more_than_some_lines() -> None:
    _, *lines = Screen(width=40).table(COLUMNS, [["k" * 9999, "Fine", "1", "2"]])
    assert len(lines) == 8
    assert lines[-1].endswith("k…")


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({}, True, Screen(width=120, colour=True)),
        ({}, False, Screen(width=None, colour=False)),
        ({"NO_COLOR": "1"}, True, Screen(width=120, colour=False)),
        ({"NO_COLOR": ""}, True, Screen(width=120, colour=True)),
        ({"TERM": "dumb"}, True, Screen(width=120, colour=False)),
        ({"COLUMNS": "80"}, False, Screen(width=80, colour=False)),
        ({"COLUMNS": "80"}, True, Screen(width=80, colour=True)),
        ({"COLUMNS": "0"}, True, Screen(width=120, colour=True)),
        ({"COLUMNS": "wide"}, True, Screen(width=120, colour=True)),
        ({"COLUMNS": "3"}, True, Screen(width=40, colour=True)),
    ],
)
def test_what_the_environment_says_of_a_screen(
    environment: Mapping[str, str], terminal: bool, wanted: Screen
) -> None:
    assert Screen.of(environment, terminal=terminal, columns=120) == wanted


def test_colour_takes_no_room() -> None:
    rows: list[list[str | Cell]] = [[Cell("False", "bad"), "1"], [Cell("True", "good"), "2"]]
    columns = [Column("READY"), Column("N")]
    plain = Screen().table(columns, rows)
    coloured = Screen(colour=True).table(columns, rows)
    assert plain == ["READY  N", "False  1", "True   2"]
    assert coloured[1:] == ["\x1b[31mFalse\x1b[0m  1", "\x1b[32mTrue\x1b[0m   2"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines", "two lines"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\x00b", "a\\x00b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("Grüße …", "Grüße …"),
    ],
)
def test_a_terminal_obeys_nothing_that_others_wrote(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_long_word_stays_whole() -> None:
    url = "https://" + "x" * 90
    assert url in Screen(width=40).wrap(f"see {url} now", "  ")[1]


@pytest.mark.parametrize("form", FORMS)
def test_no_form_holds_what_a_terminal_obeys(form: str) -> None:
    evil = "id \x1b]0;owned\x07 \u202e \x9b"
    report = Report(
        facts={"id": evil}, lines=lambda screen: screen.wrap(evil), names=[evil]
    )  # fmt: skip
    assert rendered(report, form, Screen()).replace("\n", "").isprintable()
    fine = Report(facts={"id": "größe"}, lines=lambda screen: [], names=[])
    assert form != "yaml" or rendered(fine, form, Screen()) == "id: größe\n"
