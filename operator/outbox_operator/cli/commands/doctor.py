"""`outbox doctor`: what is not well, and the command that heals it."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options

HELP: Final = "look for what is not well, from outside and from inside, with the command that heals"
LAPTOP: Final = "there is no cluster to look at; `outbox dev status` says what is not well"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="of an OutboxPipeline (default: all there are)"
    )
    parser.add_argument(
        "--no-task", action="store_true",
        help="look from outside alone, and have the operator look at nothing",
    )  # fmt: skip
    options.looking(parser)
    options.configure(parser, all_namespaces=True)
    parser.epilog = (
        'It changes nothing. What it may not look at, it says. The reference "What the doctor '
        'finds" explains each finding.'
    )


def run(args: argparse.Namespace) -> int:
    """Look; 0 when nobody has to act, 1 for errors and warnings."""
    from outbox_operator.cli.cluster import doctor, session

    return session.run(args, doctor.look)
