"""Settings of the operator process, from flags and the environment."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outbox_operator.errors import SpecError

PREFIX: Final = "OUTBOX_"
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OWN_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one operator process works.

    Attributes:
        namespaces: Where our resources are looked after; empty: everywhere.
        image: Image of the relay and of the consumer runtime.
        log_level: Lowest level shown.
        health_port: Port of /healthz, /readyz and /metrics; 0 picks a free one.
        lease_name: Lease that the leader holds.
        lease_namespace: Where it is.
        identity: Who we are in the Lease and in Events; must differ between replicas.
        workers: Passes that run at once.
        lease_duration_s: A standby takes over when the holder was silent for this long.
        lease_deadline_s: The holder gives up when it could not renew for this long; less than
            the duration, so that it stops before another starts.
        lease_retry_s: Seconds between two attempts to take or renew the Lease.
        deletion_deadline_s: After this time a deleted object is let go even though what it owned
            outside Kubernetes could not be cleaned up.
        resync_s: Seconds between two comparisons of the watch with a list.
        silence_s: The watch may be behind for this long before the process counts as dead.
    """

    namespaces: tuple[str, ...] = ()
    image: str
    log_level: str = "INFO"
    health_port: int = 8080
    lease_name: str = "outbox-operator"
    lease_namespace: str
    identity: str
    workers: int = 20
    deletion_deadline_s: float = 120.0
    lease_duration_s: int = 15
    lease_deadline_s: float = 10.0
    lease_retry_s: float = 2.0
    resync_s: float = 60.0
    silence_s: float = 180.0

    @property
    def scopes(self) -> tuple[str | None, ...]:
        """Namespaces to list and watch; None stands for all."""
        return self.namespaces or (None,)


def from_environment(
    environment: Mapping[str, str], overrides: Mapping[str, str | None] | None = None
) -> Settings:
    """Settings from `OUTBOX_…` variables.

    Args:
        environment: The process environment.
        overrides: The same settings from flags, without the prefix, as in `{"IMAGE": "…"}`;
            a None does not override.

    Raises:
        SpecError: A setting is missing or cannot be read; the message names it.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}

    def text(name: str, default: str = "") -> str:
        return given.get(name) or environment.get(PREFIX + name) or default

    image = text("IMAGE")
    if not image:
        raise SpecError("OUTBOX_IMAGE (or --image) is not set: the image that relay pods run")
    return Settings(
        namespaces=_namespaces(text("NAMESPACES")),
        image=image,
        log_level=_level(text("LOG_LEVEL", "INFO")),
        health_port=_number("HEALTH_PORT", text("HEALTH_PORT", "8080"), 0, 65535),
        lease_name=text("LEASE_NAME", "outbox-operator"),
        lease_namespace=text("LEASE_NAMESPACE")
        or environment.get("POD_NAMESPACE")
        or _own_namespace(),
        identity=text("IDENTITY") or environment.get("POD_NAME") or socket.gethostname(),
        workers=_number("WORKERS", text("WORKERS", "20"), 1, 1000),
        deletion_deadline_s=_number(
            "DELETION_DEADLINE", text("DELETION_DEADLINE", "120"), 5, 86_400
        ),
    )


def _namespaces(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise SpecError(
                f"OUTBOX_NAMESPACES: {name!r} is not a namespace name; wanted names with commas "
                "between them, or nothing for all namespaces"
            )
    return names


def _level(text: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    if text.upper() not in levels:
        raise SpecError(f"OUTBOX_LOG_LEVEL: {text!r} is not one of {', '.join(levels)}")
    return text.upper()


def _number(name: str, text: str, least: int, most: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise SpecError(f"OUTBOX_{name}: {text!r} is not a number from {least} to {most}")
    return value


def _own_namespace() -> str:
    """Namespace of our pod; `default` outside of one, as kubectl does."""
    try:
        return _OWN_NAMESPACE_FILE.read_text().strip()
    except OSError:
        return "default"
