"""`outbox task`: follow a task that was made before, and end with its result."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options

HELP: Final = "follow an OutboxTask that was made before, and end with its result"
LAPTOP: Final = "on a laptop a task ends with the command that made it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", metavar="TASK", help="name of the OutboxTask")
    options.waiting(parser, 3600)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Follow it; 0 when all was done."""
    from outbox_operator.cli.cluster import session, tasks

    return session.run(args, tasks.follow)
