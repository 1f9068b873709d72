"""`outbox nats`: the program nats with the pipeline's own login, in a pod for that session."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli.cluster import options, target

HELP: Final = "run nats, or a shell that has it, with the pipeline's login, in a pod for it"
LAPTOP: Final = True
IMAGE: Final = "docker.io/natsio/nats-box:0.18.0"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.configure(parser, "a pipeline", several=False)
    options.client(parser, IMAGE, example="orders -- stream ls", name_last=False)


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when it ended well."""
    from outbox_operator.cli.cluster import clients, session

    return session.run(args, clients.nats)
