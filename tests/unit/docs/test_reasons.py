"""Every reason is a member of one enumeration, and every member is explained in a page."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from generate.steps import COLUMN

from outbox_operator.api.conditions import ConditionType
from outbox_operator.cli import main as cli
from outbox_operator.plan.advice import STEPS
from outbox_operator.reasons import Reason
from support.kube import ROOT
from support.source import parsed

SOURCE = ROOT / "operator" / "outbox_operator"
REFERENCE = ROOT / "docs" / "reference"
WORD = re.compile(r"[A-Z][A-Za-z]+")
KEYWORDS = {"reason", "ready_reason", "exists_reason"}
POSITION = {
    "ok": 1, "waiting": 1, "unknown": 1, "info": 2, "_condition": 2, "Refusal": 0, "Poison": 0,
    "errors": 0,
}  # fmt: skip
"""Which argument of these calls is the reason."""
OTHER_THINGS = {
    "Paused", "Reconciling", "Progressing",  # types of conditions, ours and of Deployments
    "Suspended",  # and of Jobs
    "Stopped", "Running",  # states in a specification
    "InSync", "Refused",  # classes
    "Terminated",
}  # fmt: skip
"""Words that are reasons and something else as well."""


def words_in(node: ast.AST | None) -> Iterator[str]:
    """CamelCase words among the literals of an expression."""
    for part in ast.walk(node) if node is not None else ():
        if (
            isinstance(part, ast.Constant)
            and isinstance(part.value, str)
            and WORD.fullmatch(part.value)
        ):
            yield part.value


def is_reason(node: ast.expr) -> bool:
    """Whether an expression is called a reason."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name == "reason"


def loose_reasons(tree: ast.AST) -> Iterator[str]:
    """Literals that stand where a reason is wanted."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=func, args=args, keywords=keywords):
                for keyword in keywords:
                    if keyword.arg in KEYWORDS:
                        yield from words_in(keyword.value)
                name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
                place = POSITION.get(name)
                if place is not None and len(args) > place:
                    yield from words_in(args[place])
            case ast.Compare(left=left, comparators=others) if any(map(is_reason, [left, *others])):
                for part in [left, *others]:
                    yield from words_in(part)
            case ast.Assign(targets=[target], value=value) if is_reason(target):
                yield from words_in(value)
            case ast.AnnAssign(target=target, value=value) if is_reason(target):
                yield from words_in(value)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "reason":
                        yield from words_in(value)


def spelled_out(tree: ast.AST) -> Iterator[str]:
    """Literals that are the word of a reason, wherever they stand."""
    known = set(Reason) - OTHER_THINGS
    yield from (word for word in words_in(tree) if word in known)


MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "reasons.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_spells_a_reason_by_hand(path: Path) -> None:
    tree = parsed(path.read_text())
    assert sorted({*loose_reasons(tree), *spelled_out(tree)}) == []


@pytest.mark.parametrize(
    "text",
    [
        'raise SpecError("x", reason="NewWord")',
        'Pass(ready_reason="NewWord")',
        'Terms(exists_reason="NewWord")',
        'ok(kind, "NewWord")',
        'info(kind, True, "NewWord" if late else "Other")',
        'Refusal("NewWord", 0, "text")',
        'metrics.errors("NewWord").inc()',
        'error.reason == "NewWord"',
        'error.reason in ("NewWord", "Other")',
        'class E(Exception):\n    reason = "NewWord"',
        'class E(Exception):\n    reason: str = "NewWord"',
        'log.warning("x", extra={"reason": "NewWord"})',
    ],
)
def test_the_search_finds_each_form(text: str) -> None:
    assert "NewWord" in set(loose_reasons(parsed(text)))


def test_the_search_finds_known_words_anywhere() -> None:
    assert set(spelled_out(parsed('LOST = {"StreamExists"}'))) == {"StreamExists"}


def explained(page: str) -> Iterator[str]:
    """First words of the rows of the tables of reasons."""
    for table in re.findall(r"^\| Reason \|.*\n\| ---.*\n((?:\|.*\n)+)", page, re.MULTILINE):
        yield from re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def test_every_reason_is_explained_in_one_table() -> None:
    pages = [(REFERENCE / name).read_text() for name in ("conditions.md", "metrics.md")]
    found = Counter(word for page in pages for word in explained(page))
    wanted = Counter(str(reason) for reason in Reason)
    assert (wanted - found, found - wanted) == (Counter(), Counter()), "no row; one too many"


ALONE: Final = "## Reasons in logs and metrics only"
"""From here on conditions.md speaks of no resource."""


def test_every_reason_of_a_resource_leads_to_a_command() -> None:
    """In the page, in the operator's events and on the screen of `outbox status`."""
    of_resources = (REFERENCE / "conditions.md").read_text().partition(ALONE)[0]
    assert "CursorFromOtherServer" in of_resources
    assert [one for one in explained(of_resources) if not STEPS.get(Reason(one))] == []
    ends = re.findall(r"^\| Reason \|.*\| (.*) \|$", of_resources, re.MULTILINE)
    assert set(ends) == {COLUMN}


def test_every_command_for_a_reason_is_there() -> None:
    """With its verb, and with every option that is named."""
    for step in set(STEPS.values()):
        words = step.format(
            pipeline="orders ", target="evc/billing", name="orders", namespace="shop",
            short="obp", label="a=b",
        ).split()  # fmt: skip
        if words[:2] == ["kubectl", "outbox"]:
            assert words[2] in cli.verbs(), step
            parser = argparse.ArgumentParser()
            cli.load(words[2]).configure(parser)
            parser.parse_args(words[3:])


def test_a_member_is_named_as_its_word() -> None:
    assert {
        reason.name: reason.value
        for reason in Reason
        if reason.name.replace("_", "") != reason.value.upper()
    } == {}


def test_every_condition_type_is_explained() -> None:
    page = (REFERENCE / "conditions.md").read_text()
    named = set(re.findall(r"^\| `([A-Za-z]+)` \|", page, re.MULTILINE))
    assert {kind.value for kind in ConditionType} - named == set()


def test_reasons_cost_an_importer_nothing_else() -> None:
    """The client library of an application imports them too."""
    program = (
        "import __future__, enum, sys; before = set(sys.modules); import outbox_operator.reasons; "
        "print(sorted(set(sys.modules) - before))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert found.strip() == "['outbox_operator', 'outbox_operator.reasons']"
