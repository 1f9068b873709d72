"""`outbox start`: run the pods of a relay or consumer again."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options, target

HELP: Final = "start the relay of a pipeline, or a consumer, again"
LAPTOP: Final = "processes run as long as `outbox dev` does: start that"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.configure(parser, "a pipeline, whose relay is meant, or evc/NAME")
    parser.add_argument(
        "--consumer", metavar="NAME", help="this consumer of the pipeline, not its relay"
    )
    options.waiting(parser, 600)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; 0 once it took effect."""
    from outbox_operator.cli.cluster import change, changes, session

    work = change.work(lambda body: changes.set_state(body, "Running", args.consumer))
    return session.run(args, work)
