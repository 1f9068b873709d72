"""NATS users with few rights: the login of a role, and what a server said it refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.nats import NatsServer, with_permissions

ROLE = "role"
"""The user that a test gives few rights."""


def deny(*, publish: Sequence[str] = (), subscribe: Sequence[str] = ()) -> dict[str, Any]:
    """Permissions of a user who may do everything but this."""
    return {"publish": {"deny": list(publish)}, "subscribe": {"deny": list(subscribe)}}


def allow(*, publish: Sequence[str] = (), subscribe: Sequence[str] = ()) -> dict[str, Any]:
    """Permissions of a user who may do this and nothing else."""
    # An empty list of allowed subjects would allow all.
    return {
        "publish": {"allow": list(publish)} if publish else {"deny": [">"]},
        "subscribe": {"allow": list(subscribe)} if subscribe else {"deny": [">"]},
    }


EVERYTHING: dict[str, Any] = deny()


def give(server: NatsServer, permissions: dict[str, Any]) -> None:
    """From now on, and over the connections there are, `ROLE` may do this."""
    server.reload(**vars_of(permissions))


def vars_of(permissions: dict[str, Any]) -> dict[str, Any]:
    """Options of a server where `ROLE` may do this."""
    return {"extra": with_permissions(**{ROLE: permissions}).extra}


def login(server: NatsServer, directory: Path) -> dict[str, Any]:
    """The `nats` part of a process's configuration, for `ROLE`."""
    secret = directory / "role"
    secret.write_text(ROLE)
    return {"url": server.url, "username_file": str(secret), "password_file": str(secret)}


def violations(server: NatsServer) -> list[str]:
    """Subjects that anybody was refused, as the server's log tells."""
    return re.findall(r'(?:Publish|Subscription) Violation - .*Subject "([^"]+)"', server.log)
