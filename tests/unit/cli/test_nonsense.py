"""Whatever somebody types as the value of an option, it is used or refused, and no traceback."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import suppress

import pytest

from outbox_operator.cli import main as cli

NONSENSE = (
    "", " ", "-", "-1", "0", "1e999", "nan", "inf", "²", "٣", "9" * 5000, "99999999999999999999",
    "999999d", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "2026-13-01T00:00Z",
    "2026-01-01", "2026-01-01T00:00", "a=b", "a in (b,c)", "!a", "a!=b", "=", ",", "-5", "7-",
    "5-1", "\x00", "\ud800", "x" * 10_000, "é/ü", "/", "a/b/c", "evc/", "[", "{}",
)  # fmt: skip


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All of a parser and of those below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from actions(below)


@pytest.mark.parametrize("verb", cli.verbs())
def test_values_of_options(verb: str) -> None:
    parser = argparse.ArgumentParser()
    cli.load(verb).configure(parser)
    for action in actions(parser):
        if not callable(action.type):
            continue
        for text in NONSENSE:
            # What argparse makes an error of usage of.
            with suppress(argparse.ArgumentTypeError, TypeError, ValueError):
                action.type(text)
