"""`outbox relay`: the process that publishes a pipeline's events. Configured by OUTBOX_CONFIG."""

from __future__ import annotations

import argparse
import asyncio
import gc
from typing import Final

from outbox_operator.cli import event_loop, pod_options

_COLLECT_AFTER: Final = 20_000
"""Objects that may cost a look for cycles."""
HELP: Final = "publish the events of one pipeline from PostgreSQL to JetStream"


configure = pod_options.configure


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM; 0 after a drain, 2 for a wrong configuration."""
    from outbox_operator.relay import app, settings
    from outbox_operator.telemetry import logging

    logging.setup("relay", args.log_level)
    loaded = settings.load(args.config)
    # Thousands of rows and messages come and go in no cycle; to look through them again and again
    # would take a tenth of the time.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    with asyncio.Runner(loop_factory=event_loop.factory()) as runner:
        runner.run(app.RelayApp(loaded).run())
    return 0
