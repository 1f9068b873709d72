"""Workflows of the forge, as its own linter reads them."""

from __future__ import annotations

import subprocess

from support.chart import ROOT, find_program

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))


def test_the_linter_has_nothing_to_say() -> None:
    assert WORKFLOWS
    done = subprocess.run(
        [find_program("actionlint"), *WORKFLOWS],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
