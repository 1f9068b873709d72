"""A verdict in a sentence: what could not be compared is never said to be well."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from outbox_operator.plan.doctor.delivery_result import kept_verdict, result_of, verdict_of
from outbox_operator.plan.doctor.verdict import Verdict
from support.resources import pipeline


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
