"""`outbox reset`: let a consumer read its stream from another place on."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import moments, options, target

HELP: Final = "let a consumer read its stream from another place on"
LAPTOP: Final = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.configure(parser, "evc/NAME, or a pipeline with --consumer", several=False)
    parser.add_argument("--consumer", metavar="NAME", help="of the pipeline")
    places = parser.add_argument_group("where it goes on")
    where = places.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--to-start", action="store_true", help="at the first message that the stream has"
    )
    where.add_argument("--to-end", action="store_true", help="with what comes from now on")
    where.add_argument(
        "--to-time", type=moments.option, metavar="TIME", help="with what was stored since then"
    )
    where.add_argument("--to-sequence", type=options.number, metavar="N", help="with this message")
    parser.add_argument(
        "--inbox", choices=("keep", "forget"),
        help="of a consumer with an inbox, which skips what it has handled: forget that, so that "
        "it is handled again, or keep it",
    )  # fmt: skip
    options.confirmation(parser)
    options.task(parser)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Have it reset; 0 when it was."""
    from outbox_operator.cli.cluster import again, session

    return session.run(args, again.reset)
