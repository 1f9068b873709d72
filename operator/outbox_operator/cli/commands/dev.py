"""`outbox dev`: run a pipeline's manifest on this machine, without Kubernetes."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import shutil
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from outbox_operator.cli.display import Display
from outbox_operator.cli.laptop.parser import FOLDER
from outbox_operator.cli.laptop.words import VERBS
from outbox_operator.errors import OutboxError, SpecError

HELP: Final = "run the pipelines of a manifest on this machine: servers, relay and consumers"
EXTRA: Final = "dev"

DATABASE_ENV: Final = "OUTBOX_DEV_DATABASE_URL"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "-f", "--file", required=True, action="append", metavar="FILE",
        help="manifest with OutboxPipelines, EventStreams or EventConsumers, a folder of them, or "
        "- for standard input; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--data", default=FOLDER, metavar="FOLDER",
        help="where data, logs and configurations are kept between runs (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--nats-url", metavar="URL", help="use this server without logins, not an embedded one"
    )
    parser.add_argument(
        "--redis-url", metavar="URL",
        help="the same where a pipeline publishes to Redis; the embedded one needs the extra "
        "dev-redis",
    )  # fmt: skip
    parser.add_argument(
        "--endpoint", action="append", default=[], metavar="CONSUMER=URL",
        help="send the events of this consumer with an HTTP handler here; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--print", action="store_true", dest="printed",
        help="print the events of consumers with an HTTP handler that has no --endpoint",
    )  # fmt: skip
    parser.add_argument(
        "--reload", action=argparse.BooleanOptionalAction, default=None,
        help="start Python handlers anew when a file of Python below this folder is saved, and "
        "apply the manifests again when they are (default: at a terminal)",
    )  # fmt: skip
    parser.epilog = (
        "`outbox dev VERB` is a verb of a cluster for what runs here, "
        "`outbox dev VERB --data FOLDER` for what runs with that folder: "
        f"{', '.join(sorted(VERBS))}. "
        f"The environment variable {DATABASE_ENV} names a database to use instead of an embedded "
        "one; it must be a role that may create tables."
    )


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C; 0 then, 1 when something does not start, 2 for a wrong manifest."""
    from outbox_operator.dev import app, yaml_file
    from outbox_operator.dev.options import Options
    from outbox_operator.telemetry import logging

    files = tuple(map(Path, args.file))
    resources = yaml_file.resources(files)
    logging.setup("dev", "error")
    for remark in resources.remarks:
        print(remark)
    screen = Display(terminal=sys.stdout.isatty())
    reload: bool = screen.terminal if args.reload is None else args.reload
    options = Options(
        folder=Path(args.data).absolute(),
        database_url=os.environ.get(DATABASE_ENV),
        nats_url=None if args.nats_url is None else _nats_url(args.nats_url),
        redis_url=None if args.redis_url is None else _redis_url(args.redis_url),
        endpoints=dict(_endpoint(text) for text in args.endpoint),
        printed=args.printed,
        sources=Path.cwd() if reload else None,
        manifests=files if reload and yaml_file.STANDARD_INPUT not in files else (),
    )
    try:
        asyncio.run(app.run(resources, options, say=screen.say, show=screen.show))
    except OSError as error:
        if error.errno == errno.EPIPE:  # nobody reads what is printed
            raise
        raise OutboxError(f"folder {options.folder}: {_why(error)}") from error
    return 0


def _why(error: OSError) -> str:
    """What went wrong with which file; of a tree that was copied, with the first one."""
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2])
    return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"


def _endpoint(text: str) -> tuple[str, str]:
    consumer, found, url = text.partition("=")
    if not found or not url.startswith(("http://", "https://")):
        raise SpecError(f"--endpoint: wanted CONSUMER=http://…, found {text!r}")
    return consumer, url


def _nats_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("nats", "tls") or not parts.hostname:
        # What stands before an @ may be a password.
        shown = text.rpartition("@")[2]
        raise SpecError(f"--nats-url: wanted nats://HOST:PORT, found {shown!r}")
    return text


def _redis_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or "@" in text:
        shown = text.rpartition("@")[2]
        raise SpecError(f"--redis-url: wanted redis://HOST:PORT without a login, found {shown!r}")
    return text
