"""What tasks are about to send, noted on an EventConsumer of a real API server."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.api import meta
from outbox_operator.api.resource import Consumer, Task, parse_consumer
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.tasks.action import Work
from outbox_operator.controller.tasks.letter_notes import doubts, note, notes_of_others
from outbox_operator.errors import ConflictError
from outbox_operator.plan.tasks.announced import Announced
from outbox_operator.plan.tasks.status import Progress

STREAM, CREATED = "ORDERS_DLQ", "now"


def ref(namespace: str) -> Ref:
    return Ref(meta.API_VERSION, meta.PLURALS[meta.CONSUMER], namespace, "billing")


async def consumer(kube: Kube, namespace: str) -> Consumer:
    body = await kube.apply(
        {
            "apiVersion": meta.API_VERSION,
            "kind": meta.CONSUMER,
            "metadata": {"name": "billing", "namespace": namespace},
            "spec": {"streamRef": {"name": "orders"}},
        }
    )
    return parse_consumer(body, stored=True)


def work(kube: Kube, target: Consumer, task: str) -> Work:
    """Of a task whose operator knows the consumer as it was at the begin."""
    context = SimpleNamespace(kube=kube, ref=lambda _: ref(target.meta.namespace))
    mine = SimpleNamespace(meta=SimpleNamespace(uid=task))

    async def save(_: object) -> None:
        raise NotImplementedError

    return Work(
        context=cast(Context, context), task=cast(Task, mine), target=target, selection={},
        save=save, most=1, deadline=0,
    )  # fmt: skip


def batch(target: Consumer, task: str, *letters: int) -> Announced:
    return Announced(
        task=task, consumer=target.meta.uid, stream=STREAM, created=CREATED, batch=letters,
        source=None,
    )  # fmt: skip


async def test_none_overwrites_what_another_has_noted(kube: Kube, namespace: str) -> None:
    target = await consumer(kube, namespace)
    tasks = ["a", "b", "c"]
    await asyncio.gather(*(note(work(kube, target, one), batch(target, one, 7)) for one in tasks))
    beside = await note(work(kube, target, "a"), batch(target, "a", 7))
    assert sorted(one.task for one in beside.others) == ["b", "c"]
    after = await notes_of_others(work(kube, target, "d"), STREAM, CREATED)
    assert sorted(one.task for one in after) == tasks
    for one in tasks:
        await note(work(kube, target, one), batch(target, one))
    assert await notes_of_others(work(kube, target, "d"), STREAM, CREATED) == []
    assert doubts(work(kube, target, "a"), Progress(), 0) is None
    body = await kube.get(ref(namespace))
    assert body is not None
    assert meta.LETTERS_ANNOTATION not in (body["metadata"].get("annotations") or {})


async def test_what_is_not_understood_stays_and_is_said(kube: Kube, namespace: str) -> None:
    target = await consumer(kube, namespace)
    strange = '[{"of": "a later version"}]'
    await kube.merge_metadata(ref(namespace), annotations={meta.LETTERS_ANNOTATION: strange})
    one = work(kube, target, "a")
    assert (await note(one, batch(target, "a", 7))).strange == 1
    assert (await note(one, batch(target, "a"))).strange == 1
    body = await kube.get(ref(namespace))
    assert body is not None
    assert body["metadata"]["annotations"][meta.LETTERS_ANNOTATION] == strange
    said = doubts(one, Progress(done=3), 1)
    assert said is not None
    assert said.summary == "3 events are done"
    assert "may have been sent again" in said.findings[0].message


async def test_a_note_that_cannot_be_read_stops_and_says_what_to_do(
    kube: Kube, namespace: str
) -> None:
    target = await consumer(kube, namespace)
    await kube.merge_metadata(ref(namespace), annotations={meta.LETTERS_ANNOTATION: '{"v": 2}'})
    with pytest.raises(ConflictError, match=rf"{meta.LETTERS_ANNOTATION}- -n {namespace}"):
        await note(work(kube, target, "a"), batch(target, "a", 7))
    await kube.delete(ref(namespace))
    with pytest.raises(ConflictError, match="is gone"):
        await note(work(kube, target, "a"), batch(target, "a", 7))
