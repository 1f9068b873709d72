"""`outbox archive`: events kept in PostgreSQL: tables, upkeep, writer, seals, an API, files.

OUTBOX_CONFIG or --config names the document that configures it: the same for all but `serve`.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Final

from outbox_operator.cli import forms, pod_options
from outbox_operator.cli.cluster import options, target
from outbox_operator.errors import NotSupportedError

HELP: Final = "keep the events of a stream in PostgreSQL: tables, writer, seals, an API"
EXTRA: Final = "relay"
LAPTOP: Final = True
_NAMED: Final = (
    "--login-secret", "--timeout", "--namespace", "--context", "--kubeconfig", "--output"
)  # fmt: skip
_UNNAMED: Final = ("--login-file", "--config", "--log-level")
_IN_CLUSTER: Final = ("--login-secret",)
_TWO_FORMS: Final = ("verify", "export")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="archive", metavar="VERB", required=True)
    migrate = verbs.add_parser(
        "migrate",
        help="make the tables of an archive, or change them to its configuration",
        description="make the tables of an archive, or change them to its configuration, and do "
        "one round of upkeep; never loses or rewrites an event",
    )
    migrate.add_argument(
        "--dry-run", action="store_true", help="print the statements, and run none"
    )
    migrate.add_argument(
        "--adoption-policy", choices=("Fail", "Adopt"), default="Fail",
        help="whether a schema may be taken over that carries another owner's mark "
        "(default: %(default)s)",
    )  # fmt: skip
    pod_options.configure(migrate)
    upkeep = verbs.add_parser(
        "upkeep",
        help="add partitions ahead, drop those whose events were kept long enough",
        description="add partitions ahead, give events without one theirs, and drop partitions "
        "whose events were all kept long enough; to be run every hour or so",
    )
    pod_options.configure(upkeep)
    verify = verbs.add_parser(
        "verify",
        help="check every event against the seals, and name what was tampered with",
        description="check the chain of seals, and every event against it, and name the first that "
        "was changed, deleted or inserted; exit code 1 if there is one. Changes nothing. With the "
        "name of an EventConsumer it does so in a pod of the cluster, with your right to make one.",
    )
    forms.note(verify)
    of_configuration = "the archive of the configuration"
    target.archive(verify, "of an EventConsumer with handler.archive", of_configuration)
    verify.add_argument(
        "--login-secret",
        metavar="SECRET",
        help="with NAME: Secret with the login of a role that reads (default: the owner's login)",
    )
    verify.add_argument(
        "--timeout",
        type=options.duration,
        default=3600.0,
        metavar="SECONDS",
        help="with NAME: the pod ends after that, whatever happens (default: %(default).0f)",
    )
    options.configure(verify)
    verify.add_argument(
        "--login-file", metavar="FILE",
        help="without NAME: URL of the role that reads (default: the owner's login)",
    )  # fmt: skip
    verify.add_argument(
        "--public-key", metavar="FILE", action="append", default=[],
        help="Ed25519 key in PEM that seals may be signed with, besides that of the configuration; "
        "may be given again",
    )  # fmt: skip
    verify.add_argument(
        "--known", metavar="NUMBER:HASH", action="append", default=[],
        help="a seal as an earlier verify or upkeep printed it: it has to be there still; may be "
        "given again",
    )  # fmt: skip
    verify.add_argument(
        "--kept", metavar="CLASS=DURATION", action="append", default=[],
        help="how long a class had to be kept, where that was less than the configuration says "
        "now, or where that has the class no more: orders=90d; may be given again",
    )  # fmt: skip
    pod_options.configure(verify)
    export = verbs.add_parser(
        "export",
        help="write events into a Parquet, CSV or NDJSON file",
        description="write the events of an archive into a file, the oldest first, as they are at "
        "one moment, with a login that reads. In a cluster the archive's API does so.",
    )
    forms.note(export)
    target.archive(
        export, "of an EventConsumer with handler.archive that `outbox dev` runs", of_configuration
    )
    export.add_argument(
        "--into", metavar="FILE", required=True,
        help="ends in .parquet, .csv or .ndjson; there once it is whole",
    )  # fmt: skip
    export.add_argument(
        "--where", metavar="NAME=VALUE", action="append", default=[], type=_parameter,
        help="which events, and what of each: a parameter of the API as type=order.*, "
        "from=2026-03-01T00:00:00Z or fields=id,payload; may be given again",
    )  # fmt: skip
    export.add_argument(
        "--login-file", metavar="FILE",
        help="without NAME: URL of the role that reads (default: the owner's login)",
    )  # fmt: skip
    export.add_argument(
        "--timeout",
        type=options.duration,
        default=3600.0,
        metavar="SECONDS",
        help="with NAME: it ends after that, whatever happens (default: %(default).0f)",
    )
    options.configure(export)
    pod_options.configure(export)
    write = verbs.add_parser(
        "write",
        help="store what a durable consumer is given, until asked to stop",
        description="store what a durable consumer is given, each event once, until asked to stop; "
        "then store what is in hand",
    )
    pod_options.configure(write)
    serve = verbs.add_parser(
        "serve",
        help="answer questions about an archive over HTTP, until asked to stop",
        description="answer questions about an archive over HTTP, to who has a token, until asked "
        "to stop; configured by a document of its own, and given a login that reads",
    )
    pod_options.configure(serve)


def needs(args: argparse.Namespace) -> str:
    """What to install: another process does the work of `verify NAME` and `export NAME`."""
    if getattr(args, "name", None) is not None:
        return "cli"
    return "archive" if args.archive in ("serve", "export") else "relay"


def run(args: argparse.Namespace) -> int:
    """Do it; 0 when it is done or was asked to stop, 2 for a wrong configuration."""
    from outbox_operator.telemetry import logging

    if args.archive in _TWO_FORMS:
        forms.refuse_others(args, named=_NAMED, unnamed=_UNNAMED, in_cluster=_IN_CLUSTER)
    if getattr(args, "name", None) is not None:
        from outbox_operator.cli.cluster import archive_verify, session

        if args.archive == "export" and args.laptop is None:
            raise NotSupportedError(
                "export NAME is for what `outbox dev` runs; in a cluster the archive's API exports "
                "(POST /v1/exports), and who has a login that reads: --config, without NAME"
            )
        works = {"verify": archive_verify.verify, "export": archive_verify.export}
        return session.run(args, works[args.archive])
    if getattr(args, "laptop", None) is not None:
        raise NotSupportedError(
            "on a laptop there are archive verify and archive export; the rest is done there"
        )
    if args.archive == "serve":
        return _serve(args)
    from outbox_operator.archive import settings

    logging.setup("archive", args.log_level)
    config = settings.load(args.config)
    if args.archive == "write":
        from outbox_operator.archive import app
        from outbox_operator.cli import event_loop

        with event_loop.runner() as runner:
            runner.run(app.main(config))
        return 0
    if args.archive == "export":
        from outbox_operator.cli import archive_export

        print(archive_export.export(config, args.into, args.where, args.login_file))
        return 0
    from outbox_operator.cli import archive_keeping as keeping

    if args.archive == "verify":
        well, lines = asyncio.run(
            keeping.verify(
                config,
                login_file=args.login_file,
                public_keys=args.public_key,
                known=args.known,
                kept=args.kept,
            )
        )
        print("\n".join(lines))
        return 0 if well else 1
    if args.archive == "migrate":
        doing = keeping.migrate(config, args.adoption_policy, dry_run=args.dry_run)
    else:
        doing = keeping.upkeep(config)
    well, lines = asyncio.run(doing)
    print("\n".join(lines))
    return 0 if well else 1


def _parameter(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"wanted NAME=VALUE, found {text!r}")
    return name, value


def _serve(args: argparse.Namespace) -> int:
    from outbox_operator.archive.api import app, settings
    from outbox_operator.cli import event_loop
    from outbox_operator.telemetry import logging

    logging.setup("archive-api", args.log_level)
    config = settings.load(args.config)
    with event_loop.runner() as runner:
        runner.run(app.main(config))
    return 0
