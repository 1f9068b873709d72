"""`outbox rebase`: set the cursors of an outbox anew after its database was restored or moved.

With the name of a pipeline the operator does it. In a relay's pod, or with `--url-file` from
anywhere, it is done from here, with that login.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from outbox_operator.cli.cluster import options, target
from outbox_operator.cli.laptop.parser import LaptopParser
from outbox_operator.errors import SpecError, needing

if TYPE_CHECKING:
    from outbox_operator.adapters.postgres.url import PostgresTarget
    from outbox_operator.plan.postgres.rebase import Choice, StreamEnd
    from outbox_operator.relay.settings import Settings

HELP: Final = "set the cursors anew after the database was restored or moved, or to send again"
LAPTOP: Final = True
EXTRA: Final = "cli"

_STATEMENT_SECONDS: Final = 3600.0
"""A large table is rewritten in one statement."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    what = "name of an OutboxPipeline, which the operator sets anew, by a task"
    if isinstance(parser, LaptopParser):
        target.pipeline(parser, what)
    else:
        parser.add_argument("name", nargs="?", metavar="PIPELINE", help=what)
    direct = parser.add_argument_group("instead, from here and with a login of the database")
    where = direct.add_mutually_exclusive_group()
    where.add_argument(
        "--config",
        metavar="FILE",
        help="JSON configuration of the relay (default: the value of OUTBOX_CONFIG)",
    )
    where.add_argument(
        "--url-file",
        metavar="FILE",
        help="instead of a configuration: file that holds the database's connection URL; NATS is "
        "then not asked",
    )
    direct.add_argument(
        "--ca-file",
        metavar="FILE",
        help="PEM bundle of the authorities that sign the database's server, with --url-file",
    )
    direct.add_argument(
        "--schema", default="outbox", help="schema of the tables, with --url-file (default: outbox)"
    )
    which = parser.add_argument_group("which rows").add_mutually_exclusive_group()
    which.add_argument(
        "--unpublished",
        action="store_true",
        help="publish what the dumped cursor had not seen, and what was written since (default)",
    )
    which.add_argument("--all", action="store_true", help="publish every row of the table")
    which.add_argument("--none", action="store_true", help="publish none of them")
    which.add_argument(
        "--from-position",
        type=options.number,
        metavar="N",
        help="publish the rows from position N on",
    )
    which.add_argument(
        "--created-after",
        type=_time,
        metavar="TIME",
        help="publish the rows written since TIME, for example 2026-01-31T09:00+00:00",
    )
    parser.add_argument(
        "--yes", action="store_true",
        help="do it; without this what would be done is shown, and a person is asked",
    )  # fmt: skip
    options.task(parser, paced=False)
    options.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Show, and with --yes do it; 0 when that was possible."""
    if args.name is not None:
        from outbox_operator.cli.cluster import rebase, session

        if args.config or args.url_file:
            raise SpecError("give the name of a pipeline, or --config or --url-file, not both")
        return session.run(args, rebase.rebase)
    with needing("relay"):
        asyncio.run(_rebase(args))
    return 0


async def _rebase(args: argparse.Namespace) -> None:
    from outbox_operator.adapters.postgres import connection as postgres
    from outbox_operator.adapters.postgres.rebase import PostgresRebase
    from outbox_operator.plan.postgres.rebase import check_rebase, describe

    choice = _choice(args)
    target, schema, settings = _place(args)
    connection = await postgres.connect(
        target,
        application_name="outbox-rebase",
        statement_timeout=_STATEMENT_SECONDS,
        statements_of_others=True,
    )
    try:
        looks = args.dry_run or not args.yes
        async with PostgresRebase.open(connection, target, schema, looks=looks) as rebase:
            ends = None
            if settings is not None and choice.repeats:
                ends = await _stream_ends(settings, rebase.shards)
            shards = await rebase.preview(choice)
            check_rebase(choice, shards, ends)
            print("\n".join(describe(choice, shards, f"{target.address} schema {schema}")))
            if not looks:
                await rebase.apply(choice, ends)
    finally:
        await connection.close()
    print("Nothing was changed; add --yes." if looks else "Done; the relay goes on by itself.")


def _choice(args: argparse.Namespace) -> Choice:
    from outbox_operator.plan.postgres.rebase import Choice

    if args.from_position is not None:
        return Choice(which="from-position", position=args.from_position)
    if args.created_after is not None:
        return Choice(which="created-after", created_after=args.created_after)
    return Choice(which="all" if args.all else "none" if args.none else "unpublished")


def _place(args: argparse.Namespace) -> tuple[PostgresTarget, str, Settings | None]:
    """Where the outbox is, and the relay's configuration if there is one."""
    from outbox_operator.adapters.postgres.url import Login, resolve
    from outbox_operator.relay import settings
    from outbox_operator.wire.config import DatabaseConfig

    if args.url_file is not None:
        config = DatabaseConfig(
            url_file=os.path.abspath(args.url_file), ca_file=args.ca_file, schema=args.schema
        )
        return resolve(Login.from_files(config)), config.schema, None
    loaded = settings.load(args.config)
    database = loaded.config.database
    return resolve(Login.from_files(database)), database.schema, loaded


async def _stream_ends(settings: Settings, shards: list[int]) -> list[StreamEnd]:
    """The last message of each shard."""
    from outbox_operator.plan.postgres.rebase import StreamEnd
    from outbox_operator.relay.sinks import open_sink
    from outbox_operator.wire.headers import EMISSION

    sink = await open_sink(replace(settings, application_name="outbox-rebase"))
    try:
        found = []
        for shard in shards:
            last = await sink.last_of(settings.template.filter(shard=shard))
            emission = last.headers.get(EMISSION, "0") if last else "0"
            found.append(StreamEnd(sequence=last.sequence if last else 0, emission=int(emission)))
        return found
    finally:
        await sink.close()


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"wanted a time like 2026-01-31T09:00+00:00, found {text!r}"
        ) from error
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone; add for example +00:00")
    return found
