"""An object that goes is held by our finalizer until it is cleaned up, and never for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from outbox_operator.controller.reconcile.deletion import NO_CREDENTIALS_DEADLINE_SECONDS, may_go
from outbox_operator.controller.reconcile.events import EventReporter
from outbox_operator.errors import CredentialsError, NatsError, SpecError
from outbox_operator.reasons import Reason

BODY = {"kind": "EventStream", "metadata": {"name": "a", "namespace": "n"}}


class Kube:
    """Keeps the events."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def record_event(self, _body: Mapping[str, Any], *, reason: str, **_: Any) -> None:
        self.reasons.append(reason)


async def fails(error: Exception | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize(
    ("error", "age", "goes", "event"),
    [
        (None, 0, True, []),
        (NatsError("away"), 119, False, ["CleanupFailed"]),
        (NatsError("away"), 120, True, ["CleanupAbandoned"]),
        (CredentialsError("gone", reason=Reason.SECRET_NOT_FOUND), 14, False, ["CleanupFailed"]),
        (
            CredentialsError("gone", reason=Reason.SECRET_NOT_FOUND),
            NO_CREDENTIALS_DEADLINE_SECONDS,
            True,
            ["CleanupAbandoned"],
        ),
        (CredentialsError("refused"), 15, False, ["CleanupFailed"]),
        (SpecError("unreadable"), 0, True, ["CleanupAbandoned"]),
        # A defect of ours must not wedge a namespace either.
        (KeyError("defect"), 119, False, ["CleanupFailed"]),
        (KeyError("defect"), 120, True, ["CleanupAbandoned"]),
    ],
)
async def test_when_an_object_may_go(
    error: Exception | None, age: float, goes: bool, event: list[str]
) -> None:
    kube = Kube()
    events = EventReporter(kube)  # type: ignore[arg-type]
    went = await may_go(BODY, fails(error), age=age, deadline=120, events=events)
    assert went is goes
    assert kube.reasons == event
