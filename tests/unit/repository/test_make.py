"""What may be given to make counts from its own command line alone, and is checked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from delivery.__main__ import parse
from support.kube import ROOT


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What make would run."""
    return run("--dry-run", *arguments, **environment)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make; nothing of a make around these tests reaches it."""
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_variable_that_is_not_known_is_refused_with_those_that_are() -> None:
    done = make("check-delivery", "SEED=7", "WIDNOW=3")
    assert done.returncode == 2
    assert "unknown variables: WIDNOW; known are: ARGS " in done.stderr
    assert " WINDOW " in done.stderr


def test_options_become_those_of_the_program() -> None:
    done = make("check-delivery", "SEED=7", "WINDOW=0", "FAULTS=a;b")
    assert "python -m delivery --seed '7' --window '0' --faults 'a;b'" in " ".join(
        done.stdout.split()
    )


def test_variables_of_the_environment_are_somebody_elses() -> None:
    theirs = {"WINDOW": "0", "SECONDS": "-1", "CLUSTER": "theirs", "ARGS": "-k nothing"}
    assert make("check-delivery", **theirs).stdout.rstrip().endswith("python -m delivery")
    assert "outbox-demo" in make("demo", **theirs).stdout
    assert "nothing" not in make("test-unit", **theirs).stdout


def test_check_refuses_what_a_conflict_left_in_any_file_that_git_knows(tmp_path: Path) -> None:
    [look] = [line for line in make("check").stdout.splitlines() if " --check $(git" in line]

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )

    run("git init -q && printf 'Two  \\nlines \\n\\n' > page.md && git add page.md")
    assert run(look).returncode == 0
    run("printf '<<<<<<< HEAD\\na\\n=======\\nb\\n>>>>>>> theirs\\n' >> page.md")
    done = run(look)
    assert done.returncode != 0
    assert "page.md:4: leftover conflict marker" in done.stdout


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("--shards=0", "wanted a whole number from 1 to 64, found '0'"),
        ("--shards=65", "wanted a whole number from 1 to 64, found '65'"),
        ("--seconds=-1", "wanted a number above 0, found '-1'"),
        ("--window=0", "wanted a number above 0, found '0'"),
        ("--rate=nan", "wanted a number above 0, found 'nan'"),
        ("--writers=many", "wanted a whole number from 1, found 'many'"),
    ],
)
def test_values_are_checked(option: str, wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([option])
    assert caught.value.code == 2
    assert f"argument {option.partition('=')[0]}: {wanted}" in capsys.readouterr().err


def test_a_value_is_neither_run_by_make_nor_by_the_shell(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    value = f"$(shell touch {target})'; touch {target}; '$$"
    quoted = value.replace("'", "'\\''")
    assert f"--version '{quoted}'" in make("release", f"VERSION={value}").stdout
    assert run("help", f"VERSION={value}").returncode == 0
    assert not target.exists()
