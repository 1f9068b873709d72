"""`outbox emit`: write one event into an outbox, to try a pipeline out."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Final

from outbox_operator.cli.commands.dev import DEFAULT_FOLDER
from outbox_operator.errors import SpecError

HELP: Final = "write one event into an outbox, to try a pipeline out"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("type", metavar="TYPE", help="event type, for example order.created")
    parser.add_argument("payload", metavar="JSON", help="what happened")
    parser.add_argument("--key", default="", help="ordering key (default: none)")
    parser.add_argument("--schema", default="outbox", help="of the tables (default: %(default)s)")
    parser.add_argument(
        "--database-url-file", metavar="FILE", default=f"{DEFAULT_FOLDER}/database-url",
        help="file with the URL of the database (default: that of `outbox dev`: %(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the event and print its id."""
    from outbox_operator.dev.setup import emit
    from outbox_operator.wire.event import Event

    try:
        payload = json.loads(args.payload)
    except ValueError as error:
        raise SpecError(f"the payload is not JSON: {error}") from error
    try:
        url = Path(args.database_url_file).read_text("utf-8").strip()
    except OSError as error:
        raise SpecError(
            f"--database-url-file {args.database_url_file}: {error.strerror}; is `outbox dev` "
            "running in this folder?"
        ) from error
    event = Event(type=args.type, payload=payload, key=args.key)
    asyncio.run(emit(url, args.schema, event))
    print(event.id)
    return 0
