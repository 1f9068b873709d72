"""A login as the program `nats` takes it: a context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outbox_operator.adapters.nats.auth import NatsAuth


def context(auth: NatsAuth, files: Mapping[str, str]) -> dict[str, Any]:
    """A document of `nats/context/<name>.json` with which `nats` logs in as we do.

    Args:
        auth: The login.
        files: Where `creds`, `nkey`, `ca`, `cert` and `key` are, those of them that there are.
    """
    found = {
        "description": "of the pipeline",
        "url": auth.url,
        "user": auth.username,
        "password": auth.password,
        "token": auth.token,
        "jetstream_domain": auth.domain,
        "tls_first": auth.tls_handshake_first or None,
        **files,
    }
    return {name: value for name, value in found.items() if value}
