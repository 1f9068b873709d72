"""What is published is what was made, under a name that nothing else has, and signed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from release import programs, provenance, publish, signing
from release.signing import PUBLIC, SUMS, Signer
from release.stamp import Release, ReleaseError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of a release, sealed and signed."""
    made = tmp_path / "release"
    made.mkdir()
    for name in ("a.whl", "b.tgz", "provenance.json"):
        (made / name).write_bytes(name.encode())
    names = sorted(one.name for one in made.iterdir())
    (made / SUMS).write_text(provenance.sums(provenance.checksums(made, names)))
    for name in (f"{SUMS}.sig", "provenance.json.sig", PUBLIC):
        (made / name).write_text("of cosign")
    return made


def swap(made: Path) -> None:
    """Each of two files under the name of the other."""
    (made / "a.whl").rename(made / "x")
    (made / "b.tgz").rename(made / "a.whl")
    (made / "x").rename(made / "b.tgz")


def test_the_files_of_a_release_are_published_as_they_were_made(folder: Path) -> None:
    publish.check(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda made: (made / "a.whl").write_bytes(b"a.whL"), ["a.whl"]),
        (lambda made: (made / "provenance.json").write_bytes(b"{}"), ["provenance.json"]),
        (lambda made: (made / "b.tgz").unlink(), ["b.tgz"]),
        (lambda made: (made / "c.whl").touch(), ["c.whl"]),
        (lambda made: (made / "d").mkdir(), ["d"]),
        (swap, ["a.whl", "b.tgz"]),
    ],
    ids=["a byte", "statement", "missing", "added", "a folder", "swapped"],
)
def test_what_is_not_what_was_made_is_not_published(
    folder: Path, change: Callable[[Path], object], named: list[str]
) -> None:
    change(folder)
    with pytest.raises(ReleaseError) as caught:
        publish.check(folder)
    assert str(caught.value).endswith(f"found others: {named}")


def test_a_folder_that_no_release_was_finished_in_is_refused(folder: Path) -> None:
    (folder / SUMS).unlink()
    with pytest.raises(ReleaseError, match=r"found no SHA256SUMS: make release"):
        publish.check(folder)


@pytest.mark.parametrize(
    ("key", "environment", "wanted"),
    [
        ("env://COSIGN_KEY", {"COSIGN_PASSWORD": "x"}, "COSIGN_KEY: wanted"),
        ("env://COSIGN_KEY", {"COSIGN_KEY": "", "COSIGN_PASSWORD": "x"}, "COSIGN_KEY: wanted"),
        ("env://COSIGN_KEY", {"COSIGN_KEY": "x"}, "COSIGN_PASSWORD: wanted"),
        ("cosign.key", {}, "COSIGN_PASSWORD: wanted"),
    ],
)
def test_what_cannot_sign_is_said_at_once(
    key: str, environment: Mapping[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COSIGN_KEY", "COSIGN_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ReleaseError, match=wanted):
        signing.signer(key)


def test_key_and_password_are_in_the_environment_of_cosign_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COSIGN_KEY", "its-key")
    monkeypatch.setenv("COSIGN_PASSWORD", "its-password")
    found = signing.signer("env://COSIGN_KEY")
    assert not {"COSIGN_KEY", "COSIGN_PASSWORD"} & {*os.environ}
    assert found.environment["COSIGN_PASSWORD"] == "its-password"
    assert "its-" not in repr(found)
    release = Release("0.2.0", "c0ffee", 1_700_000_000, "outbox-operator")
    assert not {"COSIGN_KEY", "COSIGN_PASSWORD"} & {*programs.environment(release)}


def test_a_key_service_asks_for_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
    assert signing.signer("awskms:///alias/release") == Signer("awskms:///alias/release")
