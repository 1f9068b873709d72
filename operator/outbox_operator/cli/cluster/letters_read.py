"""Reads dead letters by a command in one of the pods that have the logins for it.

Where none runs, a pod is made for it and removed afterwards. A person needs the right to create
`pods/exec`, then pods as well, and no login. What comes back is bounded in size and
time, and is somebody else's text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.adapters.kubernetes.in_pod import Ran
from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import parse_status
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.cli import endings
from outbox_operator.cli.cluster import pods, throwaway, throwaway_pods
from outbox_operator.cli.cluster.letters import Place
from outbox_operator.cli.cluster.pods import Pod
from outbox_operator.cli.cluster.reading import one
from outbox_operator.cli.cluster.refusals import explained
from outbox_operator.cli.cluster.report import prose
from outbox_operator.cli.cluster.session import Session
from outbox_operator.cli.cluster.target import Target
from outbox_operator.cli.cluster.troubles import condition
from outbox_operator.errors import KubernetesError, NotSupportedError, OutboxError
from outbox_operator.plan import names
from outbox_operator.plan.jetstream.names import dead_letter_stream, dead_letter_subject
from outbox_operator.plan.redis.keys import letters_key

_MOST_BYTES: Final = 16 * 1024 * 1024
_SECONDS: Final = 45.0
_LIFETIME_SECONDS: Final = 600
_TOO_OLD: Final = ("no verb 'dead-letters'", "unrecognized arguments")


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The dead letters of a place.

    Attributes:
        letters: As `outbox dead-letters` prints them.
        more: Whether there are more than were asked for.
        problem: Why they could not be read, or not all of them; None: they were.
    """

    place: Place
    letters: tuple[Mapping[str, Any], ...] = ()
    more: bool = False
    problem: str | None = prose(default=None)


async def read(session: Session, places: Sequence[Place], options: Sequence[str]) -> list[Read]:
    """The letters of some places, each read in a pod that can.

    Args:
        session: The verb's.
        places: Where they are.
        options: Of `outbox dead-letters`.
    """
    with endings.ended_by_signals():
        async with AsyncExitStack() as stack:
            pods_of = _Pods(session, stack)
            reads = (_read(session, pods_of, place, options) for place in places)
            return list(await asyncio.gather(*reads))


async def _read(session: Session, pods_of: _Pods, place: Place, options: Sequence[str]) -> Read:
    try:
        where = await _where(session, place)
        pod, container = await pods_of.of(place)
        ran = await session.kube.run_in_pod(
            pod, container, ["outbox", "dead-letters", *where, *options],
            most_bytes=_MOST_BYTES, seconds=_SECONDS,
        )  # fmt: skip
        return printed(place, pod.name, ran)
    except OutboxError as error:
        return Read(place=place, problem=explained(error, session.kube.context).message)


def printed(place: Place, pod: str, ran: Ran) -> Read:
    """What the command in a pod found, also when it did not come to its end.

    Raises:
        KubernetesError: It found nothing and failed, or printed something else.
    """
    if ran.code == 0:
        letters, more = parse(ran.out)
        return Read(place=place, letters=letters, more=more)
    said = " ".join(ran.err.split())[-1000:]
    if any(one in said for one in _TOO_OLD):
        said = "its image is of a version that cannot print dead letters as this one asks for them"
    problem = f"pod {pod}: {said}"
    try:
        letters, more = parse(ran.out)
    except KubernetesError:
        letters, more = (), False  # it ended in the middle of a line; why it failed counts
    return Read(place=place, letters=letters, more=more, problem=problem)


def parse(out: bytes) -> tuple[tuple[Mapping[str, Any], ...], bool]:
    """Letters of what the command printed, and whether there are more.

    Raises:
        KubernetesError: It printed something else.
    """
    try:
        found = [json.loads(line) for line in out.splitlines()]
    except (ValueError, RecursionError) as error:
        raise KubernetesError(f"the pod printed no dead letters: {out[:200]!r}") from error
    letters = tuple(one for one in found if isinstance(one, dict) and "id" in one)
    return letters, any(isinstance(one, dict) and one.get("more") is True for one in found)


async def _where(session: Session, place: Place) -> list[str]:
    """Options that say which table, stream or key."""
    if place.kind == meta.PIPELINE:
        return []
    body = await one(session, meta.CONSUMER, place.name)
    ref = (body["spec"].get("streamRef") or {}).get("name")
    durable = ((body.get("status") or {}).get("consumer") or {}).get("name")
    if ref is None or durable is None:
        if ref is None:
            raise NotSupportedError(
                f"EventConsumer {place.name}: it reads a stream of nobody's here"
            )
        raise NotSupportedError(
            f"EventConsumer {place.name}: no durable consumer is known yet{_why(body)}"
        )
    spec = (await one(session, meta.STREAM, str(ref)))["spec"]
    if spec.get("redis") is not None:
        return ["--stream", letters_key(str(spec["name"])), "--durable", str(durable)]
    if spec.get("deadLetter") is None:
        raise NotSupportedError(f"EventStream {ref} keeps no dead letters (spec.deadLetter)")
    return [
        "--stream", dead_letter_stream(spec), "--durable", str(durable),
        "--subject", dead_letter_subject(spec, str(durable)),
    ]  # fmt: skip


def _why(body: Mapping[str, Any]) -> str:
    """Why a consumer is not ready, as the end of a sentence; empty: nobody says."""
    ready = condition(parse_status(body, EventConsumerStatus).conditions, ConditionType.READY)
    return f": {ready.message}" if ready and ready.status == "False" and ready.message else ""


class _Pods:
    """Pods in which letters can be read: one that runs, else one that is made.

    Args:
        session: The verb's.
        stack: Removes at its end what was made.
    """

    def __init__(self, session: Session, stack: AsyncExitStack) -> None:
        self._session = session
        self._stack = stack
        self._made: dict[str, Ref] = {}
        self._turn = asyncio.Lock()

    async def of(self, place: Place) -> tuple[Ref, str]:
        """The pod for a place, and its container.

        Raises:
            KubernetesError: None runs, and none can be made.
        """
        found = await _running(self._session, place)
        if found is not None:
            return found.ref, found.container
        if self._session.args.watch:
            raise KubernetesError(
                "no pod of ours is ready in which its dead letters could be read; without --watch "
                "one is made for it"
            )
        relay = names.relay_name(place.pipeline)
        name = relay if place.pipeline else names.workload_name(place.name)
        async with self._turn:  # one serves all places whose logins it has
            if name not in self._made:
                self._session.say("no pod of ours is ready; one is made for this")
                self._made[name] = await self._stack.enter_async_context(
                    throwaway_pods.made(
                        self._session, await throwaway_pods.deployment(self._session, name),
                        timeout=throwaway_pods.START_SECONDS, verb="dlq", pipeline=place.pipeline,
                        seconds=_LIFETIME_SECONDS,
                    )
                )  # fmt: skip
        return self._made[name], throwaway.CONTAINER


async def _running(session: Session, place: Place) -> Pod | None:
    """A pod whose container is ours and ready: the relay's, or of a consumer; None: none is."""
    if place.kind == meta.PIPELINE:
        return await pods.ready_relay(session, place.pipeline)
    found: list[Pod] = []
    if place.pipeline:
        found = await pods.of_target(session, Target(meta.PIPELINE, place.pipeline))
    elif place.kind == meta.CONSUMER:
        found = await pods.of_target(session, Target(meta.CONSUMER, place.name))
    return next((pod for pod in found if pod.ready and pod.runs_outbox), None)
