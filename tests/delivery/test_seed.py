"""A seed gives the same transactions and the same faults again, and another seed gives others."""

from __future__ import annotations

from itertools import islice

import pytest

from delivery import schedule
from delivery.content import Author, Emit, Hold, PayloadType, Savepoint, Transaction


def script(seed: int, writer: int = 0, payload_type: PayloadType = "jsonb") -> list[Transaction]:
    return list(islice(Author(seed, writer, payload_type, 10.0).transactions(), 400))


def test_transactions() -> None:
    assert script(7) == script(7)
    ids = [
        {draft.event_id for transaction in script(seed, writer) for draft in transaction.drafts()}
        for seed, writer in ((7, 0), (7, 1), (8, 0))
    ]
    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]


def test_transactions_hold_everything_that_can_go_wrong() -> None:
    transactions = [t for writer in range(4) for t in script(7, writer)]
    steps = [step for transaction in transactions for step in transaction.steps]
    drafts = [draft for transaction in transactions for draft in transaction.drafts()]
    assert {transaction.commit for transaction in transactions} == {True, False}
    assert any(isinstance(step, Hold) and step.seconds > 3 for step in steps)
    savepoints = [step for step in steps if isinstance(step, Savepoint)]
    assert {savepoint.release for savepoint in savepoints} == {True, False}
    assert any(
        isinstance(inner, Savepoint) for savepoint in savepoints for inner in savepoint.steps
    )
    assert max(len(list(transaction.drafts())) for transaction in transactions) >= 100
    assert any(len({s.draft.key for s in t.steps if isinstance(s, Emit)}) > 3 for t in transactions)
    assert "" in {draft.key for draft in drafts}
    assert max(len(draft.payload) for draft in drafts) > 32_000
    assert min(len(d.payload) for t in script(7, 0, "bytea") for d in t.drafts()) == 0


def test_faults() -> None:
    def draw(seed: int) -> list[schedule.Fault]:
        return schedule.draw(seed, 300, replicas=3, cluster=True)

    assert draw(7) == draw(7) != draw(8)
    kinds = {kind.name for kind in schedule.KINDS}
    assert {fault.kind for fault in draw(7)} == kinds - {"broker-rollback"}
    assert {fault.target for fault in draw(7) if fault.kind.startswith("relay")} == {0, 1, 2}


def test_a_broker_forgets_or_dies_only_where_it_may() -> None:
    def kinds(*, rollbacks: bool = False, outages: bool = True) -> set[str]:
        faults = schedule.draw(
            7, 900, replicas=1, cluster=False, rollbacks=rollbacks, outages=outages
        )
        return {fault.kind for fault in faults if fault.kind.startswith("broker")}

    assert kinds() == {"broker-kill", "broker-freeze"}
    assert kinds(rollbacks=True) == {"broker-kill", "broker-freeze", "broker-rollback"}
    assert kinds(outages=False) == {"broker-freeze"}


def test_faults_of_some_kinds_only() -> None:
    kinds = ("relay-kill", "leader-kill")
    drawn = schedule.draw(7, 300, replicas=1, cluster=False, only=kinds, pace=3)
    assert {fault.kind for fault in drawn} == {"relay-kill"}, "one server has no leader"
    with pytest.raises(ValueError, match="no such fault: asteroid; there are relay-kill,"):
        schedule.draw(7, 300, replicas=1, cluster=True, only=("asteroid",))
