"""What `outbox replay` and `outbox reset` do: events that were handled are handled again."""

from __future__ import annotations

from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.cli.cluster import derived, reading, tasks
from outbox_operator.cli.cluster.letters import chosen, places
from outbox_operator.cli.cluster.report import Report
from outbox_operator.cli.cluster.session import Session
from outbox_operator.errors import SpecError

_BOUNDS: Final = {"fromTime", "fromPosition", "toTime", "toPosition"}


async def replay(session: Session) -> Report:
    """Send events again that the outbox still has, through the relay."""
    args = session.args
    wanted = histories(args)
    if args.to_consumer is not None:
        to = await _consumer(session, args.name, args.to_consumer)
        wanted = [{**fields, "toConsumer": to} for fields in wanted]
    else:
        await reading.one(session, meta.PIPELINE, args.name)
    orders = [
        tasks.Order(action="replayHistory", kind=meta.PIPELINE, name=args.name, fields=fields)
        for fields in wanted
    ]
    return await tasks.carry_out(session, orders)


async def reset(session: Session) -> Report:
    """Let a consumer read its stream from another place on; asks before."""
    args, target = session.args, session.args.target
    name = target.name
    if target.kind == meta.PIPELINE:
        name = await _consumer(session, name, args.consumer)
    elif target.kind != meta.CONSUMER:
        raise SpecError("an EventStream is read by consumers: name one, evc/NAME")
    fields = place(args, await reading.one(session, meta.CONSUMER, name))
    if not args.dry_run:
        where = fields.get("time") or fields.get("sequence") or str(fields["to"]).lower()
        session.confirm(f"let consumer {name} go on from {where}, and forget how far it was")
    order = tasks.Order(action="resetConsumer", kind=meta.CONSUMER, name=name, fields=fields)
    return await tasks.carry_out(session, [order])


def histories(args: Any) -> list[dict[str, Any]]:
    """The fields of `replayHistory`, of each task.

    Raises:
        SpecError: Nothing says which events, or two options do.
    """
    fields = {
        "fromTime": args.since,
        "fromPosition": args.from_position,
        "toTime": args.until,
        "toPosition": args.to_position,
        "eventTypes": args.type,
        "keys": args.key,
    }
    found = {name: value for name, value in fields.items() if value}
    if args.position and (args.all or found.keys() & _BOUNDS):
        raise SpecError("--position goes with --type and --key alone: it says from where to where")
    if not (found or args.position or args.all):
        raise SpecError(
            "which events? --since, --from-position, --position, --type, --key, or --all"
        )
    allowed = {"allowPartial": args.allow_partial, "allowOtherReaders": args.allow_other_readers}
    found |= {name: True for name, said in allowed.items() if said}
    stretches = [{"fromPosition": low, "toPosition": high} for low, high in args.position]
    return [found | stretch for stretch in stretches or [{}]]


def place(args: Any, consumer: dict[str, Any]) -> dict[str, Any]:
    """The fields of `resetConsumer`.

    Args:
        args: The command line's.
        consumer: The EventConsumer, as the API server has it.

    Raises:
        SpecError: The consumer has an inbox, and nothing says what it is to do with what it has
            handled: a person who says nothing means to see the events again, and would not.
    """
    fields: dict[str, Any]
    if args.to_time is not None:
        fields = {"to": "Time", "time": args.to_time}
    elif args.to_sequence is not None:
        fields = {"to": "Sequence", "sequence": args.to_sequence}
    else:
        fields = {"to": "Start" if args.to_start else "End"}
    if args.inbox is not None:
        return fields | {"inbox": args.inbox.capitalize()}
    if fields["to"] != "End" and consumer.get("spec", {}).get("inbox") is not None:
        raise SpecError(
            f"{consumer['metadata']['name']} has an inbox, which skips what it has handled: say "
            "--inbox forget to have that handled again, or --inbox keep"
        )
    return fields


async def _consumer(session: Session, pipeline: str, consumer: str | None) -> str:
    """The EventConsumer that a name within a pipeline means, or its own name.

    Raises:
        SpecError: There is none of that name; or none is given, and it is not a laptop's only one.
    """
    found = derived.pipelines(await reading.everything(session), session.now())
    one = next((facts for facts in found if facts.name == pipeline), None)
    if one is None:
        there = [facts.name for facts in found]
        raise await reading.missing(session, meta.PIPELINE, pipeline, there)
    if consumer is not None:
        return chosen(list(places(one)), relay=False, consumer=consumer)[0].name
    own = one.consumers
    if session.kube.is_laptop and len(own) == 1:
        return own[0].resource
    some = reading.some(facts.name for facts in own)
    raise SpecError(f"which consumer of {pipeline}? --consumer NAME, or evc/NAME; there is {some}")
