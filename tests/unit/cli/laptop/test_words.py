"""Commands of a cluster, as they are typed on a laptop."""

from __future__ import annotations

import pytest

from outbox_operator.cli.laptop.words import local
from outbox_operator.plan.advice import STEPS, next_step


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("  kubectl outbox dlq list orders -n default", "  outbox dev dlq list orders"),
        ("`kubectl outbox status orders -n a`, later", "`outbox dev status orders`, later"),
        ("kubectl outbox doctor orders -n a", "outbox dev logs orders"),
        ("kubectl outbox logs evc/b -n a --previous", "outbox dev logs evc/b --previous"),
        ("kubectl edit obp/a -n a\nb", "change the manifest and start `outbox dev` again\nb"),
        ("  kubectl outbox doctor -n default", "  start `outbox dev` again"),
        ("3 messages", "3 messages"),
    ],
)  # fmt: skip
def test_what_is_typed(said: str, typed: str) -> None:
    assert local(said) == typed


def test_no_step_sends_anybody_to_a_cluster() -> None:
    for reason in STEPS:
        assert "kubectl" not in local(next_step(reason, "OutboxPipeline", "default", "orders"))
