"""`outbox consume`: hands a durable consumer's messages to a handler.

In pods OUTBOX_CONFIG sets it up. By hand it takes the handler and a few options, or the variables
that a container handler is given.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any, Final

from outbox_operator.cli import event_loop, pod_options
from outbox_operator.errors import SpecError
from outbox_operator.wire.config import CONFIG_PATH_ENV

HELP: Final = "hand the events of one durable consumer to an HTTP endpoint or Python functions"
EXTRA: Final = "consumer"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    pod_options.configure(parser)
    by_hand = parser.add_argument_group(
        "without a configuration",
        "The durable consumer, or the group, must exist. Credentials come as files, in "
        "NATS_CREDS_FILE, NATS_USERNAME_FILE and so on; see the reference of container handlers.",
    )
    by_hand.add_argument(
        "module", nargs="?", help="package.module:app (Handlers) or package.module:function"
    )
    by_hand.add_argument("--nats", metavar="URL", help="server (NATS_URL)")
    by_hand.add_argument(
        "--redis", metavar="URL", help="server, if the stream is in Redis (REDIS_URL)"
    )
    by_hand.add_argument(
        "--stream", help="stream to read, in Redis its key (OUTBOX_STREAM; OUTBOX_KEYS: of shards)"
    )
    by_hand.add_argument(
        "--durable", help="durable consumer of it, in Redis the consumer group (OUTBOX_CONSUMER)"
    )
    by_hand.add_argument(
        "--dead-letters",
        metavar="PREFIX",
        help="subject prefix of the dead-letter stream, in Redis its key",
    )
    by_hand.add_argument(
        "--inbox-url-file",
        metavar="FILE",
        help="file with the URL of the handler's database, whose inbox table exists "
        "(OUTBOX_INBOX_URL_FILE)",
    )
    by_hand.add_argument(
        "--ordering", choices=("None", "PerKey"), default="None", help="default: %(default)s"
    )
    by_hand.add_argument(
        "--unhandled",
        choices=("DeadLetter", "Ack"),
        default="DeadLetter",
        help="what becomes of an event that no handler takes; default: %(default)s",
    )
    by_hand.add_argument("--concurrency", type=int, default=16, help="default: %(default)s")
    by_hand.add_argument("--max-deliver", type=int, default=16, help="default: %(default)s")
    by_hand.add_argument(
        "--health-port", type=int, default=0, help="of /readyz and /metrics; default: any free one"
    )


def run(
    args: argparse.Namespace,
    around: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
) -> int:
    """Run until SIGTERM; 0 after a drain, 2 for a wrong configuration or handler.

    1 when a handler goes on although it was cancelled: the process ends without it.
    `around` is a decorator for functions that are not async, of a framework that calls this.
    """
    from outbox_operator.consumer import app, settings
    from outbox_operator.telemetry import logging

    if args.module is None and not (args.config or os.environ.get(CONFIG_PATH_ENV)):
        raise SpecError(
            "which handlers? outbox consume package.module:app --nats URL --stream STREAM "
            f"--durable CONSUMER; in a pod {CONFIG_PATH_ENV} or --config names a configuration"
        )
    logging.setup("consumer", args.log_level)
    loaded = settings.load(args.config) if args.module is None else settings.by_hand(vars(args))
    with event_loop.runner() as runner:
        if not runner.run(app.main(loaded, around)):
            os._exit(1)  # the runner would wait for it
    return 0
