"""`outbox reconcile`: have the operator look now."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options, target

HELP: Final = "have the operator look now, and wait until it has"
LAPTOP: Final = (
    "`outbox dev` looks at its manifest when it starts, and with --reload when that is saved"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.configure(parser, "a pipeline, or obp/NAME, evs/NAME, evc/NAME")
    options.waiting(parser, 60)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; 0 once it took effect."""
    from datetime import UTC, datetime

    from outbox_operator.cli.cluster import change, changes, session

    work = change.work(lambda body: changes.reconcile(datetime.now(UTC).isoformat()))
    return session.run(args, work)
