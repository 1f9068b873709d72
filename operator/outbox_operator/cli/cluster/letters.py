"""Which dead letters a person means, and the tasks that replay or purge them. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.cli.cluster.facts import ConsumerFacts, PipelineFacts
from outbox_operator.errors import SpecError

RELAY: Final = "relay"
_MOST_SAID: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where dead letters are: of a relay, or of a consumer.

    Attributes:
        kind: Of the resource that they are of.
        name: Of that resource.
        where: `relay`, or `consumer/<name>`.
        dead_letters: How many; None: not known.
        known_since: When that was read; RFC 3339.
    """

    namespace: str
    pipeline: str
    kind: str
    name: str
    where: str
    dead_letters: int | None
    read_at: Any


def places(facts: PipelineFacts) -> Iterator[Place]:
    """The places of a pipeline."""
    yield Place(
        namespace=facts.namespace,
        pipeline=facts.name,
        kind=meta.PIPELINE,
        name=facts.name,
        where=RELAY,
        dead_letters=facts.rows.dead_letters,
        read_at=facts.rows.sample.read_at,
    )
    for one in facts.consumers:
        yield place_of(one, facts.namespace, facts.name)


def place_of(one: ConsumerFacts, namespace: str, pipeline: str) -> Place:
    """The place of a consumer; `pipeline` empty: it reads no pipeline's stream."""
    return Place(
        namespace=namespace,
        pipeline=pipeline,
        kind=meta.CONSUMER,
        name=one.resource,
        where=f"consumer/{one.name}",
        dead_letters=one.dead_letters,
        read_at=one.sample.read_at,
    )


def chosen(all_: Sequence[Place], *, relay: bool, consumer: str | None) -> list[Place]:
    """The places that options name; without any, those where there may be a letter.

    Raises:
        SpecError: There is no such consumer.
    """
    if relay:
        return [one for one in all_ if one.where == RELAY]
    if consumer is not None:
        found = [one for one in all_ if consumer in (one.where.partition("/")[2], one.name)]
        found = [one for one in found if one.kind == meta.CONSUMER]
        if not found:
            there = [one.where.partition("/")[2] for one in all_ if one.kind == meta.CONSUMER]
            raise SpecError(f"no consumer {consumer!r}; there is {', '.join(there) or 'none'}")
        return found
    return [one for one in all_ if one.dead_letters != 0]


def described(fields: Mapping[str, Any]) -> str:
    """The letters that `selection` means, for whoever is asked about them."""
    named = {"ids": fields.get("ids"), **fields.get("filter", {})}
    words = {
        "ids": "with id", "eventTypes": "of type", "keys": "of key", "reasons": "of reason",
        "since": "since", "until": "until",
    }  # fmt: skip
    said = [
        f"{words[name]} {value if isinstance(value, str) else _some(value)}"
        for name, value in named.items()
        if value
    ]
    if "limit" in fields:
        said.insert(0, f"the first {fields['limit']}")
    return ", ".join(["dead letters", *said]) if said else "all dead letters"


def _some(values: Sequence[str]) -> str:
    more = f" and {len(values) - _MOST_SAID} more" if len(values) > _MOST_SAID else ""
    return " or ".join(values[:_MOST_SAID]) + more


def selection(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of an action that say which letters.

    Raises:
        SpecError: Nothing says which, or ids and a filter do.
    """
    named = {
        "eventTypes": args.type,
        "keys": args.key,
        "reasons": args.reason,
        "since": args.since,
        "until": args.until,
    }
    filtered = {name: value for name, value in named.items() if value}
    if args.ids and filtered:
        raise SpecError("--id and a filter exclude each other")
    if not (args.ids or filtered or args.all):
        raise SpecError("which dead letters? --id, a filter (--type, --key, …), or --all")
    if args.all and (args.ids or filtered):
        raise SpecError("--all excludes --id and a filter")
    fields: dict[str, Any] = {}
    if args.ids:
        fields["ids"] = args.ids
    if filtered:
        fields["filter"] = filtered
    if args.limit is not None:
        fields["limit"] = args.limit
    return fields
