"""What each error of the JetStream API is called here."""

from __future__ import annotations

import re

import pytest

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.errors import ApiFaultError, translate
from outbox_operator.adapters.nats.fault_kinds import FaultKind
from outbox_operator.errors import (
    ConflictError,
    NatsError,
    OutboxError,
    SpecError,
    UnsafeChangeError,
    UnsupportedServerError,
)
from outbox_operator.reasons import Reason
from support.kube import ROOT

AUTH = NatsAuth(url="nats://n:4222")


def fault(code: int, err_code: int) -> ApiFaultError:
    return ApiFaultError({"code": code, "err_code": err_code, "description": "the words"})


@pytest.mark.parametrize(
    ("code", "err_code", "error", "reason"),
    [
        (404, 10059, NatsError, Reason.STREAM_NOT_FOUND),
        (404, 10014, NatsError, Reason.CONSUMER_MISSING),
        (503, 10039, UnsupportedServerError, Reason.JETSTREAM_NOT_ENABLED),
        (503, 10076, UnsupportedServerError, Reason.JETSTREAM_NOT_ENABLED),
        (503, 10008, NatsError, Reason.JETSTREAM_UNAVAILABLE),
        (503, 10023, NatsError, Reason.JETSTREAM_UNAVAILABLE),
        (503, 99999, NatsError, Reason.JETSTREAM_UNAVAILABLE),
        (400, 10065, ConflictError, Reason.SUBJECT_OVERLAP),
        (400, 10058, ConflictError, Reason.RESOURCE_CONFLICT),
        (400, 10099, ConflictError, Reason.RESOURCE_CONFLICT),
        (500, 10055, UnsafeChangeError, Reason.IMMUTABLE_FIELD_CHANGED),
        (400, 10026, SpecError, Reason.LIMIT_REACHED),
        (500, 10052, SpecError, Reason.INVALID_SPEC),
        (500, 10074, UnsupportedServerError, Reason.UNSUPPORTED_SERVER),
        (400, 10025, UnsupportedServerError, Reason.UNSUPPORTED_SERVER),
        (400, 10002, NatsError, Reason.JETSTREAM_ERROR),
        (500, 10047, NatsError, Reason.JETSTREAM_ERROR),
        (400, 99999, NatsError, Reason.JETSTREAM_ERROR),
        (500, 99999, NatsError, Reason.JETSTREAM_ERROR),
    ],
)
def test_errors(code: int, err_code: int, error: type[OutboxError], reason: Reason) -> None:
    made = translate(fault(code, err_code), AUTH, "stream ORDERS")
    assert (type(made), made.reason) == (error, reason)
    assert "nats://n:4222" in made.message or "a moment ago" in made.message
    assert "stream ORDERS" in made.message or reason is Reason.JETSTREAM_NOT_ENABLED


@pytest.mark.parametrize(
    ("code", "err_code", "error", "reason"),
    [
        (400, 10002, SpecError, Reason.INVALID_SPEC),
        (400, 10122, SpecError, Reason.INVALID_SPEC),
        (500, 10028, NatsError, Reason.JETSTREAM_ERROR),
        (500, 10047, NatsError, Reason.JETSTREAM_ERROR),
        (503, 10023, NatsError, Reason.JETSTREAM_UNAVAILABLE),
    ],
)
def test_a_specification_that_wants_more_than_the_account_may_have(
    code: int, err_code: int, error: type[OutboxError], reason: Reason
) -> None:
    """No time helps against a limit; it may against a server or an account that is full."""
    made = translate(fault(code, err_code), AUTH, "consumer x", specified=True)
    assert (type(made), made.reason) == (error, reason)


def test_a_configuration_may_be_at_fault_itself() -> None:
    unknown = fault(400, 99999)
    assert type(translate(unknown, AUTH, "stream ORDERS", specified=True)) is SpecError
    assert type(translate(fault(500, 99999), AUTH, "stream ORDERS", specified=True)) is NatsError


def test_what_a_change_in_place_is_refused_for() -> None:
    refused = fault(400, 10012)
    assert type(translate(refused, AUTH, "consumer x", specified=True)) is SpecError
    made = translate(refused, AUTH, "consumer x", specified=True, updating=True)
    assert type(made) is UnsafeChangeError


@pytest.mark.parametrize(
    ("err_code", "kind"),
    [
        (10054, FaultKind.TOO_LARGE),
        (10097, FaultKind.TOO_LARGE),
        (10070, FaultKind.CHAIN_BROKEN),
        (10071, FaultKind.FENCE_BROKEN),
        (10164, FaultKind.FENCE_BROKEN),
        (10208, FaultKind.UNKNOWN_BATCH),
        (10037, FaultKind.MESSAGE_MISSING),
        (10122, FaultKind.NO_ROOM),
        (10077, FaultKind.OTHER),
        (0, FaultKind.OTHER),
    ],
)
def test_kinds(err_code: int, kind: FaultKind) -> None:
    assert fault(400, err_code).kind is kind


def test_no_other_module_knows_a_code_of_the_server() -> None:
    package = ROOT / "operator/outbox_operator"
    found = [
        f"{path.relative_to(package)}: {code}"
        for room in ("adapters/nats", "relay", "consumer")
        for path in (package / room).rglob("*.py")
        if path.name != "errors.py"
        for code in re.findall(r"\b10[01]\d\d\b", path.read_text())
    ]
    assert found == []
