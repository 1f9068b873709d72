"""What `outbox emit` does: one event from the command line into a pipeline's outbox.

It is written by a command in a pod that has the login for it: the relay's, where the relay's role
owns the tables; else one made for it, with the Secret of the owner or of a writer. A person needs
the right to create `pods/exec`, then pods as well, and no login. The event goes there as standard
input: no pod, no URL of an API server, no event and no log holds anything of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from outbox_operator.adapters.kubernetes.in_pod import Ran
from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.api.resource import Pipeline, parse_pipeline
from outbox_operator.cli import endings, event_document
from outbox_operator.cli.cluster import logins, pods, reading, takers, throwaway, throwaway_pods
from outbox_operator.cli.cluster.report import Report, prose
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.cluster.session import Session
from outbox_operator.client.rows import DEFAULT_MAX_BYTES, RowMaker
from outbox_operator.errors import EventError, KubernetesError, OutboxError, SpecError
from outbox_operator.plan import names
from outbox_operator.plan.kubernetes.children import event_stream_name
from outbox_operator.wire.event import Event, shown

_MOST_BYTES: Final = 64 * 1024
_WRITE_SECONDS: Final = 45.0
_LEAST_LIFETIME_SECONDS: Final = 600
_LONGEST_LIFETIME_SECONDS: Final = 2**31 - 1
"""That Kubernetes takes."""
_FIRST: Final = frozenset(("written", "there", "unwritten"))
"""What became of the event, which `outbox write-event` says first."""
_TOO_OLD: Final = ("no verb 'write-event'", "unrecognized arguments")
_NOT_BEGUN: Final = (2, 126, 127)
"""Exit codes of a command that was wrong, or that did not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """An event that was written.

    Attributes:
        already: Whether it was there before, by an earlier try with its id.
        published: Whether it is in the stream; None: nobody looked.
        stream: Name of that stream, if it is there; in Redis the key.
        sequence: Its place in the stream; in Redis the number of its id.
        dead_letter: Reason because of which it became a dead letter; None: it did not.
        given_up: Whether it was one by an earlier try, and somebody gave it up.
        problem: Why it could not be seen what became of it.
        remark: That no consumer takes it.
    """

    namespace: str
    pipeline: str
    id: str
    type: str
    already: bool = False
    published: bool | None = None
    stream: str | None = None
    sequence: int | None = None
    dead_letter: str | None = None
    given_up: bool = False
    problem: str | None = prose(default=None)
    remark: str | None = None


async def emit(session: Session) -> Report:
    """Check the event, ask, write it, and with `args.wait` look what becomes of it."""
    args = session.args
    pipeline = parse_pipeline(await reading.one(session, meta.PIPELINE, args.name), stored=True)
    event = event_of(args, pipeline.spec.outbox.payloadType)
    _, stream = await _stream(session, pipeline)
    if not session.kube.is_laptop:
        session.confirm(f"write event {event.id} ({event.type}) for all consumers of {args.name}")
    remark = await _remark(session, pipeline, event)
    facts = replace(await _written(session, pipeline, stream, event), remark=remark)
    return Report(
        facts=facts,
        lines=lambda screen: lines(facts, args.timeout, screen),
        names=[facts.id],
        problems=[] if facts.problem is None else [facts.problem],
        well=facts.published is not False,
    )


def event_of(args: argparse.Namespace, payload_type: Any) -> Event:
    """The event that the arguments say, checked as the library checks it before it writes one.

    Raises:
        SpecError: It is none that could be stored and published; names field, wanted and found.
    """
    payload = event_document.payload(_given(args.payload), payload_type)
    headers = dict(args.header)
    if len(headers) < len(args.header):
        [(twice, _)] = Counter(name for name, _ in args.header).most_common(1)
        raise SpecError(f"--header {shown(twice)}: is given twice")
    try:
        event = Event(
            id=args.id or uuid.uuid4(), type=args.type, payload=payload, key=args.key,
            headers=headers, routing_key=args.routing_key,
        )  # fmt: skip
        RowMaker(payload_type, DEFAULT_MAX_BYTES).one(event)
    except EventError as error:
        raise SpecError(error.message) from error
    return event


def _given(text: str) -> bytes:
    """The payload as it stands on the command line, in a file, or on standard input."""
    most = event_document.MOST_BYTES + 1
    if text == "-":
        return sys.stdin.buffer.read(most)
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        with Path(text[1:]).open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise SpecError(f"payload {text}: {error.strerror or error}") from error


async def _stream(session: Session, pipeline: Pipeline) -> tuple[str, str]:
    """Names of the EventStream and of its stream."""
    name = event_stream_name(pipeline)
    body = await reading.one(session, meta.STREAM, name)
    return name, str(body["spec"]["name"])


async def _remark(session: Session, pipeline: Pipeline, event: Event) -> str | None:
    """That no consumer takes the event, as far as the caller may see them: perhaps a typo."""
    plural = meta.PLURALS[meta.CONSUMER]
    try:
        found, _ = await session.kube.list(meta.API_VERSION, plural, pipeline.meta.namespace)
        taken = takers.untaken(event.type, pipeline, found)
    except OutboxError:
        return None
    if not taken:
        return None
    return f"no consumer of this pipeline takes {event.type}; they take {reading.some(taken)}"


async def _written(session: Session, pipeline: Pipeline, stream: str, event: Event) -> Emitted:
    args = session.args
    wait = args.timeout if args.wait else 0.0
    what = logins.as_writer(pipeline, stream, args.writer)
    options = [f"--wait={wait:g}"] if wait else []
    if args.id is not None:  # perhaps not for the first time
        options.append("--once")
    with endings.ended_by_signals():
        async with _pod(session, pipeline, what, wait) as (pod, container):
            try:
                ran = await session.kube.run_in_pod(
                    pod, container,
                    ["outbox", "write-event", *options],
                    most_bytes=_MOST_BYTES, seconds=_WRITE_SECONDS + wait,
                    stdin=event_document.encode(event),
                )  # fmt: skip
            except NotFoundError:  # it was not begun
                raise
            except KubernetesError as error:
                raise KubernetesError(f"{error.message}: {_not_known(event.id)}") from error
            except asyncio.CancelledError:
                session.say(f"interrupted: {_not_known(event.id)}")
                raise
    facts = told(ran, pod.name, event.id)
    return Emitted(
        namespace=pipeline.meta.namespace, pipeline=args.name, id=str(event.id), type=event.type,
        **{"stream": stream if facts.get("sequence") else None, **facts},
    )  # fmt: skip


def told(ran: Ran, pod: str, event_id: uuid.UUID) -> dict[str, Any]:
    """What the command in a pod says, as fields of `Emitted`.

    Raises:
        OutboxError: Nothing was written; or whether it was is not known, and how to try again.
    """
    facts = list(_facts(ran.out))
    said = " ".join(ran.err.split())[-1000:]
    if any(one in said for one in _TOO_OLD):
        said = "its image is of a version that cannot write events; bring it up to date"
    said = said or f"exit code {ran.code}"
    first = facts[0] if facts else {}
    if "unwritten" in first or (not facts and ran.code in _NOT_BEGUN):
        raise OutboxError(f"pod {pod}: nothing was written: {said}")
    if not facts:  # the answer to COMMIT may be lost, or the process was killed
        raise OutboxError(f"pod {pod}: {said}: {_not_known(event_id)}")
    already = {"already": True} if "there" in first else {}
    if ran.code:
        return {"published": False, "problem": f"pod {pod}: {said}", **already}
    if len(facts) == 1:
        return already
    sequence, dead, key = (facts[1].get(name) for name in ("sequence", "deadLetter", "key"))
    sequence = sequence if type(sequence) is int else None
    return {
        "published": sequence is not None or facts[1].get("published") is True,
        "sequence": sequence,
        **({} if key is None else {"stream": str(key)}),
        "dead_letter": None if dead is None else str(dead),
        **({"given_up": True} if facts[1].get("givenUp") is True else {}),
        **already,
    }


def _facts(out: bytes) -> Iterator[Mapping[str, Any]]:
    """What the command prints, from what became of the event on; others may print beside it."""
    begun = False
    for line in out.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue  # nothing of ours, or it ended in the middle of it: why it failed counts
        if isinstance(found, dict) and (begun := begun or not _FIRST.isdisjoint(found)):
            yield found


def _not_known(event_id: uuid.UUID) -> str:
    return (
        f"whether event {event_id} was written is not known; the same command with --id={event_id} "
        "looks for it, and writes it only if it is not there"
    )


@asynccontextmanager
async def _pod(
    session: Session, pipeline: Pipeline, what: dict[str, Any], wait: float
) -> AsyncIterator[tuple[Ref, str]]:
    """A pod that may write, and the container: one that runs, or one made with other logins."""
    found = None if what else await pods.ready_relay(session, pipeline.meta.name)
    if found is not None:
        yield found.ref, found.container
        return
    deployment = await throwaway_pods.deployment(session, names.relay_name(pipeline.meta.name))
    session.say("a pod is made for this" + (", with the login of a writer" if what else ""))
    async with throwaway_pods.made(
        session, deployment, timeout=throwaway_pods.START_SECONDS, verb="emit",
        pipeline=pipeline.meta.name, seconds=lifetime(wait), **what,
    ) as pod:  # fmt: skip
        yield pod, throwaway.CONTAINER


def lifetime(wait: float) -> int:
    """Seconds that a pod lives at most, such that it outlives the wait in it."""
    needed = math.ceil(throwaway_pods.START_SECONDS + _WRITE_SECONDS + wait)
    return min(max(needed, _LEAST_LIFETIME_SECONDS), _LONGEST_LIFETIME_SECONDS)


def lines(facts: Emitted, seconds: float, screen: Screen) -> Iterator[str]:
    """What became of it, and where to look on."""
    home = f"{facts.namespace}/{facts.pipeline}"
    if facts.already:
        yield from screen.wrap(f"event {facts.id} was in {home} already: nothing was written now")
    else:
        yield from screen.wrap(f"event {facts.id} written to {home}")
    where = f"-n {facts.namespace}"
    if facts.published and facts.sequence is None:
        yield from screen.wrap("published, by the relay's word", "  ")
    elif facts.published:
        yield from screen.wrap(f"published: message {facts.sequence} of {facts.stream}", "  ")
    elif facts.dead_letter is not None:
        yield from screen.wrap(f"it is a dead letter: {facts.dead_letter}", "  ")
        yield screen.command(f"kubectl outbox dlq show {facts.pipeline} {facts.id} {where}")
    elif facts.given_up:
        text = "it was a dead letter and was given up: it is never sent, but without --id anew"
        yield from screen.wrap(text, "  ")
    elif facts.published is False:
        why = facts.problem or f"not published within {seconds:g} s"
        yield from screen.tell(why, "  ")
        yield screen.command(f"kubectl outbox status {facts.pipeline} {where}")
    if facts.remark is not None:
        yield from screen.wrap(facts.remark, "  ")
