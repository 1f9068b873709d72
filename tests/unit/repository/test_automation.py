"""What runs before a commit and on a hosted runner is what `make` runs, with the same tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from release import local_registry

from support.kube import ROOT

WORKFLOWS: Final = sorted((ROOT / ".github/workflows").glob("*.yaml"))
WRITES: Final = {
    ("docs.yaml", "publish"): {"pages", "id-token"},
    ("release.yaml", "publish"): {"contents", "id-token"},
}
"""What the jobs that publish may write; all others read the sources, or nothing."""


def read(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return found


def commands(job: str) -> list[str]:
    """What a job of continuous integration calls."""
    steps = read(".github/workflows/ci.yaml")["jobs"][job]["steps"]
    return [step["run"] for step in steps if "run" in step]


def test_hooks_run_our_tools_on_the_files_of_the_commit() -> None:
    [repository] = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local", "versions come from uv.lock, not from a hook's repository"
    recipe = (ROOT / "Makefile").read_text()
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook.get("pass_filenames", True)
        assert hook["entry"].startswith(("hack/uv run ", "hack/types"))
        command = hook["entry"].replace("hack/uv run ", "$(RUN) ")
        assert f"\t{' '.join(re.split(r' --', command)[0].split())}" in recipe


def test_a_hosted_runner_calls_the_script_that_any_other_calls() -> None:
    matrix = read(".github/workflows/ci.yaml")["jobs"]["test"]["strategy"]["matrix"]
    assert commands("test")[-1] == "${{ matrix.tests }}"
    assert matrix == {"tests": [".ci/run", "make check-thorough"]}
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_the_files_of_a_release_are_tried_where_a_stranger_installs_them() -> None:
    jobs = read(".github/workflows/ci.yaml")["jobs"]
    assert jobs["kind"]["needs"] == "files"
    [made] = [one for one in commands("files") if one.startswith("make release ")]
    assert f" REPOSITORY={local_registry.HOST}/" in made
    assert commands("kind") == ["sudo --preserve-env make try-release"]
    handed = [
        step["with"]
        for name in ("files", "kind")
        for step in jobs[name]["steps"]
        if "-artifact@" in step.get("uses", "")
    ]
    assert [(one["name"], one["path"]) for one in handed] == [("release", "build/release")] * 2


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_to_commits_with_their_versions_beside_them(workflow: Path) -> None:
    used = re.findall(r"uses: (.+)", workflow.read_text())
    assert used
    for one in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_only_what_publishes_may_write(workflow: Path) -> None:
    found = read(str(workflow.relative_to(ROOT)))
    assert found["permissions"] in ({}, {"contents": "read"})
    for name, job in found["jobs"].items():
        rights = job.get("permissions", {})
        writes = {right for right, level in rights.items() if level == "write"}
        assert writes == WRITES.get((workflow.name, name), set())
        assert "timeout-minutes" in job


def test_a_release_is_signed_by_what_publishes_it() -> None:
    steps = read(".github/workflows/release.yaml")["jobs"]["publish"]["steps"]
    secret = {"COSIGN_KEY", "COSIGN_PASSWORD"}
    [signing] = [step for step in steps if secret & step.get("env", {}).keys()]
    assert secret < signing["env"].keys()
    assert "python hack/release/publish.py build/release " in signing["run"]
    assert not {"REGISTRY_PASSWORD", "GH_TOKEN"} & signing["env"].keys()
    # What is built there is built before, without any secret.
    before = steps[: steps.index(signing)]
    assert {"run": "hack/localkube/localkube build cosign helm"}.items() <= before[2].items()
    assert "env" not in before[2]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_says_that_it_has_never_run(workflow: Path) -> None:
    said, _, _ = workflow.read_text().partition("\nname: ")
    assert "workflow has never run" in said.replace("\n# ", " ")


def test_what_is_new_waits_before_it_is_proposed() -> None:
    updates = read(".github/dependabot.yml")["updates"]
    ecosystems = {one["package-ecosystem"] for one in updates}
    assert ecosystems == {"uv", "pip", "github-actions", "docker", "gomod", "npm"}
    assert all(one["cooldown"]["default-days"] >= 7 for one in updates)
