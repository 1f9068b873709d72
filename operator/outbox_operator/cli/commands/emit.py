"""`outbox emit`: write one event into a pipeline's outbox, from the command line."""

from __future__ import annotations

import argparse
import uuid
from typing import Final

from outbox_operator.cli.cluster import options

HELP: Final = "write one event into a pipeline's outbox, and see whether it is published"
LAPTOP: Final = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", metavar="PIPELINE", help="name of the OutboxPipeline")
    parser.add_argument("type", metavar="TYPE", help="event type, for example order.created")
    parser.add_argument(
        "payload", metavar="PAYLOAD",
        help="what happened: JSON, or bytes if the pipeline has those; @FILE reads a file, - "
        "standard input",
    )  # fmt: skip
    event = parser.add_argument_group("the event")
    event.add_argument("--key", default="", metavar="KEY", help="ordering key (default: none)")
    event.add_argument(
        "--header", action="append", default=[], type=_header, metavar="NAME=VALUE",
        help="header of its own; may be repeated",
    )  # fmt: skip
    event.add_argument("--routing-key", metavar="KEY", help="in place of the type in the subject")
    event.add_argument(
        "--id", type=_id, metavar="UUID",
        help="its id (default: a new one); written only if no row of it is there, so that one may "
        "try again",
    )  # fmt: skip
    parser.add_argument(
        "--writer", metavar="NAME",
        help="Secret with the login of a writer (default: the role that owns the tables)",
    )  # fmt: skip
    parser.add_argument(
        "--wait", action="store_true", help="until it is in the stream, and say where"
    )
    parser.add_argument(
        "--timeout", type=options.duration, default=30.0, metavar="SECONDS",
        help="longest wait for that; exit code 1 then (default: %(default)g)",
    )  # fmt: skip
    options.confirmation(parser)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Write it; 0 when it is written, with `--wait` when it is published."""
    from outbox_operator.cli.cluster import emit, session

    return session.run(args, emit.emit)


def _header(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"wanted NAME=VALUE, found {text!r}")
    return name, value


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"wanted a UUID, found {text!r}") from None
