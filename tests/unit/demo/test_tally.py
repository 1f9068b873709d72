"""The demo's verdict: what must not be is found and named."""

from __future__ import annotations

import pytest
from demo.tally import Counts, Ledger

COMMITTED, DECLINED = frozenset({"a", "b"}), frozenset({"x"})


def test_every_order_once_and_no_ghost_is_what_was_promised() -> None:
    assert Ledger(COMMITTED, DECLINED, {"billing": ["b", "a"]}).problems() == []


@pytest.mark.parametrize(
    ("handled", "problem"),
    [
        (["a"], "billing: 1 committed orders never arrived, for example b"),
        (["a", "b", "x"], "billing: 1 rolled back orders arrived, for example x"),
        (["a", "b", "b"], "billing: 1 orders took effect more than once, for example b"),
        (["a", "b", "?"], "billing: 1 orders arrived that nobody placed, for example ?"),
    ],
)
def test_each_kind_of_failure_is_named(handled: list[str], problem: str) -> None:
    ledger = Ledger(COMMITTED, DECLINED, {"mailer": ["a", "b"], "billing": handled})
    assert ledger.problems() == [problem]


def test_equal_totals_do_not_hide_a_swap() -> None:
    problems = Ledger(COMMITTED, DECLINED, {"billing": ["a", "x"]}).problems()
    assert len(problems) == 2


def test_a_shop_that_did_nothing_proves_nothing() -> None:
    assert len(Ledger(frozenset(), frozenset(), {"billing": []}).problems()) == 2


def test_summary_counts_each_consumer_against_both() -> None:
    lines = Ledger(COMMITTED, DECLINED, {"billing": ["a", "b"]}).summary().splitlines()
    assert lines[1].split() == ["billing", "2", "0", "2", "of", "2", "0", "of", "1"]


def test_what_a_replay_sent_again_may_take_effect_again() -> None:
    """Counted by events: one that was sent twice more may be handled thrice, another one not."""
    billing = ["a", "a", "b", "b", "b"]
    ledger = Ledger(COMMITTED, DECLINED, {"billing": billing, "mailer": ["a", "b"]}, ["a", "b"])
    assert ledger.problems() == ["billing: 1 orders took effect more than once, for example b"]
    assert Ledger(COMMITTED, DECLINED, {"billing": billing}, ["a", "b", "b"]).problems() == []
    lines = ledger.summary().splitlines()
    assert lines[1].split()[:3] == ["billing", "2", "3"]


def test_a_shop_without_an_archive_says_nothing_of_one() -> None:
    ledger = Ledger(COMMITTED, DECLINED, {"billing": ["a", "b"]})
    assert (ledger.problems(), ledger.archived()) == ([], "")


def test_an_archive_with_a_gap_is_not_complete() -> None:
    handled = {"audit": ["a", "b"]}
    whole, torn = (Ledger(COMMITTED, DECLINED, handled, (), gaps) for gaps in (0, 2))
    assert whole.problems() == []
    assert whole.archived() == "archived 2 of 2, complete: no number of an event is missing"
    assert torn.problems() == ["audit: 2 gaps in the numbers of events"]
    assert torn.archived() == "archived 2 of 2, NOT complete"


def test_settled_when_nobody_is_behind() -> None:
    assert Counts(2, 0, {"billing": 2, "mailer": 2}).settled
    assert not Counts(2, 0, {"billing": 2, "mailer": 1}).settled
