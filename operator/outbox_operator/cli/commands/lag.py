"""`outbox lag`: how far each hop of a pipeline is behind, one line each."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options

HELP: Final = "show how far each hop of pipelines is behind, one line each, for programs too"
LAPTOP: Final = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="of an OutboxPipeline (default: all there are)"
    )
    options.configure(parser, all_namespaces=True, watch=True)
    parser.epilog = (
        "Numbers have no units: events, and seconds where a column ends in -S. What is not known "
        "is ? (null in JSON), and the exit code then 1."
    )


def run(args: argparse.Namespace) -> int:
    """Show it; 0 when every number is known."""
    from outbox_operator.cli.cluster import lag, session

    return session.run(args, lag.look)
