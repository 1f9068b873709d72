"""Which object a person means: `orders`, `obp/orders`, `evc/mailer`. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from outbox_operator.api import meta

_WORDS: Final[Mapping[str, str]] = {
    word: kind
    for kind, short in ((meta.PIPELINE, "obp"), (meta.STREAM, "evs"), (meta.CONSUMER, "evc"))
    for word in (short, kind.lower(), meta.PLURALS[kind], f"{kind.lower()}.{meta.GROUP}")
}


@dataclass(frozen=True, slots=True)
class Target:
    """An object of ours."""

    kind: str
    name: str


def parse(text: str) -> Target:
    """The object that a word names; without a kind a pipeline. For `argparse`."""
    word, slash, name = text.rpartition("/")
    kind = _WORDS.get(word.lower()) if slash else meta.PIPELINE
    if kind is None or not name:
        raise argparse.ArgumentTypeError(
            f"wanted NAME of a pipeline, or obp/NAME, evs/NAME, evc/NAME; found {text!r}"
        )
    return Target(kind, name)


def configure(
    parser: argparse.ArgumentParser, what: str, *, several: bool = True, needed: bool = True
) -> None:
    """Add the argument that names objects: `args.targets`, or one, `args.target`.

    Args:
        parser: Of the verb.
        what: What they are, for the help.
        several: Whether it takes more than one.
        needed: Whether it needs one at least.
    """
    if several:
        nargs = "+" if needed else "*"
        parser.add_argument("targets", nargs=nargs, type=parse, metavar="[KIND/]NAME", help=what)
    else:
        parser.add_argument("target", type=parse, metavar="[KIND/]NAME", help=what)
