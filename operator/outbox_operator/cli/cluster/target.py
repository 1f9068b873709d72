"""Which object a person means: `orders`, `obp/orders`, `evc/mailer`. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from outbox_operator.api import meta
from outbox_operator.cli.laptop.parser import ALONE, Alone, LaptopParser, Named

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
    parser: argparse.ArgumentParser,
    what: str,
    *,
    several: bool = True,
    needed: bool = True,
    alone: bool = True,
) -> None:
    """Add the argument that names objects: `args.targets`, or one, `args.target`.

    Args:
        parser: Of the verb.
        what: What they are, for the help.
        several: Whether it takes more than one.
        needed: Whether it needs one at least.
        alone: Whether a laptop's only pipeline need not be named: nothing stands behind the name.
    """
    if several:
        nargs = "+" if needed else "*"
        parser.add_argument("targets", nargs=nargs, type=parse, metavar="[KIND/]NAME", help=what)
    elif alone:
        _one(parser, "target", parse, "[KIND/]NAME", what)
    else:
        parser.add_argument("target", type=parse, metavar="[KIND/]NAME", help=what)


def pipeline(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the argument that names a pipeline, `args.name`.

    Args:
        parser: Of the verb.
        what: It is, for the help.
    """
    _one(parser, "name", str, "PIPELINE", what)


def archive(parser: argparse.ArgumentParser, what: str, otherwise: str) -> None:
    """Add the argument that names who keeps an archive, `args.name`.

    Args:
        parser: Of the verb.
        what: It is, for the help.
        otherwise: What the verb is about in a cluster, where it is given no name.
    """
    if isinstance(parser, LaptopParser):
        _one(parser, "name", str, "NAME", what, of="archive")
    else:
        help_ = f"{what} (default: {otherwise})"
        parser.add_argument("name", nargs="?", metavar="NAME", help=help_)


def _one(
    parser: argparse.ArgumentParser,
    name: str,
    made: Callable[[str], Target | str],
    shown: str,
    what: str,
    of: Named = "pipeline",
) -> None:
    if isinstance(parser, LaptopParser):
        parser.add_argument(name, nargs="?", type=made, metavar=shown, help=f"{what}{ALONE}")
        parser.set_defaults(alone=Alone(name, of, made))
    else:
        parser.add_argument(name, type=made, metavar=shown, help=what)
