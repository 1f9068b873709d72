"""The table of mended faults names tests that exist."""

from __future__ import annotations

import functools
import re
from typing import Final

import pytest

from support.kube import ROOT

PAGE: Final = ROOT / "tests/regressions.md"
ROW: Final = re.compile(r"^\| (F[DCUT]-[A-Z]{0,2}\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[tuple[str, str, str]]:
    """Id, what was wrong, tests."""
    return ROW.findall(PAGE.read_text())


def test_every_line_of_the_table_can_be_read() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| F")]
    assert len(lines) == len(rows()) > 0


def test_an_id_is_there_once() -> None:
    ids = [one for one, _, _ in rows()]
    assert sorted(ids) == sorted(set(ids))


@functools.cache
def functions(file: str) -> frozenset[str]:
    """Names of the functions of a module."""
    found = re.findall(r"^(?:async )?def (\w+)", (ROOT / file).read_text(), re.MULTILINE)
    return frozenset(found)


@pytest.mark.parametrize(("fault", "held_by"), [(row[0], row[2]) for row in rows()])
def test_the_tests_named_exist(fault: str, held_by: str) -> None:
    named = TEST.findall(held_by)
    assert ", ".join(f"`{file}::{name}`" for file, name in named) == held_by
    for file, name in named:
        assert name.startswith("test_")
        assert name in functions(file), f"{fault}: {file} has no {name}"
