"""No test can hang for ever: it fails by name, says where it hung, and the others run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support import watchdog
from support.kube import ROOT

HANGING: Final = """
import asyncio, pytest, threading

async def deep():
    await asyncio.Event().wait()

async def test_waits():
    await deep()

@pytest.fixture
async def endless():
    yield
    await asyncio.to_thread(threading.Event().wait)

def test_fails_and_cannot_be_taken_down(endless):
    assert not "this"

def test_the_last():
    pass
"""


@pytest.mark.thorough
def test_a_test_that_hangs_is_named_and_the_next_one_runs(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(HANGING)
    (tmp_path / "ours.py").symlink_to(ROOT / "tests/conftest.py")
    (tmp_path / "conftest.py").write_text("from ours import pytest_runtest_protocol\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n1", "-p", "no:cacheprovider", f"--rootdir={tmp_path}",
         "-c", str(ROOT / "pyproject.toml"), str(tmp_path)],
        env={**os.environ, watchdog.ENV: "1", "PYTHONPATH": f"{ROOT / 'tests'}:{tmp_path}"},
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    for name in ("test_waits", "test_fails_and_cannot_be_taken_down"):
        assert f"crashed while running 'test_it.py::{name}'" in said, said
        assert f"test_it.py::{name} hangs: no end within 1 s" in said
    assert "test_it.py:5 deep" in said, "where"
    assert "1 passed" in said


def endless(code: str) -> Iterator[tuple[int, str]]:
    """Calls that wait for another process or thread, or for a network, and have no end."""
    tree = ast.parse(code)
    limited, awaited = set[int](), set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and re.fullmatch(
            r"asyncio\.wait(_for)?", ast.unparse(node.func)
        ):
            limited |= {id(inner) for inner in ast.walk(node) if inner is not node}
        if isinstance(node, ast.Await):
            awaited |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in limited:
            continue
        function = node.func
        if node.args and ast.unparse(function) == "asyncio.to_thread":
            function = node.args[0]  # called there with the same words
        name = ast.unparse(function)
        ends = any(word.arg == "timeout" for word in node.keywords)
        bare = not node.args and not node.keywords and name != "self.wait"
        if (
            (not ends and re.fullmatch(r"subprocess\.(run|call|check_\w+)|.*\burlopen", name))
            or (not ends and name.endswith(".communicate"))
            or (bare and id(node) not in awaited and re.search(r"\.(wait|result)$", name))
            or (bare and re.search(r"thread\w*\.join$", name))
        ):
            yield node.lineno, name


def test_endless_waits_are_found() -> None:
    code = """
subprocess.run(x)
process.wait()
thread.join()
await asyncio.to_thread(subprocess.run, x)
await process.communicate()
subprocess.run(x, timeout=5)
process.wait(5)
''.join(x)
await event.wait()
await asyncio.wait_for(process.communicate(), 5)
"""
    assert [line for line, _ in endless(code)] == [2, 3, 4, 5, 6]


def test_waits_for_what_is_not_ours_have_an_end() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for folder in ("tests", "hack")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, name in endless(path.read_text())
    ]
    assert found == []
