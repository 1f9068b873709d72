"""How the batches of an owner are named, and of those before it."""

from __future__ import annotations

from outbox_operator.adapters.nats.messages import PREDECESSORS, batch_names
from outbox_operator.adapters.sink import Owner


def test_batches_are_named_by_their_owner_and_those_before_it_are_known() -> None:
    mine = batch_names(Owner("a1", 100))
    assert len(mine) == PREDECESSORS
    before = batch_names(Owner("a1", 99))
    assert mine[0] not in before
    assert mine[1] == before[0]
    assert batch_names(Owner("a1", 1))[1:] == batch_names(Owner("a1", 0))
    assert mine[0] not in batch_names(Owner("a2", 100))
