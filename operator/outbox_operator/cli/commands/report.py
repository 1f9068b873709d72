"""`outbox report`: a file with what there is to see, for a bug report; no secret and no payload."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options

HELP: Final = "write what there is to see into a file for a bug report, fit to be sent"
LAPTOP: Final = "all there is stands in the folder of `outbox dev`: run/*.log and run/*.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="of an OutboxPipeline (default: all there are)"
    )
    parser.add_argument(
        "-f", "--file", metavar="FILE",
        help="a .tar.gz that does not exist yet (default: outbox-report-TIME.tar.gz here)",
    )  # fmt: skip
    parser.add_argument(
        "--tail", type=options.number, default=500, metavar="LINES",
        help="last lines of the log of each pod (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--no-task", action="store_true", help="do not have the operator look from inside"
    )
    options.looking(parser)
    options.configure(parser, all_namespaces=True)
    parser.epilog = (
        "It reads no Secret. Of objects, environment, arguments, headers and annotations of others "
        "are left out, of logs the lines of other programs. Look into it before you send it."
    )


def run(args: argparse.Namespace) -> int:
    """Write it; 0 when it is written."""
    from outbox_operator.cli.cluster import bundle, session

    return session.run(args, bundle.write)
