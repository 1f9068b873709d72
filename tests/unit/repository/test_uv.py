"""`hack/uv` on a machine without uv: installed once, whoever asks at the same time."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from support.kube import ROOT

# What of Python's venv and pip counts here, and slow enough for others to come in between.
PYTHON3 = """#!/bin/sh
[ "$1" != -c ] || exit 0
echo installed >>"$LOG"
mkdir "$3" "$3/bin" || exit 1
sleep 0.3
cp "$PROGRAMS/pip" "$3/bin/python"
"""
PIP = """#!/bin/sh
cp "$PROGRAMS/uv-to-install" "${0%python}uv"
"""
UV = """#!/bin/sh
echo uv ran "$1"
"""


def test_several_at_once_install_one(tmp_path: Path) -> None:
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()
    for name, text in {"python3": PYTHON3, "pip": PIP, "uv-to-install": UV}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PROGRAMS": str(programs),
        "HOME": str(tmp_path),
        "LOG": str(log),
    }
    started = [
        subprocess.Popen(
            [ROOT / "hack/uv", str(number)], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for number in range(4)
    ]  # fmt: skip
    for number, one in enumerate(started):
        out, err = one.communicate(timeout=60)
        assert (one.returncode, out) == (0, f"uv ran {number}\n"), err
    assert log.read_text() == "installed\n"


def test_uv_is_installed_by_its_hash() -> None:
    pinned = (ROOT / "hack/uv.txt").read_text()
    assert len(re.findall(r"^uv==\d+\.\d+\.\d+ ", pinned, re.MULTILINE)) == 1
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", pinned)) == pinned.count("--hash=") > 1
    for name in ("hack/uv", "operator/Dockerfile"):
        [line] = re.findall(r"pip install [^\n\\]*(?:\\\n.*)?", (ROOT / name).read_text())
        assert "--require-hashes --requirement " in line


def test_what_builds_the_wheel_is_pinned() -> None:
    text = (ROOT / "hack/build.txt").read_text()
    pinned = re.findall(r"^(\S+==\S+) \\$", text, re.MULTILINE)
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", text)) == text.count("--hash=")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["uv"]["build-constraint-dependencies"] == pinned
    needed = {re.split(r"[^\w-]", one)[0] for one in project["build-system"]["requires"]}
    assert needed <= {one.partition("==")[0] for one in pinned}
    # The image is built by the lock file, which has them too.
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["manifest"]["build-constraints"]
    assert [one["name"] + one["specifier"] for one in lock] == pinned


def test_what_builds_the_wheel_of_a_release_is_installed_by_its_hash() -> None:
    for name in ("hack/release/make.py", "hack/plugin/__main__.py"):
        [call] = re.findall(r'"build",(?:[^()]|\([^()]*\))*\)', (ROOT / name).read_text())
        assert "--build-constraints" in call
        assert "hack/build.txt" in call
        assert "--require-hashes" in call
