"""`outbox dlq`: dead letters of relays and consumers: list, show, replay, purge."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import moments, options, target

HELP: Final = "dead letters of relays and consumers: list, show, replay, purge"
LAPTOP: Final = True
_FILTERS: Final = (("type", "event type"), ("key", "partition key"), ("reason", "reason"))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    verbs = parser.add_subparsers(dest="dlq", metavar="VERB", required=True)
    listed = verbs.add_parser(
        "list",
        help="list those of a pipeline or consumer, or count those of all",
        description="list the dead letters of a pipeline or consumer, or count those of all",
        epilog="Counts come from the statuses. Letters are read in one of the pipeline's pods, "
        "which needs the right to create pods/exec.",
    )
    listed.add_argument(
        "target", type=target.parse, nargs="?", metavar="[KIND/]NAME",
        help="a pipeline, or evc/NAME (default: count those of all pipelines)",
    )  # fmt: skip
    _whose(listed)
    for option, what in _FILTERS:
        listed.add_argument(f"--{option}", metavar=option.upper(), help=f"of this {what} alone")
    listed.add_argument(
        "--limit", type=options.number, default=100, metavar="N",
        help="at most so many of each, oldest first, up to 1000 (default: %(default)s)",
    )  # fmt: skip
    options.configure(listed, all_namespaces=True, watch=True)
    show = verbs.add_parser(
        "show",
        help="show headers, reason and error of one",
        description="show headers, reason and error of the dead letters of one event",
    )
    target.configure(show, "a pipeline, or evc/NAME", several=False, alone=False)
    show.add_argument("id", metavar="ID", help="id of the event")
    show.add_argument("--payload", action="store_true", help="show the payload, too")
    _whose(show)
    options.configure(show)
    replay = verbs.add_parser(
        "replay",
        help="send them again, in the order of their keys",
        description="send dead letters again, each once, in the order of their keys",
    )
    _which(replay)
    options.task(replay)
    options.configure(replay)
    purge = verbs.add_parser(
        "purge", help="give them up for good", description="give dead letters up for good"
    )
    _which(purge)
    options.confirmation(purge)
    options.task(purge)
    options.configure(purge)


def run(args: argparse.Namespace) -> int:
    """Do it; 0 when all was done."""
    from outbox_operator.cli.cluster import dlq, session

    work = {"list": dlq.listed, "show": dlq.shown, "replay": dlq.replay, "purge": dlq.purge}[
        args.dlq
    ]
    return session.run(args, work)


def _which(parser: argparse.ArgumentParser) -> None:
    target.configure(parser, "a pipeline, or evc/NAME", several=False)
    _whose(parser)
    which = parser.add_argument_group("which of them")
    which.add_argument("--all", action="store_true", help="all that there are now")
    which.add_argument(
        "--id", action="append", default=[], dest="ids", metavar="ID",
        help="the event with this id; may be repeated",
    )  # fmt: skip
    for option, what in _FILTERS:
        which.add_argument(
            f"--{option}", action="append", default=[], metavar=option.upper(),
            help=f"of this {what}; may be repeated",
        )  # fmt: skip
    which.add_argument(
        "--since", type=moments.option, metavar="TIME", help="dead since then, or for 2h"
    )
    which.add_argument("--until", type=moments.option, metavar="TIME", help="dead before then")
    which.add_argument(
        "--limit", type=options.number, metavar="N", help="at most so many, oldest first"
    )


def _whose(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "--relay", action="store_true", help="of a pipeline: those of its relay alone"
    )
    whose.add_argument(
        "--consumer", metavar="NAME", help="of a pipeline: those of this consumer alone"
    )
