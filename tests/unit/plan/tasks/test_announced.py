"""What a task was about to send, as it is noted for those who come after it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outbox_operator.plan.tasks.announced import (
    MOST,
    Announced,
    Entry,
    SourceNoted,
    announced,
    noting,
    of_others,
    with_announced,
)

SEEN = SourceNoted(created="then", first=1, last=9, deleted=0)


def one(task: str, *batch: int, created: str = "now", consumer: str = "billing") -> Announced:
    return Announced(
        task=task, consumer=consumer, stream="DLQ", created=created, batch=batch, source=SEEN
    )


def raw(task: str, *batch: int, **more: Any) -> dict[str, Any]:
    return one(task, *batch).model_dump(mode="json") | more


def theirs(note: str | None, **over: str) -> list[str]:
    """Tasks whose letters may be sent, as the task `mine` sees it."""
    found = announced(note)
    assert found is not None
    wanted = {"task": "mine", "consumer": "billing", "stream": "DLQ", "created": "now", **over}
    return [each.task for each in of_others(found, **wanted)]


def test_it_is_read_as_it_was_written() -> None:
    notes = [one("a", 1, 2), one("b", 7)]
    assert announced(noting(notes)) == notes
    assert noting([one("a")]) is noting([]) is None
    many = [one(str(number), number) for number in range(1, MOST + 5)]
    assert announced(noting(many)) == many[-MOST:]


@pytest.mark.parametrize(
    "note", ["[", "7", "{}", "[" * 3000, "x" * 100_000, f"[{'{}' * 400}]", json.dumps([{}] * 301)]
)
def test_what_is_no_note_of_ours_is_not_taken_for_an_empty_one(note: str) -> None:
    assert announced(note) is None
    assert announced(None) == announced("") == []


@pytest.mark.parametrize(
    "strange",
    [
        {}, {"task": "a"}, raw("a", batch=[0]), raw("a", batch=[-1]), raw("a", batch=[2**63]),
        raw("a", batch=list(range(1, 9000))), raw("a", source={"last": 1}),
        raw("a", source=SEEN.model_dump() | {"last": 2**70}), raw("a") | {"task": "a" * 100},
        {key: value for key, value in raw("a", 1).items() if key != "consumer"},
    ],
)  # fmt: skip
def test_an_entry_that_is_not_understood_is_kept_and_hides_no_other(
    strange: dict[str, Any],
) -> None:
    note = json.dumps([7, strange, raw("gone", 2)])
    assert theirs(note) == ["gone"]
    found = announced(note)
    assert found is not None
    after = noting(with_announced(found, one("mine", 3))) or ""
    assert json.loads(after) == [strange, raw("gone", 2), raw("mine", 3)]


def test_what_a_later_version_says_besides_is_kept() -> None:
    source = SEEN.model_dump() | {"domain": "eu"}
    note = json.dumps([raw("gone", 2, 3, shard=7, source=source)])
    assert theirs(note) == ["gone"]
    found = announced(note)
    assert found is not None
    (entry,) = of_others(found, task="mine", consumer="billing", stream="DLQ", created="now")
    rest = entry.model_copy(update={"batch": (3,)})
    after = noting(with_announced(found, rest)) or ""
    assert json.loads(after) == [raw("gone", 3, shard=7, source=source)]


def test_a_note_is_never_longer_than_it_is_read() -> None:
    strange: list[Entry] = [{"text": "x" * 1000, "number": number} for number in range(60)]
    notes = [*strange[:30], one("gone", *range(1, 400)), *strange[30:]]
    text = noting(with_announced(notes, one("mine", 3))) or ""
    assert theirs(text, task="other") == ["gone", "mine"]
    assert len(announced(text) or []) == MOST
    huge = [one(str(number), *range(2**62, 2**62 + 499)) for number in range(MOST)]
    assert 0 < len(announced(noting(huge)) or []) < MOST


def test_whose_letters_may_be_sent() -> None:
    notes = [
        one("mine", 1), one("gone", 2), one("long ago", 3, created="before"),
        one("copied", 4, consumer="shipping"),
    ]  # fmt: skip
    assert theirs(noting(notes)) == ["gone"]
    assert theirs(noting(notes), stream="OTHER") == []
    # What was copied from another consumer goes; what is of another stream is not ours to judge.
    after = with_announced(notes, one("mine", 5))
    assert [(each.task, each.batch) for each in after if isinstance(each, Announced)] == [
        ("gone", (2,)), ("long ago", (3,)), ("mine", (5,)),
    ]  # fmt: skip
