"""No test can hang for ever: it fails by name, says where it hung, and the others run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

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
