"""`outbox restart`: roll pods, the next one ready before the last one stops."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options, target

HELP: Final = "roll the pods of a relay, of consumers, or of both"
LAPTOP: Final = (
    "stop `outbox dev` with Ctrl-C and start it again; a process that ends is started anew"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.configure(parser, "a pipeline, or evc/NAME")
    parser.add_argument(
        "--only", choices=("relay", "consumers"), help="of a pipeline (default: both)"
    )
    options.waiting(parser, 600)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; 0 once it took effect."""
    from outbox_operator.cli.cluster import change, changes, session

    what = args.only or "all"
    work = change.work(lambda body: changes.restart(body["kind"], what))
    return session.run(args, work)
