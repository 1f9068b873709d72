"""`outbox stop`: run no pods of a relay or consumer; events wait."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options, target

HELP: Final = "stop the relay of a pipeline, or a consumer; events wait"
LAPTOP: Final = (
    "processes run as long as `outbox dev` does: Ctrl-C stops them, and the servers with them"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.configure(parser, "a pipeline, whose relay is meant, or evc/NAME")
    parser.add_argument(
        "--consumer", metavar="NAME", help="this consumer of the pipeline, not its relay"
    )
    options.waiting(parser, 120)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; 0 once it took effect."""
    from outbox_operator.cli.cluster import change, changes, session

    work = change.work(lambda body: changes.set_state(body, "Stopped", args.consumer))
    return session.run(args, work)
