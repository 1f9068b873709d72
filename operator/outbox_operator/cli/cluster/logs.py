"""What `outbox logs` does: the logs of all pods of a pipeline or consumer, merged by time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.cli.cluster import pods, reading
from outbox_operator.cli.cluster.pods import Pod
from outbox_operator.cli.cluster.refusals import explained
from outbox_operator.cli.cluster.report import Report
from outbox_operator.cli.cluster.screen import Screen, clean
from outbox_operator.cli.cluster.session import Session, show
from outbox_operator.cli.cluster.target import Target
from outbox_operator.counted import counted
from outbox_operator.errors import OutboxError, SpecError

MOST_PODS: Final = 50
_MOST_BYTES: Final = 8 * 1024 * 1024
"""Of one pod, by the API server's own bound."""
_LONGEST_LINE: Final = 32 * 1024
_LOOK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a log; `at` is when the node took it, RFC 3339 with nanoseconds."""

    at: str
    pod: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """The facts of `outbox logs`; `unread`: why the log of a pod cannot be had, by its name."""

    lines: tuple[Line, ...]
    unread: Mapping[str, str]


async def look(session: Session) -> Report:
    """The logs as they are, or with `args.follow` as they are written."""
    found = await _pods(session)
    if not found:
        raise await _nobody(session)
    if session.args.follow:
        await _Following(session).run(found)
        return Report(facts=Logs(lines=(), unread={}), lines=lambda screen: ())
    read = await asyncio.gather(*(_read(session, pod) for pod in found))
    unread = {pod.name: one for pod, one in zip(found, read, strict=True) if isinstance(one, str)}
    for name, why in unread.items():
        session.say(f"{name}: {why}")
    merged = tuple(merge(one for one in read if not isinstance(one, str)))
    return report(Logs(lines=merged, unread=unread))


async def _nobody(session: Session) -> OutboxError:
    """Why there are no pods. Raises NotFoundError: there is no such object either."""
    target: Target = session.args.target
    wanted: str | None = session.args.consumer
    body = await reading.one(session, target.kind, target.name)
    there = [str(one.get("name")) for one in body["spec"].get("consumers") or ()]
    if wanted is not None and wanted not in there:
        known = ", ".join(there) or "none"
        return SpecError(f"{target.kind} {target.name} has no consumer {wanted!r}; it has {known}")
    whose = f"consumer {wanted}" if wanted else f"{target.kind} {target.name}"
    if session.kube.is_laptop:
        return NotFoundError(f"{whose}: `outbox dev` runs no process of it, so that it has no log")
    return NotFoundError(
        f"no pods of {whose} in namespace {session.namespace}; "
        "`kubectl outbox status` says whether any are wanted"
    )


def report(logs: Logs) -> Report:
    """Lines as a report; text names the pod before each."""

    def lines(screen: Screen) -> Iterator[str]:
        return (f"{screen.paint(one.pod, 'dim')} {clean(one.line)}" for one in logs.lines)

    pods_of = dict.fromkeys((*(one.pod for one in logs.lines), *logs.unread))
    return Report(
        facts=logs,
        lines=lines,
        names=[f"pod/{name}" for name in pods_of],
        well=not logs.unread,
    )


def merge(logs: Iterable[list[Line]]) -> Iterator[Line]:
    """Lines of several logs by time; those of one pod stay in their order."""
    return heapq.merge(*(_in_order(one) for one in logs), key=lambda line: line.at)


def parse(pod: str, text: str) -> Line:
    """A line with the time that the node put before it."""
    at, _, line = text.partition(" ")
    return Line(at=at, pod=pod, line=line[:_LONGEST_LINE])


def _in_order(lines: list[Line]) -> Iterator[Line]:
    """A clock that went back must not mix up one pod's lines."""
    latest = ""
    for line in lines:
        latest = max(latest, line.at)
        yield Line(at=latest, pod=line.pod, line=line.line)


async def _pods(session: Session) -> list[Pod]:
    args = session.args
    found = await pods.of_target(session, args.target, only=args.only, consumer=args.consumer)
    if len(found) > MOST_PODS:
        session.say(f"{counted(len(found), 'pod')}; the first {MOST_PODS} are shown")
    return found[:MOST_PODS]


async def _read(session: Session, pod: Pod) -> list[Line] | str:
    """The log of a pod, or why it cannot be had."""
    try:
        log = session.kube.log(pod.ref, _query(session, pod))
        return [parse(pod.name, text) async for text in log]
    except OutboxError as error:
        return explained(error, session.kube.context).message


def _query(session: Session, pod: Pod, since: str = "") -> dict[str, str]:
    args = session.args
    query = {"container": pod.container, "timestamps": "true", "limitBytes": str(_MOST_BYTES)}
    if args.follow:
        del query["limitBytes"]
    if args.previous:
        query["previous"] = "true"
    if since:
        return {**query, "sinceTime": since}
    if args.since is not None:
        query["sinceSeconds"] = str(args.since)
    return {**query, "tailLines": str(args.tail)}


class _Following:
    """Reads the logs of pods as they are written, also of pods that come later."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._latest: dict[str, str] = {}

    async def run(self, found: list[Pod]) -> None:
        """Until the command is ended."""
        try:
            while True:
                for pod in found:
                    task = self._tasks.get(pod.name)
                    if task is None or task.done():
                        self._tasks[pod.name] = asyncio.create_task(self._follow(pod))
                await asyncio.sleep(_LOOK_SECONDS)
                found = await _pods(self._session)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, pod: Pod) -> None:
        before = self._latest.get(pod.name, "")
        query = _query(self._session, pod, before)
        try:
            log: AsyncIterator[str] = self._session.kube.log(pod.ref, query, follow=True)
            async for text in log:
                line = parse(pod.name, text)
                if line.at <= before:
                    continue  # the API's `since` is in whole seconds
                self._latest[pod.name] = line.at
                show(report(Logs(lines=(line,), unread={})), self._session.args, one_line=True)
        except OutboxError as error:
            self._session.say(f"{pod.name}: {explained(error, self._session.kube.context).message}")
