"""Makes tasks, follows them, and ends with what they came to. For every verb that orders work.

The operator does the work, with its own rights; a person needs the right to make an OutboxTask and
no login of a database. The object that stays behind says who ordered what, and how it ended.
"""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from outbox_operator.adapters.kubernetes.caller import lost
from outbox_operator.adapters.kubernetes.objects import Ref, ref_of
from outbox_operator.adapters.kubernetes.transport import NotFoundError, WriteConflictError
from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.task import REFS, ActionName
from outbox_operator.cli.cluster import task_facts
from outbox_operator.cli.cluster.report import Report, object_name
from outbox_operator.cli.cluster.session import Session
from outbox_operator.cli.cluster.task_facts import TaskFacts
from outbox_operator.errors import AccessDeniedError, KubernetesError, OutboxError
from outbox_operator.reasons import Reason

SHORTEST_KEEP_SECONDS: Final = 60
"""Who follows a task has to see its end, also when the API server is away for a while."""
_LOOK_SECONDS: Final = 0.5
_SUFFIX: Final = 5
_LONGEST_STEM: Final = 63 - _SUFFIX - 2
_MOST_LOST: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A task that is to be made.

    Attributes:
        action: What is to be done.
        kind: Of what it is about.
        name: Of what it is about.
        fields: Of the action, as in the specification.
    """

    action: ActionName
    kind: str
    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """The facts of a verb that orders work."""

    tasks: tuple[TaskFacts, ...]


async def carry_out(session: Session, orders: Sequence[Order]) -> Report:
    """Have orders carried out one after another, each followed to its end.

    Args:
        session: Whose arguments have the options of `options.task`.
        orders: What is to be done.

    Raises:
        AccessDeniedError: The caller may not make tasks.
        NotFoundError: A task was deleted before it ended.
    """
    requested_by = await _user_name(session)
    found = [await _carry_out(session, order, requested_by) for order in orders]
    return Report(
        facts=Tasks(tasks=tuple(found)),
        lines=lambda screen: task_facts.lines(found, screen, goes_on=not session.kube.is_laptop),
        names=[object_name(meta.TASK, one.name) for one in found],
        well=all(one.well or (session.args.no_wait and not one.ended) for one in found),
    )


def manifest(
    order: Order, namespace: str, args: Any, requested_by: str | None
) -> Mapping[str, Any]:
    """The OutboxTask of an order.

    Args:
        order: What is to be done.
        namespace: Where.
        args: With the options of `options.task`.
        requested_by: Who asks; None: it could not be found out.
    """
    ref = next(name for name, kind in REFS.items() if kind == order.kind)
    spec: dict[str, Any] = {
        ref: {"name": order.name},
        order.action: dict(order.fields),
        "ttlSecondsAfterFinished": max(SHORTEST_KEEP_SECONDS, math.ceil(args.keep)),
    }
    if args.dry_run:
        spec["dryRun"] = True
    if args.rate is not None:
        spec["eventsPerSecond"] = args.rate
    if requested_by:
        spec["requestedBy"] = requested_by
    stem = re.sub(r"(?<!^)([A-Z])", r"-\1", order.action).lower()
    return {
        "apiVersion": meta.API_VERSION,
        "kind": meta.TASK,
        "metadata": {
            "name": f"{f'{stem}-{order.name}'[:_LONGEST_STEM].rstrip('.-')}-{_suffix()}",
            "namespace": namespace,
        },
        "spec": spec,
    }


def _suffix() -> str:
    """As the API server makes names, so that two orders do not meet."""
    return "".join(secrets.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(_SUFFIX))


async def _carry_out(session: Session, order: Order, requested_by: str | None) -> TaskFacts:
    made = await _make(session, manifest(order, session.namespace, session.args, requested_by))
    session.say(f"made OutboxTask {session.namespace}/{made['metadata']['name']}")
    return task_facts.task(made) if session.args.no_wait else await _follow(session, made)


async def _make(session: Session, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Make a task once, also when the answer is lost: its name is ours."""
    ref, answers_lost = ref_of(wanted), 0
    while True:
        try:
            return await session.kube.create(wanted)
        except WriteConflictError:
            found = await session.kube.get(ref) if answers_lost else None
            if found is None:
                raise
            return found
        except KubernetesError as error:
            if not lost(error):
                raise
            answers_lost += 1
            if answers_lost > _MOST_LOST:
                raise KubernetesError(
                    f"{error.message}; it may have been made all the same: "
                    f"`kubectl outbox task {ref.name} -n {ref.namespace}` says"
                ) from error
        await asyncio.sleep(_LOOK_SECONDS)


async def _follow(session: Session, body: dict[str, Any]) -> TaskFacts:
    ref, said = ref_of(body), ""
    deadline = asyncio.get_running_loop().time() + session.args.timeout
    try:
        while True:
            facts = task_facts.task(body)
            late = asyncio.get_running_loop().time() >= deadline
            if late and not facts.ended:
                _say_it_goes_on(session, ref)
            if facts.ended or late:
                return facts
            begun = facts.reason != Reason.NOT_OBSERVED or not session.kube.is_laptop
            if begun and (text := task_facts.progress(facts)) != said:
                said = text
                session.say(said)
            await asyncio.sleep(_LOOK_SECONDS)
            body = await session.look_again(partial(_now, session, ref)) or body
    except NotFoundError:
        raise
    except (asyncio.CancelledError, OutboxError):  # Ctrl-C, or a login that has run out
        _say_it_goes_on(session, ref)
        raise


async def _now(session: Session, ref: Ref) -> dict[str, Any]:
    found = await session.kube.get(ref)
    if found is None:
        raise NotFoundError(f"OutboxTask {ref.name} was deleted before it ended")
    return found


def _say_it_goes_on(session: Session, ref: Ref) -> None:
    if session.kube.is_laptop:  # nobody else works on it
        session.say(f"OutboxTask {ref.name} ends here; what it has done stays done")
        return
    session.say(
        f"OutboxTask {ref.name} goes on; `kubectl outbox task {ref.name} -n {ref.namespace}` "
        f"follows it, `kubectl delete obt/{ref.name} -n {ref.namespace}` stops it"
    )


async def follow(session: Session) -> Report:
    """Follow a task that was made before: `args.name`."""
    ref = Ref(meta.API_VERSION, meta.PLURALS[meta.TASK], session.namespace, session.args.name)
    body = await session.kube.get(ref)
    if body is None:
        raise NotFoundError(f"no OutboxTask {ref.name!r} in namespace {ref.namespace}")
    facts = task_facts.task(body) if session.args.no_wait else await _follow(session, body)
    return Report(
        facts=Tasks(tasks=(facts,)),
        lines=lambda screen: task_facts.lines([facts], screen),
        names=[object_name(meta.TASK, facts.name)],
        well=facts.well or (session.args.no_wait and not facts.ended),
    )


async def _user_name(session: Session) -> str | None:
    """As the API server knows the caller; a cluster before 1.28 does not say."""
    try:
        return await session.kube.user_name()
    except (NotFoundError, AccessDeniedError):
        return None
