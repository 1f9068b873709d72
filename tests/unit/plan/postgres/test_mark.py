"""The mark on a schema is a comment, which whoever owns the schema may have edited."""

from __future__ import annotations

import json

import pytest

from outbox_operator.plan.postgres.mark import Mark, parse_mark
from outbox_operator.plan.state import Owner

OWNER = Owner(uid="u", key="OutboxPipeline/shop/orders", cluster="c")


def edited(**parts: object) -> Mark | None:
    return parse_mark(json.dumps({**json.loads(Mark(owner=OWNER).text()), **parts}))


def test_reads_what_was_written() -> None:
    mark = Mark(owner=OWNER, writers=("app", "ünder"), relay_role="relay", comment="before")
    assert parse_mark(mark.text()) == mark


@pytest.mark.parametrize(
    "parts",
    [
        {"writers": [{"a": 1}, 5, None, "a\0b", "\ud800"]},
        {"writers": "abc"},
        {"writers": 5},
        {"relay": [1]},
        {"relay": 5},
        {"comment": {"a": 1}},
    ],
)
def test_what_is_no_text_is_left_out(parts: dict[str, object]) -> None:
    """A role that is a number could not be asked for: no plan, and no end of a deletion."""
    assert edited(**parts) == Mark(owner=OWNER)


@pytest.mark.parametrize(
    "owner", [None, "u", [], {}, {"uid": None, "key": None}, {"uid": 5, "key": "a/b/c"}]
)
def test_an_owner_that_is_none(owner: object) -> None:
    assert edited(owner=owner) is None
