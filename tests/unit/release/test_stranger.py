"""What is tried with the files of a release, before any of it is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from release import provenance, stranger
from release.signing import SUMS
from release.stamp import ROOT, ReleaseError


def release(folder: Path, image: str) -> Path:
    """A folder with the one file that says where the image goes."""
    (folder / "image-digest.txt").write_text(f"{image}@sha256:{'a' * 64}\n")
    found = provenance.checksums(folder, ["image-digest.txt"])
    (folder / SUMS).write_text(provenance.sums(found))
    return folder


def test_a_release_for_the_registry_of_the_node(tmp_path: Path) -> None:
    stranger.check(release(tmp_path, "localhost:5000/outbox-operator"))


def test_a_release_for_another_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"wanted .* REPOSITORY=localhost:5000/outbox-operator"):
        stranger.check(release(tmp_path, "registry.example/outbox-operator"))


def test_without_files_it_is_said_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"wanted the files of a release, found none: make"):
        stranger.check(tmp_path)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = release(tmp_path, "localhost:5000/outbox-operator")
    (folder / "pipeline.yaml").touch()
    with pytest.raises(ReleaseError, match=r"found others: \['pipeline.yaml'\]"):
        stranger.check(folder)


def test_the_chart_is_installed_from_its_file_by_the_words_of_the_readme() -> None:
    assert stranger.words("install", Path("outbox-operator-0.0.1.tgz")) == [
        "helm", "install", "outbox-operator", "outbox-operator-0.0.1.tgz",
        "--namespace", "outbox-system", "--create-namespace", "--wait",
        "--set", "replicas=1", "--timeout=8m",
    ]  # fmt: skip
    assert stranger.words("uninstall")[:3] == ["helm", "uninstall", "outbox-operator"]


def test_resources_go_before_what_cleans_up_after_them() -> None:
    for page in ("README.md", "docs/how-to/install.md"):
        text = (ROOT / page).read_text()
        assert text.index("kubectl delete obp,evs,evc --all") < text.index("helm uninstall")
