"""What a finding is, how findings are ordered, and how they are told."""

from __future__ import annotations

import pytest

from outbox_operator.plan.doctor.findings import (
    LONGEST_TEXT,
    Check,
    Finding,
    Severity,
    counts,
    error,
    in_order,
    info,
    unknown,
    warning,
    well,
)
from support.kube import ROOT

STUCK = error(Check.POD_STUCK, "Pod/shop/b", "no image", remedy="kubectl describe")
PAUSED = info(Check.PAUSED, "OutboxPipeline/shop/orders", "is paused")
RESTARTS = warning(Check.POD_RESTARTS, "Pod/shop/a", "12 restarts", "none")
HIDDEN = unknown("pods in shop", "forbidden")


def test_the_worst_comes_first_and_each_once() -> None:
    assert in_order([PAUSED, HIDDEN, RESTARTS, STUCK, RESTARTS]) == [
        STUCK, RESTARTS, HIDDEN, PAUSED,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("findings", "wanted"),
    [([], True), ([PAUSED, HIDDEN], True), ([RESTARTS], False), ([STUCK, PAUSED], False)],
)
def test_what_could_not_be_looked_at_is_no_fault(findings: list[Finding], wanted: bool) -> None:
    assert well(findings) is wanted


def test_numbers_in_words() -> None:
    assert counts([STUCK, STUCK, RESTARTS, HIDDEN]) == "2 errors, 1 warning, 1 not looked at"
    assert counts([]) == "nothing found"


def test_a_document_holds_what_there_is_and_is_bounded() -> None:
    long = error(Check.POD_STUCK, "Pod/shop/b", "x " * 5000)

    assert RESTARTS.document() == {
        "check": "PodRestarts", "severity": "Warning", "object": "Pod/shop/a",
        "message": "12 restarts", "wanted": "none",
    }  # fmt: skip
    assert len(long.document()["message"]) == LONGEST_TEXT
    assert Finding.of_document(STUCK.document()) == STUCK
    assert Finding.of_document({"check": "OfAnotherVersion", "severity": "Error"}) is None


def test_each_check_has_a_row_in_its_page() -> None:
    page = (ROOT / "docs" / "reference" / "findings.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]

    assert sorted(rows) == sorted(check.value for check in Check)
    assert all(f"**{severity.value}**" in page for severity in Severity)


def test_no_half_command_is_told() -> None:
    long = error(Check.POD_STUCK, "Pod/shop/b", "no image", remedy="CREATE TABLE " + "x" * 5000)
    assert "remedy" not in long.document()
    assert STUCK.document()["remedy"] == "kubectl describe"
