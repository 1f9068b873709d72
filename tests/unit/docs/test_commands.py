"""Every command of ours that a page shows is one: the program takes it as it stands there."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from outbox_operator.cli import main as program
from outbox_operator.cli.cluster import again, letters
from outbox_operator.cli.laptop.api import Laptop
from support.kube import ROOT

_LINE: Final = re.compile(r"^\s*(?:\$ )?(?:kubectl )?outbox (.*)$")
_INLINE: Final = re.compile(r"`kubectl outbox ([^`]+)`")
_FENCE: Final = re.compile(r"^\s*```(\w*)")
_END: Final = re.compile(r"\s[|>&;]|\s#")


def pages() -> list[Path]:
    """What people read."""
    found = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    return sorted([*found, *ROOT.glob("charts/**/*.md")])


def shown(page: Path) -> Iterator[tuple[int, str]]:
    """Line number and arguments of each command on a page."""
    fence: str | None = None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        mark = _FENCE.match(line)
        if mark:
            fence = mark[1] if fence is None else None
        elif fence in ("sh", "bash", "console"):
            if match := _LINE.match(line):
                yield number, _END.split(f" {match[1]}")[0].strip()
        elif fence is None:
            for match in _INLINE.finditer(line):
                if " " in match[1]:  # else it is a verb's name
                    yield number, match[1]


def taken(args: argparse.Namespace) -> int:
    """What a verb looks at before it asks a server."""
    if args.verb == "dlq" and args.dlq in ("replay", "purge"):
        letters.selection(args)
    elif args.verb == "replay":
        again.histories(args)
    return 0


class Anything:
    """A laptop that has one of all that a verb may be about."""

    def only(self, what: str) -> str:
        return what


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_program_takes_what_a_page_shows(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = program.load

    def looking(name: str) -> program.Verb:
        verb = load(name)
        return dataclasses.replace(verb, run=taken)

    monkeypatch.setattr(program, "load", looking)
    monkeypatch.setattr(Laptop, "open", lambda folder: Anything())
    wrong = list[str]()
    for number, command in shown(page):
        try:
            code = program.main(shlex.split(command))
        except SystemExit as end:
            code = int(end.code or 0)
        if code:
            said = capsys.readouterr().err.strip().splitlines()[-1:]
            wrong.append(f"{page.name}:{number}: outbox {command}: {said}")
    assert not wrong, "\n".join(wrong)
