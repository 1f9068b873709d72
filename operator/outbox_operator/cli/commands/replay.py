"""`outbox replay`: send events again that the outbox still has."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import moments, options, target

HELP: Final = "send events again that the outbox still has, to all consumers or to one"
LAPTOP: Final = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.pipeline(parser, "name of the OutboxPipeline")
    which = parser.add_argument_group("which events")
    which.add_argument("--all", action="store_true", help="all that the outbox still has")
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
    which.add_argument(
        "--position", type=options.positions, action="append", default=[], metavar="N[-M]",
        help="the event at this position, or those from one to another; may be repeated, with a "
        "task for each",
    )  # fmt: skip
    for option, what in (("type", "event type"), ("key", "partition key")):
        which.add_argument(
            f"--{option}", action="append", default=[], metavar=option.upper(),
            help=f"of this {what}; may be repeated",
        )  # fmt: skip
    parser.add_argument(
        "--to-consumer", metavar="NAME", help="to this consumer alone (default: to all)"
    )
    parser.add_argument(
        "--allow-partial", action="store_true",
        help="send what is left although the outbox no longer has all that is wanted",
    )  # fmt: skip
    parser.add_argument(
        "--allow-other-readers", action="store_true",
        help="with --to-consumer: although programs of others read the stream",
    )  # fmt: skip
    options.task(parser)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Have them sent; 0 when all were."""
    from outbox_operator.cli.cluster import again, session

    return session.run(args, again.replay)
