"""`outbox consume`: hand the messages of one durable consumer to a handler."""

from __future__ import annotations

import argparse

HELP = "run a consumer: pull messages, call the handler, acknowledge"


def configure(parser: argparse.ArgumentParser) -> None:
    """No options: everything is in the file that OUTBOX_CONFIG names."""
    parser.epilog = "Reads its configuration from the file that OUTBOX_CONFIG names."


def run(args: argparse.Namespace) -> int:
    """Runs until SIGTERM, then drains."""
    from outbox_operator.consumer import app, settings
    from outbox_operator.telemetry import logging

    del args
    config = settings.load()
    logging.setup("consumer")
    app.main(config)
    return 0
