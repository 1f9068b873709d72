"""`outbox version`: of this program, of the operator, and of the cluster's resources."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options

HELP: Final = "show the versions of this program, the operator and the cluster's resources"
LAPTOP: Final = "`outbox --version` says it; there is no cluster and no operator"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--client", action="store_true", help="of this program alone; no cluster is asked"
    )
    options.configure(parser, all_namespaces=True)


def run(args: argparse.Namespace) -> int:
    """Show them; 1 when the cluster lacks our resources."""
    from outbox_operator.cli.cluster import session, versions
    from outbox_operator.version import VERSION

    if args.client:
        session.show(versions.report(versions.Versions(client=VERSION)), args)
        return 0
    return session.run(args, versions.look)
