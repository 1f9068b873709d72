"""The `outbox` program: finds the verb's module, parses arguments, turns errors into exit codes.

Every module of `outbox_operator.cli.commands` is one verb, named after its file, and defines

    HELP: str                                            one line for `outbox --help`
    EXTRA: str                                           what to install for it; default: cli
    needs(args: argparse.Namespace) -> str               the same, where the options decide
    LAPTOP: bool | str                                   whether `outbox dev VERB` works, or why not
    configure(parser: argparse.ArgumentParser) -> None   adds the verb's own options
    run(args: argparse.Namespace) -> int                 does the work, returns the exit code

and imports heavy packages inside `run` only, so that each role pays for its own extra. No work
is done here.

Exit codes: 0 done (for a role: asked to stop and drained; for a verb that looks: all is well);
1 failed or not well; 2 wrong usage or configuration, a person must change something before it can
work.

A verb whose parser has a default of `passed_on` is given there what stands behind `--`.

The same program is `kubectl outbox`: kubectl runs what is called `kubectl-outbox` on the path.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import functools
import importlib
import os
import pkgutil
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outbox_operator import errors
from outbox_operator.cli import commands
from outbox_operator.cli.laptop.parser import FOLDER, Alone, LaptopParser
from outbox_operator.cli.passing_on import with_dashes
from outbox_operator.version import VERSION

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
PLUGIN: Final = "kubectl-outbox"
_HEADINGS: Final = {"cli": "in a cluster, as `kubectl outbox` too", "dev": "on this machine"}
_OF_DEV: Final = ("-f", "--file", "--nats-url", "--endpoint")
"""With a value, of `outbox dev` itself."""
_DATA: Final = "--data"
_WITH_VALUE: Final = (
    "-n", "--namespace", "--context", "--kubeconfig", "-o", "--output", _DATA
)  # fmt: skip
_NO_READER: Final = (errno.EPIPE, errno.ENOSPC, errno.EIO)
"""What is printed cannot be written."""
_IN_PODS: Final = "in pods"
_LAPTOP: Final = "dev"
_WITHOUT_VERB: Final = f"; that is for `outbox {_LAPTOP}` without a verb, in another terminal"
_MANIFESTS: Final = (".yaml", ".yml", ".json")
_OF_A_CLUSTER: Final = ("context", "kubeconfig")


@dataclass(frozen=True, slots=True)
class Verb:
    """What a command module offers."""

    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    extra: str
    needs: Callable[[argparse.Namespace], str]
    laptop: bool | str


def verbs() -> list[str]:
    """Names of all verbs, from the files in `outbox_operator.cli.commands`."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(commands.__path__))


def load(name: str) -> Verb:
    """Import the module of one verb."""
    module = importlib.import_module(f"{commands.__name__}.{name.replace('-', '_')}")
    extra = getattr(module, "EXTRA", "cli")
    return Verb(
        module.HELP,
        module.configure,
        module.run,
        extra,
        getattr(module, "needs", lambda _: extra),
        getattr(module, "LAPTOP", False),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `outbox`; returns the exit code. Without a verb it shows the help."""
    try:
        return _main(argv)
    except KeyboardInterrupt:  # while it imports, too, which takes seconds on a busy machine
        return EXIT_INTERRUPTED


def _main(argv: Sequence[str] | None) -> int:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    known = verbs()
    given = _reordered(sys.argv[1:] if argv is None else argv, known)
    folder, arguments = _on_a_laptop(given, known)
    # Only the verb that is used is imported; help and mistakes need the list of all.
    wanted = [arguments[0]] if arguments and arguments[0] in known else known
    loaded = {name: load(name) for name in wanted}
    prog = "kubectl outbox" if Path(sys.argv[0]).name.startswith(PLUGIN) else "outbox"
    prog += "" if folder is None else f" {_LAPTOP}"
    parser = (argparse.ArgumentParser if folder is None else LaptopParser)(
        prog=prog,
        usage=f"{prog} [-h] [--version] VERB ...",
        description="Transactional outbox from PostgreSQL to NATS JetStream.",
        epilog=_listed(loaded),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"outbox {VERSION}", help="show the version and exit"
    )
    subparsers = parser.add_subparsers(dest="verb", prog=prog, help=argparse.SUPPRESS)
    parsers = {name: subparsers.add_parser(name, description=loaded[name].help) for name in loaded}
    for name, verb in loaded.items():
        verb.configure(parsers[name])
    if folder is not None and (works := loaded[wanted[0]].laptop) is not True:
        print(f"{prog} {wanted[0]}: {works or _elsewhere(wanted[0])}", file=sys.stderr)
        return EXIT_USAGE
    passed_on = parsers[wanted[0]].get_default("passed_on")
    if passed_on is not None and "--" in arguments:
        end = arguments.index("--")
        arguments, passed_on = arguments[:end], arguments[end + 1 :]
    elif passed_on is not None:
        where = [] if folder in (None, FOLDER) else [_DATA, folder or ""]
        if (meant := with_dashes(parsers[wanted[0]], arguments, where)) is not None:
            there = shlex.join([*prog.split(), *meant])
            parsers[wanted[0]].error(f"what is for the client stands behind --: {there}")
    of_dev = arguments[:1] == [_LAPTOP]
    asked = arguments[1:] if of_dev else arguments
    if asked and asked[0] not in known and not asked[0].startswith("-"):
        if of_dev and asked[0].endswith(_MANIFESTS):
            parser.error(f"a manifest is given with -f: {prog} {_LAPTOP} -f {asked[0]}")
        parser.error(_unknown(asked[0], _of_a_laptop() if of_dev else known))
    args, rest = parser.parse_known_args(arguments)
    if rest:
        hint = "" if folder is None or not {*_OF_DEV} & {*rest} else _WITHOUT_VERB
        if passed_on is not None and (example := parsers[args.verb].epilog):
            hint = f"; {example[0].lower()}{example[1:]}"
        parsers.get(args.verb, parser).error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    if args.verb is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    if passed_on is not None:
        args.passed_on = passed_on
    try:
        if folder is not None:
            _turn_to_laptop(args, folder)
        code = loaded[args.verb].run(args)
        sys.stdout.flush()
        return code
    except OSError as error:
        if error.errno not in _NO_READER:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:  # `| head` has seen enough
            print(f"{prog} {args.verb}: standard output: {error}", file=sys.stderr)
        return EXIT_FAILED
    except ModuleNotFoundError as error:
        extra = loaded[args.verb].needs(args) if folder is None else _LAPTOP
        if error.name is None or error.name.startswith("outbox_operator"):
            raise
        print(
            f"{prog} {args.verb}: {error.name} is not installed; "
            f"pip install 'outbox-operator[{extra}]'",
            file=sys.stderr,
        )
        return EXIT_USAGE
    except errors.OutboxError as error:
        from outbox_operator.cli.cluster.screen import clean  # servers and pods wrote parts of it

        said = error.message
        if folder is not None:
            from outbox_operator.cli.laptop.words import local

            said = local(said)
        elif loaded[args.verb].needs(args) == "cli":
            said += _beside(args.verb, loaded[args.verb], error)
        lines = f"{prog} {args.verb}: {said}".split("\n")
        print("\n".join(map(clean, lines)), file=sys.stderr)
        return EXIT_USAGE if isinstance(error, errors.SpecError) else EXIT_FAILED


def _on_a_laptop(
    arguments: Sequence[str], known: Sequence[str]
) -> tuple[str | None, Sequence[str]]:
    """Folder and arguments of a verb that is about what `outbox dev` runs; None: it is not.

    That is `dev VERB …`, with options before the verb or behind it, `--data FOLDER` among them.
    """
    rest = _reordered(arguments[1:], known, (*_WITH_VALUE, *_OF_DEV))
    if not rest or arguments[0] != _LAPTOP or rest[0] not in known:
        return None, arguments
    end = rest.index("--") if "--" in rest else len(rest)
    own, passed_on, folder, left = iter(rest[:end]), rest[end:], FOLDER, []
    for one in own:
        if one == _DATA:
            folder = next(own, "")
        elif one.startswith(f"{_DATA}="):
            folder = one.partition("=")[2]
        else:
            left.append(one)
    return folder, [*left, *passed_on]


def _turn_to_laptop(args: argparse.Namespace, folder: str) -> None:
    """Have a verb ask what `outbox dev` runs in a folder, in place of a cluster.

    Raises:
        SpecError: It is given what is of a cluster, or has to be told a name.
    """
    for name in _OF_A_CLUSTER:
        if getattr(args, name, None) is not None:
            raise errors.SpecError(f"--{name} is of a cluster, and this looks at {folder}")
    from outbox_operator.cli.laptop.api import Laptop

    args.laptop = functools.partial(Laptop.open, Path(folder))
    alone: Alone | None = getattr(args, "alone", None)
    if alone is not None and getattr(args, alone.argument) is None:
        setattr(args, alone.argument, alone.made(args.laptop().only(alone.of)))


def _reordered(
    arguments: Sequence[str], known: Sequence[str], with_value: Sequence[str] = _WITH_VALUE
) -> list[str]:
    """Options before the verb put behind it, as people write them who use kubectl."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        at += 2 if arguments[at] in with_value else 1
    if not 0 < at < len(arguments) or arguments[at] not in known:
        return list(arguments)
    rest = list(arguments[at:])
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *arguments[:at], *rest[end:]]


def _of_a_laptop() -> Sequence[str]:
    from outbox_operator.cli.laptop.words import VERBS

    return sorted(VERBS)


def _beside(name: str, verb: Verb, error: errors.OutboxError) -> str:
    """What asks the laptop, for who asked a cluster where `outbox dev` runs, or has run."""
    from outbox_operator.cli.cluster.refusals import NotInstalledError

    of_a_cluster = (errors.KubernetesError, errors.AccessDeniedError, NotInstalledError)
    if not isinstance(error, of_a_cluster):
        return ""
    asks = f"`outbox {_LAPTOP} {name if verb.laptop is True else 'status'}` asks what"
    if Path(FOLDER).is_dir():
        return f"; {asks} `outbox {_LAPTOP}` runs in this folder"
    from outbox_operator.adapters.kubernetes.login import NoClusterError

    if not isinstance(error, NoClusterError):
        return ""
    return (
        f"; without a cluster {asks} `outbox {_LAPTOP} -f FILE` runs: in the folder where that was "
        f"started (this one has no {FOLDER}), or with its --data FOLDER"
    )


def _elsewhere(verb: str) -> str:
    return f"that is `outbox {verb}`: it does not ask what `outbox {_LAPTOP}` runs"


def _listed(loaded: Mapping[str, Verb]) -> str:
    """The verbs under what they are for."""
    lines = ["verbs:"]
    width = max(map(len, loaded)) + 2
    for heading in (*_HEADINGS.values(), _IN_PODS):
        lines += [f"  {heading}"]
        lines += [
            f"    {name.ljust(width)}{verb.help}"
            for name, verb in loaded.items()
            if _HEADINGS.get(verb.extra, _IN_PODS) == heading
        ]
    return "\n".join(lines)


def _unknown(found: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(found, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"wanted one of {', '.join(known)}"
    return f"no verb {found!r}; {hint}"


if __name__ == "__main__":
    sys.exit(main())
