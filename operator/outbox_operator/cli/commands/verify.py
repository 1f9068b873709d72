"""`outbox verify`: whether each row of a time is in the stream, once and in order."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import moments, options, target

HELP: Final = "compare the outbox with its stream: lost, double, out of order"
LAPTOP: Final = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.pipeline(parser, "name of the OutboxPipeline")
    which = parser.add_argument_group("which events (default: all that the outbox still has)")
    begin = which.add_mutually_exclusive_group()
    begin.add_argument(
        "--since", type=moments.option, metavar="TIME", help="written then or later, or for 2h"
    )
    begin.add_argument(
        "--from-position", type=options.number, metavar="N", help="from this position on"
    )
    end = which.add_mutually_exclusive_group()
    end.add_argument("--until", type=moments.option, metavar="TIME", help="written before then")
    end.add_argument(
        "--to-position", type=options.number, metavar="N", help="up to this position, included"
    )
    options.look(parser)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Compare; 0 when nothing is wrong."""
    from outbox_operator.cli.cluster import doctor, session

    return session.run(args, doctor.verify)
