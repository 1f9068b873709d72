"""Commands, their defaults and their exit codes, as far as no cluster is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from localkube import caches, cli, kind, prereqs
from localkube.errors import LocalkubeError
from localkube.layout import REPOSITORY, Roots
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
    assert "localkube up` first" in captured.err


def test_loading_into_no_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["load-image", "a:1"]) == 1
    assert "no node named 'outbox-demo' runs" in capsys.readouterr().err


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


def test_clusters_are_listed_also_those_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == ""
    broken = tmp_path / "state" / "clusters" / "broken"
    broken.mkdir(parents=True)
    (broken / "state.json").write_text("")
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out.split() == ["broken", "?", "stopped"]
    assert cli.main(["status", "--name", "other"]) == 3
    assert "there is no cluster other; there are: broken" in capsys.readouterr().err
    assert cli.main(["status", "--name", "broken"]) == 1
    assert "localkube down --name broken` removes" in capsys.readouterr().err
    assert cli.main(["down", "--name", "broken"]) == 0
    assert not broken.exists()


def test_a_folder_that_cannot_be_used_is_named_with_what_chooses_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOCALKUBE_STATE", str(tmp_path / "file" / "state"))
    assert cli.main(["down", "--name", "none"]) == 1
    said = capsys.readouterr().err
    assert "Not a directory" in said
    assert "LOCALKUBE_STATE and LOCALKUBE_CACHE choose other folders" in said


def test_space_is_asked_for_in_the_folders_that_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Roots(state=tmp_path / "state", cache=tmp_path / "cache" / "not" / "there")
    monkeypatch.setenv("GOCACHE", str(tmp_path / "go"))
    caches.require_space(places, share=0)
    with pytest.raises(LocalkubeError, match=r"not/there, .* are free there: `localkube cache`"):
        caches.require_space(places, share=1e6)


def test_what_is_kept_is_shown_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOCACHE", str(tmp_path / "go"))
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "sources"))
    (tmp_path / "go").mkdir()
    (tmp_path / "sources").mkdir()
    program = tmp_path / "cache" / "bin" / "helm"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"x" * 100_000)
    assert cli.main(["cache", "--clear"]) == 0
    shown = capsys.readouterr().out
    assert f"0.0 GiB  programs                     {program.parent}\n" in shown
    assert not program.exists()
    assert not (tmp_path / "go").exists()
    assert (tmp_path / "sources").exists()


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


def test_an_ordinary_user_gets_all_but_pods_and_is_told_what_else_helps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(kind, "docker_answers", lambda: False)
    monkeypatch.setitem(prereqs.REQUIREMENTS, prereqs.CONTROL_PLANE, ())
    assert cli.main(["prereqs", "--check", "--possible"]) == 0
    said = capsys.readouterr().err
    assert "left out is what runs pods" in said
    assert said.endswith("all that is needed for: control-plane\n")
    assert cli.main(["prereqs", "--check"]) == 1
    assert "missing: root (sudo make …), or a Docker engine" in capsys.readouterr().err


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
