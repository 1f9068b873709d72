"""`outbox logs`: the logs of all pods of a pipeline or consumer, merged by time."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import moments, options, target

HELP: Final = "show the logs of a pipeline's or consumer's pods, merged by time"
LAPTOP: Final = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.configure(parser, "a pipeline, or evc/NAME", several=False)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--only", choices=("relay", "consumers"), help="of a pipeline (default: both)"
    )
    which.add_argument("--consumer", metavar="NAME", help="of a pipeline: this consumer alone")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on as lines are written, until Ctrl-C"
    )
    parser.add_argument(
        "--tail", type=_lines, default=200, metavar="LINES",
        help="the last lines of each pod (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--since", type=moments.length, metavar="TIME", help="not older than 30s, 10m, 2h, 1d"
    )
    parser.add_argument(
        "--previous", action="store_true", help="of containers before their last restart"
    )
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Show them; 0 when each pod's log could be had."""
    from outbox_operator.cli.cluster import logs, session

    return session.run(args, logs.look)


def _lines(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"wanted a number from 1 to 100000, found {text!r}")
    return int(text)
