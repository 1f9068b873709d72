"""Settings of the operator process, from flags and the environment."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from outbox_operator.documents import parse
from outbox_operator.errors import SpecError
from outbox_operator.plan.kubernetes.podsettings import PodSettings

PREFIX: Final = "OUTBOX_"
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OWN_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
MOST_SLICES: Final = 32
"""The chart's Role names a Lease for each, whatever the number in use: while it changes, processes
with the old number and with the new one live side by side."""
_LEAST_SECONDS: Final = 0.1
_MOST_SECONDS: Final = 86_400
_SAMPLES_MISSED: Final = 4
"""Passes in a row that may be late before what the last one read is too old to be exported."""
_LEAST_SAMPLE_AGE_SECONDS: Final = 60.0
"""Whatever the pauses: a pass itself may take long."""


def _seconds(default: float, meaning: str) -> Any:
    """A pause or deadline in seconds, with its line in docs/reference/settings.md."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one operator process works.

    Attributes:
        namespaces: Where our resources are looked after; empty: everywhere.
        namespace_role: ClusterRole that a namespace's owner binds to let the operator in; empty:
            its rights hold everywhere it looks.
        service_account: Whom that role is bound to, as `namespace:name`.
        image: Image of the relay and of the consumer runtime.
        pods: What the pods of relays and consumers have in common, and may ask for.
        log_level: Lowest level shown.
        health_port: Port of /healthz, /readyz and /metrics; 0 picks a free one.
        lease_name: Lease that the leader holds.
        lease_namespace: Where it is.
        identity: Who we are in the Lease and in Events; must differ between replicas.
        requesters_verified: Whether the cluster compares who asks for a task with who creates it.
        slices: Into how many parts processes divide the namespaces, each part with a Lease.
        may_lead: Which of them this process may lead; empty: any.
        workers: Passes that run at once.
        postgres_connections: To one PostgreSQL server there are never more, of all processes
            together.
        deletion_deadline_seconds: After this time a deleted object is let go even though what it
            owned outside Kubernetes could not be cleaned up.

    The others are pauses in seconds, each with its meaning beside it. Changed only by the
    environment: whoever needs to is a test, or has thousands of resources.
    """

    namespaces: tuple[str, ...] = ()
    namespace_role: str = ""
    service_account: str = ""
    image: str
    pods: PodSettings = field(default_factory=PodSettings)
    log_level: str = "INFO"
    health_port: int = 8080
    lease_name: str = "outbox-operator"
    lease_namespace: str
    identity: str
    requesters_verified: bool = False
    slices: int = 1
    may_lead: frozenset[int] = frozenset()
    workers: int = 20
    postgres_connections: int = 20
    deletion_deadline_seconds: float = 120.0
    lease_duration_seconds: float = _seconds(
        15.0, "a standby takes over when the leader was silent for this long, in whole seconds"
    )
    lease_deadline_seconds: float = _seconds(
        10.0, "the leader ends when it could not renew its Lease for this long"
    )
    lease_retry_seconds: float = _seconds(2.0, "between two attempts to take or renew the Lease")
    resync_seconds: float = _seconds(60.0, "between two comparisons of the watches with lists")
    silence_seconds: float = _seconds(
        180.0, "the process counts as dead when a watch has been deaf for this long"
    )
    pipeline_interval_seconds: float = _seconds(
        30.0, "between two passes over a pipeline that is ready"
    )
    stream_interval_seconds: float = _seconds(
        60.0, "between two passes over a stream that is ready"
    )
    consumer_interval_seconds: float = _seconds(60.0, "the same for a consumer without a handler")
    handler_interval_seconds: float = _seconds(
        35.0, "the same for a consumer with a handler, whose pods follow its Secrets"
    )
    busy_interval_seconds: float = _seconds(
        15.0, "to the next pass while the numbers of a status move"
    )
    asleep_interval_seconds: float = _seconds(
        0.5, "between two looks at a consumer that has no pods because nothing waits"
    )
    waiting_interval_seconds: float = _seconds(
        10.0, "to the next pass while pods or children start"
    )
    catalog_interval_seconds: float = _seconds(
        300.0, "between two comparisons of a database's catalogue with what should be there"
    )
    rest_seconds: float = _seconds(
        3600.0, "between two passes over what rests, whatever the looks at it find"
    )
    postgres_check_seconds: float = _seconds(
        10.0, "between two questions to a PostgreSQL whether it still answers"
    )
    status_interval_seconds: float = _seconds(
        15.0, "least time between two writes of a status that differs in live numbers only"
    )
    status_refresh_seconds: float = _seconds(
        600.0, "numbers that stay the same are confirmed this often"
    )
    secret_age_seconds: float = _seconds(15.0, "longest time a Secret is remembered")
    retry_ceiling_seconds: float = _seconds(
        15.0, "longest pause after a failure that time can heal, such as a server that is away"
    )
    stalled_ceiling_seconds: float = _seconds(
        45.0, "longest pause after a failure that somebody has to mend"
    )

    def __post_init__(self) -> None:
        if not self.lease_retry_seconds < self.lease_deadline_seconds < self.lease_duration_seconds:
            raise SpecError(
                f"{PREFIX}LEASE_RETRY, {PREFIX}LEASE_DEADLINE, {PREFIX}LEASE_DURATION: wanted "
                f"each less than the next, found {self.lease_retry_seconds:g}, "
                f"{self.lease_deadline_seconds:g}, {self.lease_duration_seconds:g}"
            )

        least = 2 * self.slices
        if self.postgres_connections < least:
            raise SpecError(
                f"OUTBOX_POSTGRES_CONNECTIONS: wanted 2 for each slice, so {least} or more; found "
                f"{self.postgres_connections}"
            )
        if wrong := sorted(one for one in self.may_lead if one >= self.slices):
            raise SpecError(
                f"OUTBOX_MAY_LEAD: wanted numbers from 0 to {self.slices - 1}, as there are "
                f"{self.slices} slices; found {wrong[0]}"
            )

    @property
    def postgres_connections_here(self) -> int:
        """This process' part of them, whatever it leads: processes do not know of each other's."""
        return self.postgres_connections // self.slices

    def how_to_grant(self, namespace: str) -> str:
        """The command by which the owner of a namespace lets the operator in."""
        return (
            f"kubectl create rolebinding {self.lease_name} --clusterrole={self.namespace_role} "
            f"--serviceaccount={self.service_account} --namespace={namespace}"
        )

    @property
    def sample_age_seconds(self) -> float:
        """Numbers that no pass has read for so long are not exported any more."""
        longest = max(
            self.pipeline_interval_seconds,
            self.stream_interval_seconds,
            self.consumer_interval_seconds,
            self.handler_interval_seconds,
            self.busy_interval_seconds,
            self.waiting_interval_seconds,
            self.retry_ceiling_seconds,
            self.stalled_ceiling_seconds,
        )
        return max(_SAMPLES_MISSED * longest, _LEAST_SAMPLE_AGE_SECONDS)

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

    role, account = text("NAMESPACE_ROLE"), text("SERVICE_ACCOUNT")
    if role and not re.fullmatch("[^:]+:[^:]+", account):
        raise SpecError(
            f"OUTBOX_SERVICE_ACCOUNT: wanted namespace:name, beside OUTBOX_NAMESPACE_ROLE; found "
            f"{account!r}"
        )
    if role and text("NAMESPACES"):
        raise SpecError(
            "OUTBOX_NAMESPACES and OUTBOX_NAMESPACE_ROLE: wanted one of them; the first names "
            "the namespaces, with the second their owners let the operator in"
        )
    image = text("IMAGE")
    if not image:
        raise SpecError("OUTBOX_IMAGE (or --image) is not set: the image that relay pods run")
    return Settings(
        namespaces=_namespaces(text("NAMESPACES")),
        namespace_role=role,
        service_account=account,
        image=image,
        pods=parse(PodSettings, text("PODS", "{}"), PREFIX + "PODS"),
        log_level=_level(text("LOG_LEVEL", "INFO")),
        health_port=_number("HEALTH_PORT", text("HEALTH_PORT", "8080"), 0, 65535),
        lease_name=text("LEASE_NAME", "outbox-operator"),
        lease_namespace=text("LEASE_NAMESPACE")
        or environment.get("POD_NAMESPACE")
        or _own_namespace(),
        identity=text("IDENTITY") or environment.get("POD_NAME") or socket.gethostname(),
        requesters_verified=_switch("REQUESTERS_VERIFIED", text("REQUESTERS_VERIFIED", "false")),
        slices=_number("SLICES", text("SLICES", "1"), 1, MOST_SLICES),
        may_lead=_indexes(text("MAY_LEAD")),
        workers=_number("WORKERS", text("WORKERS", "20"), 1, 1000),
        postgres_connections=_number(
            "POSTGRES_CONNECTIONS", text("POSTGRES_CONNECTIONS", "20"), 2, 1000
        ),
        deletion_deadline_seconds=_number(
            "DELETION_DEADLINE", text("DELETION_DEADLINE", "120"), 5, 86_400
        ),
        **{
            one.name: _pause(variable(one), environment[variable(one)])
            for one in pauses()
            if environment.get(variable(one))
        },
    )


def pauses() -> list[Field[Any]]:
    """The settings that are seconds, in the order of the page that lists them."""
    return [one for one in fields(Settings) if "meaning" in one.metadata]


def variable(one: Field[Any]) -> str:
    """The environment variable of such a setting."""
    return PREFIX + one.name.removesuffix("_seconds").upper()


def _namespaces(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise SpecError(
                f"OUTBOX_NAMESPACES: {name!r} is not a namespace name; wanted names with commas "
                "between them, or nothing for all namespaces"
            )
    return names


def _indexes(text: str) -> frozenset[int]:
    found = (part.strip() for part in text.split(",") if part.strip())
    return frozenset(_number("MAY_LEAD", part, 0, MOST_SLICES - 1) for part in found)


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


def _switch(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise SpecError(f"OUTBOX_{name}: {text!r} is neither true nor false")
    return text == "true"


def _pause(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not _LEAST_SECONDS <= value <= _MOST_SECONDS:  # which NaN is not either
        raise SpecError(
            f"{name}: {text!r} is not a number of seconds from {_LEAST_SECONDS} to {_MOST_SECONDS}"
        )
    return value


def _own_namespace() -> str:
    """Namespace of our pod; `default` outside of one, as kubectl does."""
    try:
        return _OWN_NAMESPACE_FILE.read_text().strip()
    except OSError:
        return "default"
