"""What both servers have in common: clocks, certificates, encryption, logins that end. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outbox_operator.api.resource import Meta
from outbox_operator.errors import (
    AccessDeniedError,
    CredentialsError,
    OutboxError,
)
from outbox_operator.plan.advice import step_or_look
from outbox_operator.plan.amounts import span
from outbox_operator.plan.doctor.findings import Check, Finding, error, info, warning

SOON_SECONDS: Final = 14 * 86_400.0
"""Certificates and credentials that end sooner want somebody's attention."""
CLOCK_SECONDS: Final = 2.0
"""Clocks that differ by more spoil latencies and ages; by a minute, retention and credentials."""
WORSE_CLOCK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The clock of another machine, as it was seen from here.

    Attributes:
        ahead: Seconds that it is ahead of ours; negative: behind.
        doubt: Seconds by which that may be wrong, since an answer takes its time.
    """

    ahead: float
    doubt: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """Something that ends.

    Attributes:
        what: `the certificate of the server`, `spec.nats.tls.certSecretRef`.
        ends: When.
        remedy: What to do.
    """

    what: str
    ends: datetime
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFacts:
    """How a connection stands.

    Attributes:
        where: For people: `NATS at nats.nats:4222`.
        encrypted: Whether it is; None: not known.
    """

    where: str
    clock: Clock | None = None
    encrypted: bool | None = None
    expiries: tuple[Expiry, ...] = ()


def check_login(facts: LoginFacts, now: datetime) -> Iterator[Finding]:
    """What is not well with a connection that is there."""
    if facts.clock is not None:
        yield from check_clock(facts.where, facts.clock)
    if facts.encrypted is False:
        yield info(
            Check.CLEAR_TEXT, facts.where,
            "events and the login go over the network in clear text",
            "TLS, unless the network is trusted",
        )  # fmt: skip
    for one in facts.expiries:
        left = (one.ends - now).total_seconds()
        if left <= 0:
            yield error(
                Check.CERTIFICATE, facts.where, f"{one.what} ended {span(-left)} ago",
                "a new one; connections that are there go on, new ones are refused", one.remedy,
            )  # fmt: skip
        elif left < SOON_SECONDS:
            yield warning(
                Check.CERTIFICATE,
                facts.where,
                f"{one.what} ends in {span(left)}",
                remedy=one.remedy,
            )


def check_clock(where: str, clock: Clock) -> Iterator[Finding]:
    """Whether a clock differs from ours for certain."""
    off = abs(clock.ahead) - clock.doubt
    if off < CLOCK_SECONDS:
        return
    direction = "ahead of" if clock.ahead > 0 else "behind"
    make = error if off >= WORSE_CLOCK_SECONDS else warning
    yield make(
        Check.CLOCK, where,
        f"its clock is {span(abs(clock.ahead))} {direction} the operator's; ages, latencies and "
        "the end of credentials are wrong by that",
        "less than 2 s between all machines",
        "chronyc tracking  # on both machines",
    )  # fmt: skip


def unreachable(where: str, problem: OutboxError, owner: Meta) -> Finding:
    """Why there is no connection, or why it may not do what is needed.

    Args:
        where: For people: `NATS at nats.nats:4222`.
        problem: The error.
        owner: The resource whose login it is.
    """
    check = Check.UNREACHABLE
    if isinstance(problem, AccessDeniedError):
        check = Check.NATS_RIGHT if "NATS" in where else Check.DATABASE_RIGHT
    wanted = "a login that the server takes" if isinstance(problem, CredentialsError) else ""
    return error(
        check, where, f"{problem.reason}: {problem.message}", wanted,
        step_or_look(problem.reason, owner.kind, owner.namespace, owner.name),
    )  # fmt: skip
