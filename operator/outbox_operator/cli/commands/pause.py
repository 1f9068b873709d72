"""`outbox pause`: have the operator keep its hands off."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options, target

HELP: Final = "have the operator look and change nothing; events flow on"
LAPTOP: Final = (
    "nothing is put right behind your back on a laptop, so that there is nothing to pause"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.configure(parser, "a pipeline, or obp/NAME, evs/NAME, evc/NAME")
    options.waiting(parser, 60)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; 0 once it took effect."""
    from outbox_operator.cli.cluster import change, changes, session

    return session.run(args, change.work(lambda body: changes.pause()))
