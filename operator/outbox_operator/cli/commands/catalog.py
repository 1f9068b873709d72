"""`outbox catalog`: schemas of an application's events, what a change breaks, what really flows."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Final

HELP: Final = "events of your application: schemas, AsyncAPI, what a change breaks, what flows"
EXTRA: Final = "dev"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="catalog", metavar="VERB", required=True)
    export = verbs.add_parser(
        "export",
        help="write a JSON Schema of each event, and an AsyncAPI 3 document",
        description="write a JSON Schema of each event that is declared with @event, and an "
        "AsyncAPI 3 document of all",
    )
    export.add_argument(
        "module", nargs="+", help="module with declared events, for example shop.events"
    )
    _folder(export)
    export.add_argument("--title", default="Events", help="of the document (default: %(default)s)")
    export.add_argument(
        "--api-version", default="1.0.0", metavar="VERSION",
        help="of the application, for the document (default: %(default)s)",
    )  # fmt: skip
    export.add_argument(
        "--subject", default="{event_type}", metavar="TEMPLATE",
        help="spec.stream.subject of the pipeline (default: %(default)s)",
    )  # fmt: skip
    export.add_argument("--server", metavar="URL", help="of NATS, for the document")
    export.add_argument(
        "--check", action="store_true", help="write nothing; 1 if a file is out of date"
    )
    check = verbs.add_parser(
        "check",
        help="say what a change of the events breaks, and for whom",
        description="say what a change of the events breaks: consumers that run today, and reading "
        "what was written before; 0 nothing, 1 something, 2 it cannot be compared",
    )
    check.add_argument(
        "module", nargs="*", help="module with declared events (default: the files in --folder)"
    )
    check.add_argument(
        "--against", required=True, metavar="REF",
        help="state to compare with: a branch, tag or commit of git, or a folder",
    )  # fmt: skip
    _folder(check)
    check.add_argument("-o", "--output", choices=("text", "json"), default="text")
    observe = verbs.add_parser(
        "observe",
        help="say what is in a stream: types, sizes, rates, fields",
        description="say what is in the last messages of a stream: types, sizes, rates, fields; "
        "with a module, 1 when a type is not declared or a payload does not fit. Credentials come "
        "as files, in NATS_CREDS_FILE, NATS_USERNAME_FILE and so on",
    )
    observe.add_argument("module", nargs="*", help="module with declared events, to compare with")
    observe.add_argument("--stream", required=True, help="name of the stream")
    observe.add_argument("--nats", metavar="URL", help="server (NATS_URL)")
    observe.add_argument(
        "--subjects", default=">", metavar="FILTER", help="only these (default: %(default)s)"
    )
    observe.add_argument(
        "--last", type=int, default=10_000, metavar="N",
        help="how many of its last messages to look at (default: %(default)s)",
    )  # fmt: skip
    observe.add_argument("-o", "--output", choices=("text", "json"), default="text")
    code = verbs.add_parser(
        "code",
        help="write types for consumers in TypeScript or Go, with quicktype",
        description="write types of the events for consumers in another language, from the schemas "
        "in --folder; quicktype does it, fetched by npx in the version that this one was tried "
        "with",
    )
    code.add_argument("language", choices=("typescript", "go"))
    code.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to")
    code.add_argument("--package", default="events", help="of the Go file (default: %(default)s)")
    _folder(code)


def _folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", type=Path, default=Path("catalog"), help="of the files (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Do it; 0 when it is done and nothing is wrong."""
    verbs = {"export": _export, "check": _check, "observe": _observe, "code": _code}
    return verbs[args.catalog](args)


def _export(args: argparse.Namespace) -> int:
    from outbox_operator.catalog import asyncapi, entries, files

    found = entries.load(args.module)
    document = asyncapi.document(
        found, title=args.title, version=args.api_version, subject=args.subject, url=args.server
    )
    wanted = files.texts(found, document)
    if args.check:
        stale = files.stale(args.folder, wanted)
        for name in stale:
            print(f"{args.folder / name} is not what this command writes without --check")
        return 1 if stale else 0
    for name in files.write(args.folder, wanted):
        print(f"{'wrote' if name in wanted else 'removed'} {args.folder / name}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from outbox_operator.catalog import compatibility, entries, files
    from outbox_operator.counted import counted

    after: compatibility.Schemas
    if args.module:
        after = {one.type: one.document() for one in entries.load(args.module)}
    else:
        after = files.of_folder(args.folder)
    against = Path(args.against)
    if against.is_dir():
        before = files.of_folder(against)
    else:
        before = files.of_commit(args.against, args.folder)
        if not before:
            files.of_folder(args.folder)  # else a mistyped folder would never break anything
            print(
                f"{args.against} has no {args.folder / files.SCHEMAS}: nothing can break yet",
                file=sys.stderr,
            )
    breaks = compatibility.compare(before, after)
    if unsaid := compatibility.of_before(before, after):
        print(
            f"{counted(len(unsaid), 'schema is', 'schemas are')} of an earlier `outbox catalog "
            f"export`, {unsaid[0]!r} first: not compared is what that did not say, whether text is "
            "a Decimal, what the keys of a dictionary are, and what is in a Sequence or a "
            "defaultdict",
            file=sys.stderr,
        )
    if args.output == "json":
        rows = ({name: str(getattr(one, name)) for name in one.__slots__} for one in breaks)
        print(json.dumps(list(rows), indent=2))
    else:
        for one in breaks:
            place = f"{one.type}: {one.path}" if one.path else one.type
            print(f"{place}: {one.message} [{one.rule}] - breaks {one.who}")
    return 1 if breaks else 0


def _observe(args: argparse.Namespace) -> int:
    from outbox_operator.catalog import entries, observed, observing
    from outbox_operator.cli.cluster.screen import clean
    from outbox_operator.consumer.settings import nats_by_hand
    from outbox_operator.errors import SpecError
    from outbox_operator.wire.subjects import is_valid_filter

    if args.last < 1 or not is_valid_filter(args.subjects):
        raise SpecError("--last: wanted 1 or more, and --subjects a filter of NATS")
    kinds = entries.kinds(args.module) if args.module else None
    config = nats_by_hand(vars(args))
    found = asyncio.run(
        observing.observe(config, args.stream, subjects=args.subjects, most=args.last, kinds=kinds)
    )
    if args.output == "json":
        print(json.dumps(observed.document(found), indent=2))
    else:
        for line in observed.lines(found):
            print(clean(line))
    wrong = found.undeclared() or any(one.misfits for one in found.types.values())
    return 1 if wrong else 0


def _code(args: argparse.Namespace) -> int:
    from outbox_operator.catalog import code, files

    schemas = files.of_folder(args.folder)
    code.write(schemas, args.language, args.out, package=args.package)
    print(f"wrote {args.out}")
    return 0
