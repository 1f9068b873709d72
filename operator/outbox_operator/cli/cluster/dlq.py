"""What `outbox dlq` does: counts and shows dead letters, has them replayed or purged by tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.task import ActionName
from outbox_operator.cli.cluster import derived, letters, letters_read, letters_text, reading, tasks
from outbox_operator.cli.cluster.letters import Place
from outbox_operator.cli.cluster.letters_read import Read
from outbox_operator.cli.cluster.report import Report, count, object_name
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.cluster.session import Session
from outbox_operator.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many dead letters there are, by place."""

    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """The facts of `outbox dlq list` and `show` of one pipeline or consumer."""

    places: tuple[Read, ...]


async def listed(session: Session) -> Report:
    """The dead letters of a pipeline or consumer; without one, how many there are of all."""
    args = session.args
    if args.target is None:
        return await counted(session)
    if args.all_namespaces:
        raise SpecError(f"-A with {args.target.name}: in which namespace?")
    options = [f"--limit={args.limit}"]
    for name in ("type", "key", "reason"):
        value = getattr(args, name)
        options += [f"--{name}={value}"] if value is not None else []
    found = await letters_read.read(session, await places(session), options)
    return _report(found, lambda screen: letters_text.listed(found, session.now(), screen))


async def shown(session: Session) -> Report:
    """All that is known of one event that is a dead letter, at each place where it is."""
    args = session.args
    options = [f"--id={args.id}", *(["--payload"] if args.payload else [])]
    found = await letters_read.read(session, await places(session, every=True), options)
    if not any(one.letters or one.problem for one in found):
        raise NotFoundError(f"no dead letter of event {args.id!r} of {args.target.name}")
    some = [one for one in found if one.letters or one.problem]
    return _report(some, lambda screen: letters_text.whole(some, screen))


def _report(found: Sequence[Read], lines: Callable[[Screen], Iterable[str]]) -> Report:
    return Report(
        facts=Letters(places=tuple(found)),
        lines=lines,
        names=[str(letter["id"]) for one in found for letter in one.letters],
        problems=[letters_text.problem(one) for one in found if one.problem is not None],
        well=all(one.problem is None for one in found),
    )


async def counted(session: Session) -> Report:
    """How many there are of each relay and consumer, from the statuses."""
    everything, now = await reading.everything(session), session.now()
    found = [place for one in derived.pipelines(everything, now) for place in letters.places(one)]
    found += [
        letters.place_of(consumer, group.namespace, "")
        for group in derived.alone(everything, now)
        for consumer in group.consumers
    ]
    return Report(
        facts=Counts(places=tuple(found)),
        lines=lambda screen: letters_text.counts(found, screen, namespaces=session.scope is None),
        names=[object_name(one.kind, one.name) for one in found if one.dead_letters != 0],
        problems=[
            f"{object_name(one.kind, one.name)}: how many dead letters it has is not known"
            for one in found
            if one.dead_letters is None
        ],
        well=all(one.dead_letters is not None for one in found),
    )


async def replay(session: Session) -> Report:
    """Send them again, by a task for each place."""
    return await _order(session, "replayDeadLetters", letters.selection(session.args))


async def purge(session: Session) -> Report:
    """Give them up for good, by a task for each place; asks before, unless told not to."""
    fields = letters.selection(session.args)
    return await _order(session, "purgeDeadLetters", {**fields, "confirm": True})


async def _order(session: Session, action: ActionName, fields: dict[str, object]) -> Report:
    chosen = await places(session)
    if not chosen:
        return Report(
            facts=tasks.Tasks(tasks=()),
            lines=lambda screen: screen.wrap(
                "no dead letters were there when the operator last looked; --relay or --consumer "
                "has it look again"
            ),
        )
    if action == "purgeDeadLetters" and not session.args.dry_run:
        what = ", ".join(f"{one.name} ({one.where}, {count(one.dead_letters)})" for one in chosen)
        session.confirm(f"give up for good {letters.described(fields)} of {what}")
    orders = [
        tasks.Order(action=action, kind=one.kind, name=one.name, fields=fields) for one in chosen
    ]
    return await tasks.carry_out(session, orders)


async def places(session: Session, *, every: bool = False) -> list[Place]:
    """The places of `args.target` that the options name.

    Args:
        session: The verb's.
        every: Those that had no letter at the operator's last look, too.

    Raises:
        NotFoundError: There is no such object.
        SpecError: It has no dead letters of its own.
    """
    args, target = session.args, session.args.target
    if target.kind == meta.STREAM:
        raise SpecError("name the pipeline or the consumer whose dead letters are meant")
    everything = await reading.everything(session)
    if target.kind == meta.PIPELINE:
        pipelines = derived.pipelines(everything, session.now())
        found = next((one for one in pipelines if one.name == target.name), None)
        if found is None:
            there_are = (one.name for one in pipelines)
            raise await reading.missing(session, target.kind, target.name, there_are)
        there = list(letters.places(found))
        if every and not args.relay and args.consumer is None:
            return there
        return letters.chosen(there, relay=args.relay, consumer=args.consumer)
    seen = {one.meta.name: one for one in everything.consumers}
    if target.name not in seen:
        raise await reading.missing(session, target.kind, target.name, seen)
    facts = derived.consumer(seen[target.name], session.now())
    pipeline = seen[target.name].meta.labels.get(meta.PIPELINE_LABEL, "")
    return [letters.place_of(facts, session.namespace, pipeline)]
