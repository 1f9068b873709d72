"""Runs a verb against a cluster: login, work, output, and what is said when it does not work."""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from outbox_operator.adapters.kubernetes.caller import Caller, lost
from outbox_operator.cli.cluster.port import Cluster
from outbox_operator.cli.cluster.refusals import explained
from outbox_operator.cli.cluster.report import Report, rendered
from outbox_operator.cli.cluster.screen import Screen, clean
from outbox_operator.cli.laptop.words import local
from outbox_operator.errors import KubernetesError, NotSupportedError, OutboxError, SpecError

T = TypeVar("T")

EXIT_NOT_WELL: Final = 1
EXIT_USAGE: Final = 2
WATCH_SECONDS: Final = 2.0
DEBUG_ENV: Final = "OUTBOX_DEBUG"


@dataclass(slots=True, kw_only=True)
class Session:
    """A verb at work.

    Attributes:
        args: Its arguments.
        kube: The API server, with the caller's rights; or a laptop.
        memory: What a verb keeps from one look to the next with `--watch`.
    """

    args: argparse.Namespace
    kube: Cluster
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def api(self) -> Caller:
        """The API server, for what only one can answer."""
        if not isinstance(self.kube, Caller):
            raise NotSupportedError(f"{self.kube.context} has no API server to ask")
        return self.kube

    @property
    def namespace(self) -> str:
        """The one namespace that the verb works in."""
        return str(self.args.namespace or self.kube.namespace or "default")

    @property
    def scope(self) -> str | None:
        """Where to look; None: in all namespaces."""
        return None if self.args.all_namespaces else self.namespace

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC)

    @property
    def words(self) -> Callable[[str], str]:
        """Has our sentences as commands are typed where the verb works."""
        return words(self.args)

    def say(self, line: str) -> None:
        """What goes on, for people who wait; never among the facts."""
        if self.args.output == "text":
            print(clean(self.words(line)), file=sys.stderr, flush=True)

    async def look_again(self, look: Callable[[], Awaitable[T]]) -> T | None:
        """What is followed, as it is now; None: no answer came, which may be better next time."""
        try:
            found = await look()
        except KubernetesError as error:
            if not lost(error):
                raise
            if self.memory.get("lost") != error.message:  # once, and not each time
                self.memory["lost"] = error.message
                self.say(f"no answer, asking again: {error.message}")
            return None
        self.memory.pop("lost", None)
        return found

    def confirm(self, what: str) -> None:
        """Ask before something that cannot be undone; `--yes` has answered already.

        Raises:
            SpecError: The answer is no, or there is nobody to ask.
        """
        if self.args.yes:
            return
        if not sys.stdin.isatty():
            raise SpecError(f"this would {what}; --yes says that it may")
        print(f"{clean(what)}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise SpecError("nothing was done")


def words(args: argparse.Namespace) -> Callable[[str], str]:
    """Has our sentences as commands are typed on a laptop, if it is about one."""
    return str if args.laptop is None else local


Work = Callable[[Session], Awaitable[Report]]


def run(args: argparse.Namespace, work: Work) -> int:
    """Log in, work, print; the exit code. With `--watch` again and again.

    Args:
        args: With the options of `cli.cluster.options`.
        work: What the verb does.

    Raises:
        OutboxError: It did not work; `cli.main` says so.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # of any encoding; texts are of all
            stream.reconfigure(errors="backslashreplace")
    try:
        return asyncio.run(_run(args, work))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NOT_WELL
    except OutboxError:
        raise
    except Exception as error:
        if os.environ.get(DEBUG_ENV):
            raise
        raise OutboxError(
            f"unexpected {type(error).__name__}: {error}; with {DEBUG_ENV}=1 it says where"
        ) from error


async def _run(args: argparse.Namespace, work: Work) -> int:
    if args.laptop is None:
        kube: Cluster = await Caller.log_in(kubeconfig=args.kubeconfig, context=args.context)
    else:
        kube = args.laptop()
    session = Session(args=args, kube=kube)
    try:
        while True:
            report = await _look(session, work)
            if report is not None:
                show(report, args, one_line=args.watch)
            if not args.watch:
                return 0 if report is not None and report.well else EXIT_NOT_WELL
            await asyncio.sleep(WATCH_SECONDS)
    finally:
        await kube.close()


async def _look(session: Session, work: Work) -> Report | None:
    """One look; None: it failed while watching, which goes on."""
    try:
        return await work(session)
    except OutboxError as error:
        found = explained(error, session.kube.context)
        # The first look of a watch fails as a single one does.
        if isinstance(found, SpecError) or not session.memory.get("looked"):
            raise found from error
        said = clean(f"outbox {session.args.verb}: {session.words(found.message)}")
        print(said, file=sys.stderr, flush=True)
        return None
    finally:
        session.memory["looked"] = True


def show(report: Report, args: argparse.Namespace, *, one_line: bool = False) -> None:
    """Print a report in the form that was asked for; `one_line`: one of many."""
    terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size().columns
    screen = Screen.of(os.environ, terminal=terminal, columns=columns, words=words(args))
    text = rendered(report, args.output, screen, one_line=one_line)
    if args.watch and terminal and args.output == "text":
        text = f"\x1b[H\x1b[J{text}"
    sys.stdout.write(text)
    sys.stdout.flush()
    if args.output == "name":
        for problem in report.problems:
            print(
                clean(f"outbox {args.verb}: {screen.words(problem)}"), file=sys.stderr, flush=True
            )
