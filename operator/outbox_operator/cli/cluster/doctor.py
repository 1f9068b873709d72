"""What `outbox doctor` and `outbox verify` do: look with the caller's rights, and by tasks."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.cli.cluster import outside, reading, tasks
from outbox_operator.cli.cluster.refusals import explained
from outbox_operator.cli.cluster.report import Report, object_name
from outbox_operator.cli.cluster.screen import Screen, Tone
from outbox_operator.cli.cluster.session import Session
from outbox_operator.cli.cluster.task_facts import TaskFacts
from outbox_operator.counted import counted
from outbox_operator.errors import AccessDeniedError, OutboxError
from outbox_operator.plan.doctor.cluster import Seen, check_cluster
from outbox_operator.plan.doctor.findings import (
    Check,
    Finding,
    Severity,
    counts,
    in_order,
    unknown,
    warning,
    well,
)

KEEP_SECONDS: Final = 600
"""A diagnosis is old after that."""
_PROGRAMS: Final = frozenset({"helm", "kubectl", "nats", "outbox", "psql"})
"""What is typed in a shell; the other commands of remedies are SQL."""
MOST_INSIDE: Final = 10
"""Pipelines that the operator is asked to look at; of more, name one."""
_TONES: Final[dict[Severity, Tone]] = {
    Severity.ERROR: "bad",
    Severity.WARNING: "warn",
    Severity.UNKNOWN: "dim",
    Severity.INFO: "plain",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """The facts of `outbox doctor`."""

    at: datetime
    summary: str
    findings: tuple[Finding, ...]


async def look(session: Session) -> Report:
    """Look from outside, and unless `args.no_task` from inside.

    Raises:
        NotFoundError: There is no pipeline of `args.name`.
    """
    seen = await outside.look(session)
    pipelines = [one for one in seen.objects if one["kind"] == meta.PIPELINE]
    if session.args.name is not None and not pipelines:
        await reading.one(session, meta.PIPELINE, session.args.name)
    found = [*check_cluster(seen), *_empty(session, seen)]
    if not session.args.no_task:
        told = {(one.check, one.object) for one in found}
        inside = await _inside(session, pipelines)
        found += [one for one in inside if (one.check, one.object) not in told]
    found = in_order(found)
    facts = Doctor(at=session.now(), summary=counts(found), findings=tuple(found))
    return Report(
        facts=facts,
        lines=lambda screen: lines(facts, screen),
        names=[object_name(meta.PIPELINE, one["metadata"]["name"]) for one in pipelines],
        well=well(found),
    )


def _empty(session: Session, seen: Seen) -> Iterator[Finding]:
    """What is said where there is nothing to look at, which is no sign of health."""
    if seen.objects or any(one in seen.refused for one in meta.PLURALS.values()):
        return
    where = "the cluster" if session.scope is None else f"namespace {session.namespace}"
    text = "no OutboxPipeline, EventStream and EventConsumer is there"
    yield warning(Check.NOTHING_THERE, where, text, remedy="kubectl outbox status -A")


async def verify(session: Session) -> Report:
    """Have the operator compare table and stream."""
    args = session.args
    await reading.one(session, meta.PIPELINE, args.name)
    fields = {
        "fromTime": args.since,
        "fromPosition": args.from_position,
        "toTime": args.until,
        "toPosition": args.to_position,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    order = tasks.Order(action="verify", kind=meta.PIPELINE, name=args.name, fields=given)
    return await tasks.carry_out(session, [order])


def lines(facts: Doctor, screen: Screen) -> Iterator[str]:
    """A paragraph for each finding, the worst first."""
    for one in facts.findings:
        head = f"{one.severity.upper()}  {one.check}  {one.object}"
        first, *rest = screen.wrap(head, hang="    ")
        yield screen.paint(first, _TONES[one.severity])
        yield from rest
        yield from screen.wrap(one.message, "  ")
        if one.wanted:
            yield from screen.wrap(f"wanted: {one.wanted}", "  ", hang="    ")
        if one.remedy:
            yield from screen.wrap(_prompted(one.remedy), "  ", hang="      ")
        yield ""
    yield facts.summary


def _prompted(remedy: str) -> str:
    """A remedy behind the prompt of where it is typed; what is no command has none."""
    word = remedy.partition(" ")[0]
    if word in _PROGRAMS:
        return f"$ {remedy}"
    return f"=> {remedy}" if word.isalpha() and word.isupper() else remedy


async def _inside(session: Session, pipelines: Sequence[outside.Body]) -> list[Finding]:
    """What the operator finds, by a task for each pipeline."""
    found: list[Finding] = []
    looked = 0
    for body in pipelines[:MOST_INSIDE]:
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        what = f"{meta.PIPELINE}/{namespace}/{name}, from inside"
        one = dataclasses.replace(session, args=_arguments(session, namespace))
        order = tasks.Order(action="diagnose", kind=meta.PIPELINE, name=name, fields={})
        try:
            report = await tasks.carry_out(one, [order])
        except (AccessDeniedError, NotFoundError) as error:
            why = explained(error, session.kube.context).message
            found.append(
                unknown(what, why, f"kubectl outbox doctor {name} -n {namespace} --no-task")
            )
            continue
        looked += 1
        done: TaskFacts = report.facts.tasks[0]
        found += _told(done, what)
        if not done.ended:  # the next one would be waited for as long
            await _forget(session, done)
            break
    left = len(pipelines) - looked
    if left > 0 and looked:
        text = f"{left} more pipelines were not looked at from inside"
        first = pipelines[looked]["metadata"]
        command = f"kubectl outbox doctor {first['name']} -n {first['namespace']}"
        found.append(unknown("pipelines", text, command))
    return found


async def _forget(session: Session, done: TaskFacts) -> None:
    """A look that nobody has begun shall not be done when nobody waits for it any more."""
    ref = Ref(meta.API_VERSION, meta.PLURALS[meta.TASK], done.namespace, done.name)
    with suppress(OutboxError):
        await session.kube.delete(ref)


def _told(done: TaskFacts, what: str) -> list[Finding]:
    if done.result is None:
        return [
            unknown(
                what, f"task {done.name}: {done.reason}: {done.message or 'not done yet'}",
                f"kubectl outbox task {done.name} -n {done.namespace}",
            )
        ]  # fmt: skip
    told = [Finding.of_document(one) for one in done.result["findings"]]
    known = [one for one in told if one is not None]
    lost = len(told) - len(known) + int(done.result["omitted"])
    if lost:
        text = f"{counted(lost, 'finding is', 'findings are')} of a newer version, or had no room"
        known.append(unknown(what, text, f"kubectl describe obt/{done.name} -n {done.namespace}"))
    return known


def _arguments(session: Session, namespace: str) -> argparse.Namespace:
    """Those of a verb that orders a task."""
    given = {**vars(session.args), "namespace": namespace, "all_namespaces": False}
    ordered = {"dry_run": False, "rate": None, "keep": KEEP_SECONDS, "no_wait": False}
    return argparse.Namespace(**{**given, **ordered})
