"""Every reason that can show in a condition, an event or a metric is explained, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from outbox_operator.api.conditions import ConditionType
from outbox_operator.plan.status.workload import STUCK_REASONS
from outbox_operator.relay.poison import KEY_BLOCKED
from outbox_operator.wire.cursors import FOREIGN_CURSOR
from support.kube import ROOT

SOURCE = ROOT / "operator" / "outbox_operator"
REFERENCE = ROOT / "docs" / "reference"
REASON = re.compile(r"[A-Z][A-Za-z]+")
KEYWORDS = {"reason", "ready_reason", "exists_reason"}
POSITION = {
    "ok": 1, "waiting": 1, "unknown": 1, "info": 2, "_condition": 2, "Refusal": 0, "Poison": 0,
}  # fmt: skip
"""Which argument of these calls is the reason."""


def text_of(node: ast.expr | None) -> str | None:
    """The text of a literal."""
    if isinstance(node, ast.IfExp):
        return text_of(node.body)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def reasons_of(tree: ast.AST) -> Iterator[str]:
    """Every literal reason in a module."""
    for node in ast.walk(tree):
        found: list[str | None] = []
        if isinstance(node, ast.Call):
            found += [text_of(k.value) for k in node.keywords if k.arg in KEYWORDS]
            place = POSITION.get(node.func.id) if isinstance(node.func, ast.Name) else None
            if place is not None and len(node.args) > place:
                found.append(text_of(node.args[place]))
        elif isinstance(node, ast.ClassDef):
            for line in node.body:
                target = (
                    line.targets[0]
                    if isinstance(line, ast.Assign)
                    else line.target
                    if isinstance(line, ast.AnnAssign)
                    else None
                )
                if isinstance(target, ast.Name) and target.id == "reason":
                    assert isinstance(line, ast.Assign | ast.AnnAssign)
                    found.append(text_of(line.value))
        for text in found:
            if text is not None and REASON.fullmatch(text):
                yield text


def reasons_in_code() -> set[str]:
    """Every reason of the package; a few are not where the search above looks."""
    found: set[str] = set(STUCK_REASONS) | {KEY_BLOCKED, FOREIGN_CURSOR}
    found |= {"Unschedulable", "PodsNotReady"}  # tuples in plan.workload_status
    found |= {"InvalidSubject", "SubjectNotInStream"}  # returned by relay.poison
    found |= {"NotObserved"}  # chosen in plan.status
    found |= {"MaxDeliver", "Refused", "Terminated"}  # wire.dead_letters.Reason
    for path in SOURCE.rglob("*.py"):
        found |= set(reasons_of(ast.parse(path.read_text())))
    return found


def documented(page: Path) -> set[str]:
    """Words in the first cell of table lines."""
    cells = re.findall(r"^\| (`[^|]+) \|", page.read_text(), re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([A-Za-z]+)`", cell)}


def test_every_reason_is_explained() -> None:
    pages = documented(REFERENCE / "conditions.md") | documented(REFERENCE / "metrics.md")
    assert reasons_in_code() - pages == set()


def test_no_reason_is_explained_that_does_not_exist() -> None:
    types = {kind.value for kind in ConditionType}
    assert documented(REFERENCE / "conditions.md") - types - reasons_in_code() == set()


def test_every_condition_type_is_explained() -> None:
    types = {kind.value for kind in ConditionType}
    assert types - documented(REFERENCE / "conditions.md") == set()


def test_the_search_finds_reasons_of_each_form() -> None:
    assert {
        "InvalidSpec",  # attribute of a class
        "SecretNotFound",  # keyword
        "RelayNotProgressing",  # argument of waiting()
        "BelowThreshold",  # argument of info()
        "NewGeneration",  # argument of _condition()
        "AckTimeout",  # argument of Refusal()
        "PipelineRunning",  # ready_reason
        "StreamExists",  # exists_reason
    } <= reasons_in_code()
