"""`outbox consume`: hands a durable consumer's messages to a handler. Set up by OUTBOX_CONFIG."""

from __future__ import annotations

import argparse
import asyncio
from typing import Final

from outbox_operator.cli import event_loop, pod_options

HELP: Final = "hand the events of one durable consumer to an HTTP endpoint or a Python function"


configure = pod_options.configure


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM; 0 after a drain, 2 for a wrong configuration or handler."""
    from outbox_operator.consumer import app, settings
    from outbox_operator.telemetry import logging

    logging.setup("consumer", args.log_level)
    loaded = settings.load(args.config)
    with asyncio.Runner(loop_factory=event_loop.factory()) as runner:
        runner.run(app.main(loaded))
    return 0
