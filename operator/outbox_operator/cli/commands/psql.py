"""`outbox psql`: a session of psql with the pipeline's own login, in a pod for that session."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options, target

HELP: Final = "open psql with the pipeline's login, in a pod for that session"
LAPTOP: Final = True
IMAGE: Final = "docker.io/library/postgres:17"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.configure(parser, "a pipeline", several=False)
    parser.add_argument(
        "--as", dest="login", choices=("relay", "migrations"), default="relay",
        help="whose login: the relay's, or the one that may run DDL (default: %(default)s)",
    )  # fmt: skip
    options.client(parser, IMAGE, example="orders -- -c 'select 1'", name_last=True)


def run(args: argparse.Namespace) -> int:
    """Open it; 0 when it ended well."""
    from outbox_operator.cli.cluster import clients, session

    return session.run(args, clients.psql)
