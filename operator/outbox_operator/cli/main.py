"""The `outbox` program: finds the verb's module, parses arguments, turns errors into exit codes.

Every module of `outbox_operator.cli.commands` is one verb, named after its file, and defines

    HELP: str                                            one line for `outbox --help`
    configure(parser: argparse.ArgumentParser) -> None   adds the verb's own options
    run(args: argparse.Namespace) -> int                 does the work, returns the exit code

and imports heavy packages inside `run` only, so that each role pays for its own extra. No work
is done here.

Exit codes: 0 done (for a role: asked to stop and drained); 1 failed; 2 wrong usage or
configuration, a person must change something before it can work.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from outbox_operator import errors
from outbox_operator.cli import commands
from outbox_operator.version import VERSION

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


@dataclass(frozen=True, slots=True)
class Verb:
    """What a command module offers."""

    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def verbs() -> list[str]:
    """Names of all verbs, from the files in `outbox_operator.cli.commands`."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(commands.__path__))


def load(name: str) -> Verb:
    """Import the module of one verb."""
    module = importlib.import_module(f"{commands.__name__}.{name.replace('-', '_')}")
    return Verb(module.HELP, module.configure, module.run)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `outbox`; returns the exit code. Without a verb it shows the help."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = verbs()
    # Only the verb that is used is imported; help and mistakes need the list of all.
    wanted = [arguments[0]] if arguments and arguments[0] in known else known
    parser = argparse.ArgumentParser(
        prog="outbox", description="Transactional outbox from PostgreSQL to NATS JetStream."
    )
    parser.add_argument(
        "--version", action="version", version=f"outbox {VERSION}", help="show the version and exit"
    )
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB")
    loaded = {name: load(name) for name in wanted}
    for name, verb in loaded.items():
        verb.configure(subparsers.add_parser(name, help=verb.help, description=verb.help))
    if arguments and arguments[0] not in known and not arguments[0].startswith("-"):
        parser.error(_unknown(arguments[0], known))
    args = parser.parse_args(arguments)
    if args.verb is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    try:
        return loaded[args.verb].run(args)
    except errors.OutboxError as error:
        print(f"outbox {args.verb}: {error.message}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, errors.SpecError) else EXIT_FAILED


def _unknown(found: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(found, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"wanted one of {', '.join(known)}"
    return f"no verb {found!r}; {hint}"


if __name__ == "__main__":
    sys.exit(main())
