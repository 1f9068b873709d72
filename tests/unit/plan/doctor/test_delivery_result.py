"""A verdict in a sentence: what could not be compared is never said to be well."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Final

import pytest

from outbox_operator.plan.doctor.delivery_result import kept_verdict, result_of, verdict_of
from outbox_operator.plan.doctor.verdict import Verdict
from support.resources import pipeline

BEGINS: Final = datetime(2026, 1, 2, 3, 4, 5, 700_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lost", "more", "ends"),
    [
        ([(7, 7)], False, "replay orders -n shop --position 7"),
        ([(2, 2), (4, 9)], False, "replay orders -n shop --position 2 --position 4-9"),
        ([(2, 2)], True, " --position 2  # and verify again: there are more"),
    ],
)
def test_the_remedy_names_what_was_lost(lost: list[tuple[int, int]], more: bool, ends: str) -> None:
    verdict = Verdict(rows=9, counts=Counter(lost=9), lost=lost, more_lost=more)
    kept = verdict_of(json.loads(json.dumps(kept_verdict(verdict))))
    [finding] = result_of(kept, pipeline().meta).findings
    assert finding.remedy.endswith(ends)


@pytest.mark.parametrize(
    ("before", "begins", "said", "remedy"),
    [
        (0, None, "dead letter: event 1", "replay orders -n shop --position 1"),
        (
            1, BEGINS, "; 1 of them are older than all that the stream holds, which is since "
            "2026-01-02T03:04:05Z: they are not lost if its limits were smaller then",
            "verify orders -n shop --since 2026-01-02T03:04:05.700000Z  # if its limits were "
            "smaller before; else kubectl outbox replay orders -n shop --position 1",
        ),
        (
            2, BEGINS, "; all of them are older", "verify orders -n shop --since "
            "2026-01-02T03:04:05.700000Z  # if its limits were smaller before; else kubectl outbox "
            "replay",
        ),
        (2, None, "; all of them are older than all that the stream holds: they are not", "replay"),
    ],
)  # fmt: skip
def test_limits_that_were_smaller_then_are_named(
    before: int, begins: datetime | None, said: str, remedy: str
) -> None:
    """What the stream was right to forget is not to be sent again."""
    one = Verdict(rows=2, counts=Counter(lost=1), lost=[(1, 1)], examples={"lost": ["event 1"]})
    other = Verdict(rows=2, counts=Counter(lost=1), before=before, begins=begins)
    kept = verdict_of(json.loads(json.dumps(kept_verdict(one.merged(other)))))
    [finding] = result_of(kept, pipeline().meta).findings
    assert said in finding.message
    assert finding.message.endswith(": event 1")
    assert f"kubectl outbox {remedy}" in finding.remedy


def test_what_cannot_be_proved_of_many_windows_has_an_end() -> None:
    whole = Verdict()
    for number in range(500):
        window = Verdict()
        window.cannot(f"{number} rows cannot be compared")
        whole = whole.merged(window)
    assert len(whole.unproven) == 21
    assert whole.unproven[-1] == "there are further parts of the range that cannot be proved"


@pytest.mark.parametrize(
    ("rows", "counts", "unproven", "says", "well"),
    [
        (0, {}, [], "there were no rows to compare", True),
        (9, {}, [], "all of 9 rows are accounted for, once and in order", True),
        (
            9, {"waiting": 2}, ["why"],
            "all of 9 rows are accounted for, once and in order, 2 still wait; not all could be "
            "proved",
            True,
        ),
        (
            12, {"expired": 10}, ["why"],
            "2 of 12 rows are accounted for, once and in order; 10 cannot be compared", True,
        ),
        (
            12, {"expired": 5, "unknown": 3}, ["why"],
            "4 of 12 rows are accounted for, once and in order; 8 cannot be compared", True,
        ),
        (10, {"expired": 10}, ["why"], "none of 10 published rows can be compared", False),
        (
            12, {"expired": 10, "waiting": 2}, ["why"],
            "none of 10 published rows can be compared, 2 still wait", False,
        ),
        (
            12, {"expired": 10, "lost": 2}, ["why"],
            "not all is well: 2 lost, of 12 rows; 10 cannot be compared", False,
        ),
    ],
)  # fmt: skip
def test_the_answer(
    rows: int, counts: dict[str, int], unproven: list[str], says: str, well: bool
) -> None:
    verdict = Verdict(rows=rows, counts=Counter(counts), unproven=unproven)
    result = result_of(verdict, pipeline().meta)
    assert result.summary == says
    assert all(one.severity != "Error" for one in result.findings) is well
