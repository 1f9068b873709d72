"""What a task was about to send, as it is noted for those who come after it."""

from __future__ import annotations

import json

import pytest

from outbox_operator.plan.tasks.announced import MOST, Announced, announced, noting, of_others
from outbox_operator.plan.tasks.stream_letters import SourceSeen

SEEN = SourceSeen(created="then", first=1, last=9, deleted=0)


def one(task: str, *batch: int, created: str = "now") -> Announced:
    return Announced(task=task, stream="DLQ", created=created, batch=batch, source=SEEN)


def test_it_is_read_as_it_was_written() -> None:
    notes = [one("a", 1, 2), one("b", 7)]
    assert announced(noting(notes)) == notes
    assert noting([one("a")]) is noting([]) is None
    many = [one(str(number), number) for number in range(1, MOST + 5)]
    assert announced(noting(many)) == many[-MOST:]


@pytest.mark.parametrize(
    "note", [None, "", "[", "7", "[7]", '[{"task": "a"}]', "[" * 3000, "x" * 100_000]
)
def test_what_anybody_may_write_there(note: str | None) -> None:
    assert announced(note) == []


def test_whose_letters_may_be_sent() -> None:
    notes = [one("mine", 1), one("gone", 2), one("long ago", 3, created="before")]
    assert of_others(notes, "mine", "DLQ", "now") == [notes[1]]
    assert of_others(notes, "mine", "OTHER", "now") == []
    assert json.loads(noting(notes[1:2]) or "")[0]["source"]["last"] == 9
