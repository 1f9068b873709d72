"""`outbox status`: how a pipeline does, from row to dead letter, on one screen."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options

HELP: Final = "show how pipelines do, from row to dead letter, and what to do next"
LAPTOP: Final = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="of an OutboxPipeline (default: all there are)"
    )
    options.configure(parser, all_namespaces=True, watch=True)


def run(args: argparse.Namespace) -> int:
    """Show it; 0 when all is well, 1 when something is not."""
    from outbox_operator.cli.cluster import session, status

    return session.run(args, status.look)
