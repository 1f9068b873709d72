"""What runs before a commit and on a hosted runner is what `make` runs, with the same tools."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from support.kube import ROOT

WORKFLOW: Final = ROOT / ".github/workflows/ci.yaml"


def read(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return found


def test_hooks_run_our_tools_on_the_files_of_the_commit() -> None:
    [repository] = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local", "versions come from uv.lock, not from a hook's repository"
    recipe = (ROOT / "Makefile").read_text()
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook.get("pass_filenames", True)
        command = hook["entry"].removeprefix("hack/uv run ")
        assert command != hook["entry"]
        assert f"$(RUN) {' '.join(re.split(r' --', command)[0].split())}" in recipe


def test_a_hosted_runner_calls_the_script_that_any_other_calls() -> None:
    jobs = read(".github/workflows/ci.yaml")["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands[-1] == ".ci/run"
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_actions_are_pinned_to_commits_with_their_versions_beside_them() -> None:
    used = re.findall(r"uses: (.+)", WORKFLOW.read_text())
    assert used
    for one in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one


def test_the_workflow_may_only_read() -> None:
    assert read(".github/workflows/ci.yaml")["permissions"] == {"contents": "read"}
