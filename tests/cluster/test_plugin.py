"""The one file of `kubectl outbox`, installed from its archive as krew does, run by kubectl."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from support.kube import ROOT, Kubectl

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
PLATFORM = {"os": sys.platform, "arch": ARCHITECTURE}
PYTHON = ".".join(map(str, sys.version_info[:2]))


@pytest.mark.thorough
def test_kubectl_runs_the_plugin_from_its_archive(kubectl: Kubectl, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, ROOT / "hack/plugin", "--platform", "/".join(PLATFORM.values()),
         "--python", PYTHON, "--output", tmp_path],
        check=True, stdout=subprocess.PIPE, timeout=300, umask=0o077,
    )  # fmt: skip
    manifest = yaml.safe_load((tmp_path / "outbox.yaml").read_text())
    assert (manifest["kind"], manifest["metadata"]) == ("Plugin", {"name": "outbox"})
    assert len(manifest["spec"]["shortDescription"]) <= 50
    [wanted] = manifest["spec"]["platforms"]
    assert wanted["selector"]["matchLabels"] == PLATFORM
    archive = tmp_path / wanted["uri"].rpartition("/")[2]
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == wanted["sha256"]
    store, links = tmp_path / "store", tmp_path / "bin"
    links.mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(store, filter="data")
    assert sorted(one["from"] for one in wanted["files"]) == sorted(os.listdir(store))
    with zipfile.ZipFile(store / wanted["bin"]) as program:
        modes = {one.filename: one.external_attr >> 16 for one in program.infolist()}
        installed = [name for name in modes if name.startswith("site-packages/")]
        assert installed
        assert [name for name in installed if not modes[name] & 0o004] == []
    (links / "kubectl-outbox").symlink_to(store / wanted["bin"])
    # Of this Python alone, and nothing of the checkout.
    environment = {
        "PATH": f"{links}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(kubectl.kubeconfig),
        "SHIV_ROOT": str(tmp_path / "unpacked"),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [kubectl.program, "outbox", *arguments], env=environment, cwd=tmp_path,
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    versions = json.loads(run("version", "-o", "json"))
    assert versions["api"] == ["v1alpha1"]
    assert run("--help").startswith("usage: kubectl outbox ")
