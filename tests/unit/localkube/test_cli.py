"""Commands, their defaults and their exit codes, as far as no cluster is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from localkube import cli, prereqs
from localkube.errors import LocalkubeError
from localkube.layout import REPOSITORY
from localkube.prereqs import Requirement


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALKUBE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("LOCALKUBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def test_status_of_no_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--name", "none"]) == 3
    assert "there is no cluster none" in capsys.readouterr().err


def test_down_of_no_cluster_is_done_already(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["down", "--name", "none"]) == 0
    assert "there is no cluster none" in capsys.readouterr().err


def test_kubeconfig_of_no_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kubeconfig"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "run `localkube up` first" in captured.err


def test_loading_into_no_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["load-image", "a:1"]) == 1
    assert "no node named 'outbox' runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["up", "--name", "../x"],
        ["build-image", "--tag", "a", "--build-arg", "novalue", "."],
        ["path", "vim"],
    ],
)
def test_wrong_usage(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2


def test_runs_from_a_checkout_without_any_environment() -> None:
    script = REPOSITORY / "hack" / "localkube" / "localkube"
    done = subprocess.run(
        [sys.executable, "-I", str(script), "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "load-image" in done.stdout


def test_missing_things_are_named_with_their_packages() -> None:
    lacking = [
        Requirement("runc", lambda: False, "runc"),
        Requirement("root", lambda: False),
    ]
    assert prereqs.describe(lacking) == "missing: runc, root; on Debian: apt-get install runc"


def test_what_no_package_brings_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    impossible = (Requirement("a better machine", lambda: False),)
    monkeypatch.setitem(prereqs.REQUIREMENTS, prereqs.NODE, impossible)
    with pytest.raises(LocalkubeError, match="missing: a better machine"):
        prereqs.install([prereqs.NODE])


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (b"\x7fELF" + bytes(100), True),
        (b"\x7fELF" + bytes(100) + b"/lib64/ld-linux-x86-64.so.2", False),
        (b"#!/bin/sh", False),
    ],
)
def test_static_programs(program: bytes, expected: bool) -> None:
    assert prereqs.is_static(program) is expected
