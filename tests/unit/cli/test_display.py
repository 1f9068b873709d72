"""The live table of `outbox dev` on terminals of any width, and on none."""

from __future__ import annotations

import re

import pytest

from outbox_operator.cli.display import Display
from outbox_operator.dev.table import Restarted, Shown, Table

HEAD = ("CONSUMER", "PENDING", "IN WORK", "REDELIVERED", "HANDLED", "PER S", "DEAD", "")
WHY = "python handler 'billing:app': no module named 'nothing_of_this_name' in /home/ada/a/shop"
SHOWN: Shown = [
    Table(
        HEAD,
        (
            ("orders-billing", "7", "1", "3", "12", "4", "1", "ended, is started again"),
            ("orders-audit", "0", "0", "0", "-", "-", "0", "not run here"),
        ),
    ),
    f"consumer-orders-billing ended once at 12:00:00 (exit code 2) and is started again: {WHY}",
]


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_nothing_that_one_needs_is_cut(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    Display(terminal=True).show(SHOWN)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < columns
    joined = "".join("".join(lines).split())
    for wanted in ("orders-audit", WHY, "not run here"):
        assert wanted.replace(" ", "") in joined or columns == 40  # there names are parted, too
    assert "…" not in joined
    assert ("REDELIVERED" in lines[0]) is (columns == 200)


def test_as_many_lines_are_erased_as_were_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    display = Display(terminal=True)
    display.show(SHOWN)
    drawn = capsys.readouterr().out.count("\n")
    display.say("relay-orders | \x1b[2Jgone")
    said = capsys.readouterr().out
    assert said.startswith(f"\x1b[{drawn}F\x1b[Jrelay-orders | \\x1b[2Jgone\n")
    assert said.count("\n") == drawn + 1
    display.show([WHY])
    assert re.match(rf"\x1b\[{drawn}F\x1b\[Jpython handler", capsys.readouterr().out)


def test_elsewhere_they_are_whole_and_printed_when_they_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    display = Display(terminal=False)
    display.show(SHOWN)
    assert capsys.readouterr().out.splitlines() == [
        "CONSUMER        PENDING  IN WORK  REDELIVERED  HANDLED  PER S  DEAD",
        "orders-billing        7        1            3       12      4     1  "
        "ended, is started again",
        "orders-audit          0        0            0        -      -     0  not run here",
        SHOWN[1],
    ]
    display.show(list(SHOWN))
    assert capsys.readouterr().out == ""
    display.say("ready after 1.2 s")
    assert capsys.readouterr().out == "ready after 1.2 s\n"


def ended(times: int, *, runs: bool = False) -> Restarted:
    return Restarted(name="relay-a", times=times, how="exit code 2", at="12:00:00", runs=runs)


def test_elsewhere_what_ends_again_and_again_is_said_ever_more_seldom(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display, table = Display(terminal=False), SHOWN[0]
    for times in range(1, 41):
        for runs in (False, True):
            display.show([table, ended(times, runs=runs)])
    display.show([table])  # it was begun anew
    display.show([table, ended(1)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines if line.startswith("relay-a")] == [
        "relay-a ended once at 12:00:00 (exit code 2) and is started again",
        *(f"relay-a ended {times} times" for times in (2, 4, 8, 16, 32)),
        "relay-a ended once at 12:00:00 (exit code 2) and is started again",
    ]
    assert sum(line.startswith("CONSUMER") for line in lines) == 1, "it did not change"


def test_at_a_terminal_it_is_said_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    display = Display(terminal=True)
    for times in (2, 3):
        display.show([ended(times, runs=True)])
        assert ended(times, runs=True).sentence in capsys.readouterr().out
