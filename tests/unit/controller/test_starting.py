"""What is waited for before anything is led."""

from __future__ import annotations

from typing import cast

import pytest

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.api import meta
from outbox_operator.controller import app
from outbox_operator.errors import AccessDeniedError, KubernetesError, OutboxError


class ApiServer:
    """Refuses at first."""

    server = "https://kubernetes"

    def __init__(self, *refusals: OutboxError) -> None:
        self.refusals = list(refusals)

    async def served_plurals(self, _api_version: str) -> set[str]:
        if self.refusals:
            raise self.refusals.pop(0)
        return set(meta.PLURALS.values())


async def test_an_api_server_that_does_not_know_of_roles_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "API_RETRY_SECONDS", 0.001)
    server = ApiServer(
        KubernetesError("connection refused"),
        AccessDeniedError("User cannot get path /apis/outbox.dev/v1alpha1"),
        AccessDeniedError("Unauthorized (HTTP 401)"),
    )
    await app.check_kinds(cast(Kube, server))
    assert server.refusals == []
