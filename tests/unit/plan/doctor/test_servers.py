"""What PostgreSQL and NATS say, and what of it is worth telling."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox_operator.api.resource import Meta
from outbox_operator.errors import AccessDeniedError, CredentialsError, NatsError
from outbox_operator.plan.doctor.findings import Check, Finding, Severity
from outbox_operator.plan.doctor.logins import (
    Clock,
    Expiry,
    LoginFacts,
    check_login,
    unreachable,
)
from outbox_operator.plan.doctor.postgres import (
    OpenTransaction,
    PostgresFacts,
    PreparedTransaction,
    ReplicationSlot,
    Role,
    check_postgres,
    check_schema,
    waits,
)
from outbox_operator.plan.doctor.rights import check_rights
from outbox_operator.plan.doctor.streams import (
    AccountFacts,
    DurableFacts,
    Replica,
    StreamFacts,
    check_account,
    check_durable,
    check_stream,
)
from outbox_operator.plan.postgres.state import Statement

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
WELL = PostgresFacts(
    where="PostgreSQL at db:5432", schema="outbox", database="shop",
    roles=(Role(name="outbox_owner"),), connections=10, most_connections=97, ahead=3,
)  # fmt: skip


def told(findings: Any) -> list[tuple[Check, Severity]]:
    """Checks and how bad they are."""
    return [(one.check, one.severity) for one in findings]


def role(**facts: Any) -> dict[str, Any]:
    """Facts with one role."""
    return {"roles": (Role(name="outbox_relay", **facts),)}


OLD = OpenTransaction(
    pid=7, user="app", application="billing", state="idle in transaction", seconds=7200, holds=True
)


@pytest.mark.parametrize(
    ("facts", "check", "severity", "text"),
    [
        ({"pooler": True}, Check.POOLER, Severity.INFO, "session mode"),
        (role(ends=NOW + timedelta(days=3)), Check.LOGIN_EXPIRES, Severity.WARNING, "ends in 3 d"),
        (role(ends=NOW - timedelta(hours=3)), Check.LOGIN_EXPIRES, Severity.ERROR, "3 h ago"),
        (role(limit=4, uses=4), Check.CONNECTIONS, Severity.WARNING, "may have 4 sessions"),
        ({"connections": 90}, Check.CONNECTIONS, Severity.WARNING, "90 of 97"),
        ({"unsafe": (("synchronous_commit", "off"),)}, Check.COMMITS_NOT_DURABLE,
         Severity.WARNING, "synchronous_commit is off"),
        ({"foreign": "its system identifier is 1"}, Check.CURSOR_FOREIGN, Severity.ERROR, "is 1"),
        ({"default_rows": 12}, Check.DEFAULT_PARTITION, Severity.WARNING, "(12)"),
        ({"default_rows": 1000}, Check.DEFAULT_PARTITION, Severity.WARNING, "1000 or more"),
        ({"ahead": 0}, Check.PARTITIONS_AHEAD, Severity.WARNING, "no partition is ready"),
        ({"transactions": (OLD,)}, Check.LONG_TRANSACTION, Severity.WARNING,
         "session 7 of app (billing) has been in one transaction for 2 h, idle in transaction"),
        ({"prepared": (PreparedTransaction(gid="x", owner="app", database="shop", seconds=1e5),)},
         Check.PREPARED_TRANSACTION, Severity.WARNING, "27 h ago"),
        ({"slots": (ReplicationSlot(name="debezium", kept_bytes=2**31, holds=False),)},
         Check.REPLICATION_SLOT, Severity.WARNING, "debezium; 2.0 GiB"),
        ({"hidden": 3}, Check.LONG_TRANSACTION, Severity.INFO, "3 sessions of other roles"),
    ],
)  # fmt: skip
def test_postgres(facts: dict[str, Any], check: Check, severity: Severity, text: str) -> None:
    (found,) = check_postgres(replace(WELL, **facts), OWNER, needs=5, now=NOW)

    assert (found.check, found.severity) == (check, severity)
    assert text in found.message
    assert found.remedy or severity is Severity.INFO
    assert not re.search(r"…|NAME|, or ", found.remedy)  # what can be typed as it stands


def test_a_server_that_is_well_says_nothing() -> None:
    without = replace(WELL, ahead=None, roles=(Role(name="o", limit=10, ends=NOW.replace(2040)),))

    assert list(check_postgres(WELL, OWNER, needs=5, now=NOW)) == []
    assert list(check_postgres(without, OWNER, needs=5, now=NOW)) == []


def test_steps_of_a_migration_are_told_and_the_rest_counted() -> None:
    steps = [Statement(sql=f"GRANT {n}", reason=f"grant {n}") for n in range(7)]

    found = list(check_schema(WELL, steps, OWNER))

    assert [one.remedy for one in found] == ["kubectl outbox plan show orders -n shop"] * 5 + [""]
    assert "2 more" in found[-1].message


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [("ApprovalPending", True), ("PlanRejected", True), ("UpToDate", False), (None, False)],
)
def test_steps_that_a_person_decides_about_are_told_by_the_condition(
    reason: str | None, wanted: bool
) -> None:
    body = {"status": {"conditions": [{"type": "DatabaseReady", "reason": reason}]}}
    assert waits(body if reason else None) is wanted


def test_a_full_stream_is_said_to_be_full() -> None:
    (found,) = check_stream(replace(STREAM, discard="new", max_bytes=1000_000))
    assert "taken; it is full, events wait" in found.message
    assert "a higher maxBytes" in found.wanted
    assert found.remedy == "nats stream info ORDERS"


OWNER = Meta(
    kind="OutboxPipeline", namespace="shop", name="orders", uid="1", generation=1, created=""
)
HOUR = 3600.0
STREAM = StreamFacts(
    name="ORDERS", max_age=24 * HOUR, messages=1000, bytes=1000_000, first_sequence=1,
    last_sequence=1000, first_at=NOW - timedelta(hours=10), last_at=NOW,
)  # fmt: skip
DURABLE = DurableFacts(
    name="orders-billing", stream="ORDERS", pending=10, waiting=1, oldest_sequence=991,
    oldest_unread=NOW - timedelta(hours=1), mark="EventConsumer/shop/orders-billing", living=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "durable", "wanted", "text"),
    [
        ({}, {}, [], ""),
        ({}, {"oldest_unread": NOW - timedelta(hours=21)},
         [(Check.AGES_OUT, Severity.WARNING)], "in 3 h unread events age out"),
        ({}, {"oldest_unread": NOW - timedelta(hours=23)},
         [(Check.AGES_OUT, Severity.ERROR)], "in 60 min unread"),
        ({}, {"oldest_unread": NOW - timedelta(hours=25)},
         [(Check.AGES_OUT, Severity.ERROR)], "now unread"),
        ({}, {"oldest_unread": NOW - timedelta(hours=25), "pending": 0}, [], ""),
        ({"max_age": 0.0}, {"oldest_unread": NOW - timedelta(days=25)}, [], ""),
        # 600 of 1000 messages are unread; 600 kB of a megabyte, at 100 kB an hour.
        ({"max_bytes": 1000_000}, {"oldest_sequence": 401},
         [(Check.AGES_OUT, Severity.WARNING)], "in 4 h unread events age out"),
        ({"max_bytes": 1000_000, "discard": "new"}, {"oldest_sequence": 401}, [], ""),
        ({"max_messages": 1000}, {"oldest_sequence": 51},
         [(Check.AGES_OUT, Severity.ERROR)], "95% of maxMessages"),
        ({"max_messages": 1000, "first_at": None}, {"oldest_sequence": 51},
         [(Check.AGES_OUT, Severity.ERROR)], "soon unread"),
        ({}, {"waiting": 0}, [(Check.NOBODY_READS, Severity.WARNING)], "nobody asks"),
        ({}, {"waiting": 0, "ack_pending": 4}, [], ""),
        ({}, {"waiting": 0, "stopped": True}, [], ""),
        ({}, {"waiting": 0, "push": True}, [], ""),
        ({}, {"mark": "", "living": None}, [(Check.DURABLE_OF_NOBODY, Severity.INFO)],
         "no resource declared"),
        ({"retention": "interest"}, {"living": False},
         [(Check.DURABLE_OF_NOBODY, Severity.WARNING)], "keeps 10 messages for it"),
        ({}, {"living": None}, [], ""),
    ],
)  # fmt: skip
def test_durable_consumers(
    stream: dict[str, Any],
    durable: dict[str, Any],
    wanted: list[tuple[Check, Severity]],
    text: str,
) -> None:
    found = list(check_durable(replace(DURABLE, **durable), replace(STREAM, **stream), NOW))

    assert told(found) == wanted
    assert not found or text in found[0].message


@pytest.mark.parametrize(
    ("facts", "wanted", "text"),
    [
        ({}, [], ""),
        ({"max_age": 0.0}, [(Check.STREAM_UNLIMITED, Severity.INFO)], "2.3 MiB a day"),
        ({"max_age": 0.0, "first_at": None},
         [(Check.STREAM_UNLIMITED, Severity.INFO)], "976.6 KiB"),
        ({"max_age": 0.0, "dead_letters": True}, [], ""),
        ({"max_age": 0.0, "retention": "workqueue"}, [], ""),
        ({"discard": "new", "max_bytes": 1_250_000},
         [(Check.STREAM_FILLS, Severity.WARNING)], "976.6 KiB of maxBytes 1.2 MiB"),
        ({"discard": "new", "max_bytes": 1_200_000}, [(Check.STREAM_FILLS, Severity.WARNING)],
         "when it is full, in 2 h, events wait"),
        ({"discard": "new", "max_messages": 1000}, [(Check.STREAM_FILLS, Severity.ERROR)], "1000"),
        ({"discard": "new", "max_messages": 2000}, [], ""),
        ({"replicas": (Replica(name="n2", current=False, offline=False, lag=9),)},
         [(Check.REPLICA_BEHIND, Severity.WARNING)], "9 operations behind"),
        ({"replicas": (Replica(name="n2", current=True, offline=True),)},
         [(Check.REPLICA_BEHIND, Severity.WARNING)], "is offline"),
        ({"leaderless": True}, [(Check.REPLICA_BEHIND, Severity.ERROR)], "none of its servers"),
    ],
)  # fmt: skip
def test_streams(facts: dict[str, Any], wanted: list[tuple[Check, Severity]], text: str) -> None:
    found = list(check_stream(replace(STREAM, **facts)))

    assert told(found) == wanted
    assert not found or text in found[0].message


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        ({"storage": 10}, []),
        ({"storage": 10, "max_storage": 100}, []),
        ({"storage": 80, "max_storage": 100}, [(Check.STORAGE, Severity.WARNING)]),
        ({"memory": 96, "max_memory": 100}, [(Check.STORAGE, Severity.ERROR)]),
    ],
)
def test_accounts(facts: dict[str, int], wanted: list[tuple[Check, Severity]]) -> None:
    assert told(check_account(AccountFacts(where="NATS at nats:4222", **facts))) == wanted


def expiry(after: timedelta) -> dict[str, Any]:
    """A certificate that ends then."""
    return {"expiries": (Expiry(what="the certificate", ends=NOW + after),)}


@pytest.mark.parametrize(
    ("facts", "wanted", "text"),
    [
        ({}, [], ""),
        ({"encrypted": True}, [], ""),
        ({"encrypted": False}, [(Check.CLEAR_TEXT, Severity.INFO)], "clear text"),
        ({"clock": Clock(ahead=1.9, doubt=0)}, [], ""),
        ({"clock": Clock(ahead=3, doubt=2)}, [], ""),
        ({"clock": Clock(ahead=-3, doubt=0.1)}, [(Check.CLOCK, Severity.WARNING)], "3 s behind"),
        ({"clock": Clock(ahead=90, doubt=1)}, [(Check.CLOCK, Severity.ERROR)], "90 s ahead of"),
        (expiry(timedelta(days=30)), [], ""),
        (expiry(timedelta(days=13)), [(Check.CERTIFICATE, Severity.WARNING)], "ends in 13 d"),
        (expiry(timedelta(days=-1)), [(Check.CERTIFICATE, Severity.ERROR)], "ended 24 h ago"),
    ],
)
def test_logins(facts: dict[str, Any], wanted: list[tuple[Check, Severity]], text: str) -> None:
    found = list(check_login(LoginFacts(where="NATS at nats:4222", **facts), NOW))

    assert told(found) == wanted
    assert not found or text in found[0].message


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (lambda: NatsError("no answer"), Check.UNREACHABLE),
        (lambda: CredentialsError("refused"), Check.UNREACHABLE),
        (lambda: AccessDeniedError("may not"), Check.NATS_RIGHT),
    ],
)
def test_why_there_is_no_connection(make: Callable[[], Any], check: Check) -> None:
    found: Finding = unreachable("NATS at nats:4222", make(), OWNER)

    assert (found.check, found.severity) == (check, Severity.ERROR)
    assert found.remedy.startswith("kubectl ")
    assert found.remedy.endswith(" -n shop")


def test_what_the_operator_may_not_do_is_told() -> None:
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    named = {**everything, "resourceNames": ["one"]}
    but_pods = {"apiGroups": ["apps", "policy", "outbox.dev", "events.k8s.io"],
                "resources": ["*"], "verbs": ["*"]}  # fmt: skip

    assert list(check_rights([everything], "shop")) == []
    assert len(list(check_rights([named], "shop"))) == 12
    texts = [one.message for one in check_rights([but_pods], "shop")]
    assert "it may not list pods" in texts
    assert "it may not get secrets" in texts
    assert len(texts) == 5
