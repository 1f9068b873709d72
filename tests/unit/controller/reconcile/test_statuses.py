"""When the first word on an object is said, and how it is confirmed that nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from outbox_operator.adapters.kubernetes.transport import WriteConflictError
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.stream import EventStreamStatus
from outbox_operator.controller.reconcile import statuses
from outbox_operator.controller.reconcile.statuses import Statuses, something_wrong
from outbox_operator.controller.runtime.own_writes import OwnWrites, Said
from outbox_operator.controller.runtime.undeclared import Undeclared
from outbox_operator.controller.settings import Settings
from outbox_operator.plan.status.conditions import Part
from outbox_operator.reasons import Reason
from support.waiting import eventually

NOW = datetime(2026, 1, 31, tzinfo=UTC)
SEEN = EventStreamStatus(observedGeneration=2)
DONE = EventStreamStatus(observedGeneration=2, operatorVersion="1")


@dataclass
class Server:
    """Keeps what is written."""

    written: list[Mapping[str, Any]] = field(default_factory=list)
    newest: int = 5

    async def apply_status(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        if manifest["metadata"].get("resourceVersion", str(self.newest)) != str(self.newest):
            raise WriteConflictError("somebody was faster")
        self.newest += 1
        self.written.append(manifest["status"])
        return {"metadata": {"uid": "u", "resourceVersion": str(self.newest)}}


def owner() -> Meta:
    return Meta(
        kind=meta.STREAM, namespace="shop", name="orders", uid="u", generation=2, created=""
    )


def body(**status: object) -> dict[str, Any]:
    metadata = {"name": "orders", "namespace": "shop", "uid": "u", "resourceVersion": "5"}
    return {"kind": meta.STREAM, "metadata": metadata, "status": status}


def made() -> tuple[Statuses, Server]:
    server = Server()
    settings = Settings(image="i", lease_namespace="system", identity="a")
    context = SimpleNamespace(kube=server, settings=settings, undeclared=Undeclared())
    made = Statuses(cast(Any, context), meta.STREAM, OwnWrites(), {"stream"}, lambda: NOW)
    return made, server


async def test_a_quick_pass_says_its_end_alone() -> None:
    found, server = made()
    async with found.seen(body(), owner(), SEEN):
        pass
    assert found.may_wait("u") > 0
    assert await found.write(body(), owner(), DONE, now=False) is Said.WRITTEN
    found.told("u", on_its_way=False)
    assert [one.get("operatorVersion") for one in server.written] == ["1"]
    assert found.may_wait("u") == 0


async def test_of_a_slow_pass_it_is_said_that_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "HELD_SECONDS", 0.01)
    found, server = made()
    async with found.seen(body(), owner(), SEEN):
        monkeypatch.setattr(statuses, "HELD_SECONDS", 4.0)  # of the next word
        await eventually(lambda: server.written, "it was said")
    assert server.written == [_rendered(SEEN)]
    assert found.may_wait("u") > 0  # for the next word


async def test_the_time_goes_on_from_pass_to_pass() -> None:
    found, _ = made()
    waits = list[float]()
    for _ in range(2):
        async with found.seen(body(), owner(), SEEN):
            waits.append(found.may_wait("u"))
    assert waits[1] < waits[0] <= statuses.HELD_SECONDS


async def test_what_is_long_on_its_way_is_told_step_by_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statuses, "_NEW_SECONDS", 0.0)
    found, _ = made()
    async with found.seen(body(), owner(), SEEN):
        pass
    await asyncio.sleep(0)
    found.told("u", on_its_way=True)
    assert found.may_wait("u") == 0


async def test_who_is_gone_or_not_new_waits_for_nothing() -> None:
    found, _ = made()
    async with found.seen(body(), owner(), SEEN):
        pass
    assert found.may_wait("another") == 0
    found.forget("u")
    assert found.may_wait("u") == 0


async def test_numbers_are_confirmed_unless_somebody_has_written() -> None:
    found, server = made()
    assert found.confirming(body(observedGeneration=2)) is None
    before = {"observedGeneration": 2, "sampledAt": "2026-01-30T23:55:00Z"}
    confirming = found.confirming(body(**before))
    assert confirming is not None
    assert (confirming.after_seconds, confirming.every_seconds) == (300, 600)
    version = await confirming.say(5)
    assert (version, server.written) == (6, [{**before, "sampledAt": "2026-01-31T00:00:00Z"}])
    with pytest.raises(WriteConflictError):
        await confirming.say(5)


def _rendered(status: EventStreamStatus) -> dict[str, Any]:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


@pytest.mark.parametrize(
    ("reason", "failing", "stalled", "wrong"),
    [
        (Reason.STREAM_NOT_FOUND, True, False, False),
        (Reason.CREATING, False, False, False),
        (Reason.STREAM_EXISTS, False, True, True),
        (Reason.POSTGRES_UNREACHABLE, True, False, True),
    ],
)
def test_what_of_a_new_object_cannot_wait(
    reason: Reason, failing: bool, stalled: bool, wrong: bool
) -> None:
    part = Part(
        type=ConditionType.STREAM_READY, status="False", reason=reason, failing=failing,
        stalled=stalled,
    )  # fmt: skip
    assert something_wrong([part]) is wrong
