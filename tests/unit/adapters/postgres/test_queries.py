"""All SQL is in files, and every file is used."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox_operator.adapters.postgres.queries import statement
from support.kube import ROOT
from support.source import parsed

ROOM = ROOT / "operator/outbox_operator/adapters/postgres"
FILES = sorted((ROOM / "sql").glob("*.sql"))
SQL = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|SET|LOCK TABLE|CREATE|ALTER|DROP|TRUNCATE|"
    r"COMMENT ON|COPY|CALL|DO|LISTEN|NOTIFY|UNLISTEN)\b"
)


def texts(tree: ast.AST) -> Iterator[str]:
    """The literals of a module that are no documentation."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documentation
        ):
            yield node.value


@pytest.mark.parametrize("path", sorted(ROOM.glob("*.py")), ids=lambda path: path.name)
def test_no_module_holds_a_statement(path: Path) -> None:
    found = [text for text in texts(parsed(path.read_text())) if SQL.match(text)]
    assert found == []


@functools.cache
def modules() -> str:
    """The source of the whole package."""
    return "\n".join(module.read_text() for module in ROOM.parents[1].rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_used(path: Path) -> None:
    assert f'"{path.stem}"' in modules()


def test_names_are_quoted_and_parts_are_not() -> None:
    assert statement("upkeep_has_rows", schema='a"b', table="T").strip() == (
        'SELECT EXISTS (SELECT FROM "a""b"."T")'
    )
    idle = "SET LOCAL idle_in_transaction_session_timeout = 50"
    assert statement("session_idle", idle=50).strip() == idle


def test_what_fills_a_placeholder_is_not_searched_for_others() -> None:
    text = statement("upkeep_comment", schema="s", table="t", comment="'{schema}'")
    assert text.strip() == 'COMMENT ON TABLE "s"."t" IS \'{schema}\''


def test_a_placeholder_without_a_value_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="lock"):
        statement("upkeep_brief")
