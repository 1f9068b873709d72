"""What is for the program that a verb runs, and stands behind `--`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Final

from outbox_operator.cli.laptop.parser import LaptopParser

_NAME: Final = "NAME"


def with_dashes(
    parser: argparse.ArgumentParser, arguments: Sequence[str], more: Sequence[str]
) -> list[str] | None:
    """Return arguments with the `--` that they lack; None: all options are the verb's own.

    Args:
        parser: Of a verb with one name, and `name_last` where the program takes names alone.
        arguments: The verb, and what stands behind it.
        more: To put before `--`.
    """
    options = {text: one for one in parser._actions for text in one.option_strings}
    own, rest = list(arguments[:1]), list(arguments[1:])
    named = False
    while rest:
        if (words := _ours(rest[0], options)) == 0 or (words is None and named):
            break
        named = named or words is None
        words = words or 1
        own, rest = own + rest[:words], rest[words:]
    if not any(one.startswith("-") and _ours(one, options) == 0 for one in rest):
        return None
    if not named:
        is_last = parser.get_default("name_last") and [*map(_is_word, rest[-2:])] == [True, True]
        if is_last:
            own, rest = [*own, rest[-1]], rest[:-1]
        elif not isinstance(parser, LaptopParser):
            own.append(_NAME)
    return [*own, *more, "--", *rest]


def _ours(word: str, options: Mapping[str, argparse.Action]) -> int | None:
    """How many words an option of the verb has, itself included; 0: it is none of the verb; None:
    it is no option."""
    if _is_word(word):
        return None
    name = word.partition("=")[0] if word.startswith("--") else word[:2]
    if (action := options.get(name)) is None:
        return 0
    if action.nargs == 0:
        return 1 if word == name else 0
    return 2 if word == name else 1


def _is_word(text: str) -> bool:
    return not text.startswith("-") or text == "-"
