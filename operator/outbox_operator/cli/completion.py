"""What may stand at a place of a command line: for the shells' completion, and for kubectl's.

Verbs, options and their choices come from the parsers; names come from the cluster, with what the
line says of namespace and context, and only if it answers soon.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from outbox_operator.cli.laptop.parser import FOLDER

_SECONDS: Final = 3.0
_NO_FILES: Final = ":4"
"""kubectl's sign for: offer no files instead."""
_NAMES: Final = ("target", "targets", "name")
_VALUES: Final = {
    "-n": "namespace", "--namespace": "namespace", "--context": "context",
    "--kubeconfig": "kubeconfig",
}  # fmt: skip


def main() -> int:
    """Entry point of `kubectl_complete-outbox`, which kubectl asks: a candidate a line."""
    print("\n".join([*candidates(sys.argv[1:]), _NO_FILES]))
    return 0


def candidates(words: Sequence[str]) -> list[str]:
    """What may stand in the place of the last word.

    Args:
        words: Those behind the program's name; the last one is what has been typed of it.
    """
    from outbox_operator.cli import main as cli

    *before, last = words or [""]
    known, laptop = cli.verbs(), None
    if before[:1] == ["dev"]:
        laptop, before = _after_dev(before)
        known = [name for name in known if cli.load(name).laptop is True]
        if not before:
            return _beginning([*known, *_options(_parser("dev"))], last)
        if before[0] not in known:
            laptop, known = None, cli.verbs()
    if not before or before[0] not in known:
        return _beginning([*known, "--help", "--version"], last) if not before else []
    parser = _parser(before[0])
    rest = list(before[1:])
    while (nested := _nested(parser)) is not None:
        at = next((i for i, word in enumerate(rest) if word in nested), None)
        if at is None:
            return _beginning([*nested, *_options(parser)], last)
        parser, rest = nested[rest[at]], rest[:at] + rest[at + 1 :]
    action = _awaiting(parser, rest)
    if action is not None:
        return _beginning(_of(action, rest, last, laptop), last)
    if last.startswith("-"):
        return _beginning(_options(parser), last)
    positional = [one for one in parser._actions if not one.option_strings]
    found: list[str] = []
    for one in positional:
        found += _of(one, rest, last, laptop)
    return _beginning(found, last)


def _after_dev(before: Sequence[str]) -> tuple[str, list[str]]:
    """The folder of `outbox dev`, and what stands behind both; all of it where no verb does."""
    rest = list(before[1:])
    if rest[:1] == ["--data"] and len(rest) > 1:
        return rest[1], rest[2:]
    if rest and rest[0].startswith("--data="):
        return rest[0].partition("=")[2], rest[1:]
    return FOLDER, rest if not rest or not rest[0].startswith("-") else list(before)


def _parser(verb: str) -> argparse.ArgumentParser:
    from outbox_operator.cli import main as cli

    parser = argparse.ArgumentParser(prog=verb)
    cli.load(verb).configure(parser)
    return parser


def _beginning(all_: Iterable[str], start: str) -> list[str]:
    return [one for one in dict.fromkeys(all_) if one.startswith(start)]


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [text for one in parser._actions for text in one.option_strings if text[:2] == "--"]


def _nested(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser] | None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return None


def _awaiting(parser: argparse.ArgumentParser, rest: Sequence[str]) -> argparse.Action | None:
    """The option whose value comes next."""
    if not rest:
        return None
    found = parser._option_string_actions.get(rest[-1])
    return found if found is not None and found.nargs != 0 else None


def _of(action: argparse.Action, rest: Sequence[str], last: str, laptop: str | None) -> list[str]:
    if action.choices is not None:
        return [str(one) for one in action.choices]
    if action.dest == "namespace":
        return _asked(rest, _namespaces, laptop)
    if action.dest in _NAMES and not action.option_strings:
        kind, slash, _ = last.rpartition("/")
        return _asked(rest, lambda kube, place: _names(kube, place, f"{kind}{slash}"), laptop)
    return []


def _asked(
    rest: Sequence[str], ask: Callable[[Any, str | None], Any], laptop: str | None
) -> list[str]:
    """What the cluster, or the laptop, says; nothing, if it does not say it soon."""
    try:
        if laptop is not None:
            from outbox_operator.cli.laptop.api import Laptop

            here: list[str] = asyncio.run(ask(Laptop.open(Path(laptop)), None))
            return here
        from outbox_operator.adapters.kubernetes.caller import Caller

        said = {_VALUES[a]: b for a, b in itertools.pairwise(rest) if a in _VALUES}

        async def run() -> list[str]:
            async with asyncio.timeout(_SECONDS):
                kube = await Caller.log_in(
                    kubeconfig=said.get("kubeconfig"), context=said.get("context")
                )
                try:
                    found: list[str] = await ask(kube, said.get("namespace"))
                    return found
                finally:
                    await kube.close()

        with _nobody_there():
            return asyncio.run(run())
    except Exception:  # noqa: BLE001 - whatever it is: there is nothing to offer, and no place to say so
        return []


@contextlib.contextmanager
def _nobody_there() -> Iterator[None]:
    """A credential plugin can ask nobody now, and would write into the line that is typed."""
    stdin = sys.stdin
    with open(os.devnull, "r+") as nothing, contextlib.redirect_stderr(nothing):
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = stdin


async def _namespaces(kube: Any, namespace: str | None) -> list[str]:
    found, _ = await kube.list("v1", "namespaces", metadata_only=True)
    return [one["metadata"]["name"] for one in found]


async def _names(kube: Any, namespace: str | None, prefix: str) -> list[str]:
    from outbox_operator.api import meta
    from outbox_operator.cli.cluster import target

    kind = target.parse(f"{prefix}x").kind
    found, _ = await kube.list(
        meta.API_VERSION, meta.PLURALS[kind], namespace or kube.namespace or "default",
        metadata_only=True,
    )  # fmt: skip
    return [f"{prefix}{one['metadata']['name']}" for one in found]
