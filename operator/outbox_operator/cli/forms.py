"""Verbs of two forms: with a NAME they are about something there, without about what is given.

An option of the other form is refused, and never dropped: who gives one counts on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import Any, Final

from outbox_operator.errors import SpecError

_GIVEN: Final = "given"


class _Noted(argparse.Action):
    """Keeps a value, and that it was given: a default can be given, too."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        if self.option_strings:
            given = {*getattr(namespace, _GIVEN, ()), self.option_strings[-1]}
            setattr(namespace, _GIVEN, given)


def note(parser: argparse.ArgumentParser) -> None:
    """Have a parser keep which options it is given; to be called before they are added."""
    parser.register("action", None, _Noted)
    parser.set_defaults(**{_GIVEN: frozenset()})


def refuse_others(
    args: argparse.Namespace,
    *,
    named: Collection[str],
    unnamed: Collection[str],
    in_cluster: Collection[str],
) -> None:
    """Refuse options of the form that is not meant.

    Args:
        args: Of the verb, whose NAME is `name`.
        named: Options that hold with a NAME alone.
        unnamed: Options that hold without one alone.
        in_cluster: Those of `named` that mean nothing on a laptop.

    Raises:
        SpecError: Names the first.
    """
    given = sorted(getattr(args, _GIVEN))
    for option in given:
        if args.laptop is not None and option in unnamed:
            raise SpecError(
                f"{option} is for `outbox {args.verb}` without `dev`, and this is about a laptop"
            )
        if args.name is None and option in named:
            raise SpecError(f"{option} holds with NAME alone, and none is given")
        if args.name is not None and option in unnamed:
            raise SpecError(f"{option} holds without NAME alone, found {args.name!r}")
        if args.laptop is not None and option in in_cluster:
            raise SpecError(f"{option} is of a cluster, and this is about a laptop")
