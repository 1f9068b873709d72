"""`outbox relay`: the process that publishes a pipeline's events. Configured by OUTBOX_CONFIG."""

from __future__ import annotations

import argparse
from typing import Final

from outbox_operator.cli import event_loop, pod_options

HELP: Final = "publish the events of one pipeline from PostgreSQL to JetStream"
EXTRA: Final = "relay"


configure = pod_options.configure


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM; 0 after a drain, 2 for a wrong configuration."""
    from outbox_operator.relay import app, settings
    from outbox_operator.telemetry import logging, tracing

    logging.setup("relay", args.log_level)
    loaded = settings.load(args.config)
    pipeline, namespace = loaded.config.pipeline, loaded.config.namespace
    tracer = tracing.start("relay", name=f"{pipeline}-relay", namespace=namespace)
    try:
        with event_loop.runner() as runner:
            runner.run(app.RelayApp(loaded, tracer).run())
    finally:
        if tracer is not None:
            tracer.close()
    return 0
