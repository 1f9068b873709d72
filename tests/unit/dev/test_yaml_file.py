"""What manifests may look like on disk."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from outbox_operator.dev import yaml_file
from outbox_operator.errors import SpecError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: {c: 1, d: 2, c: 3}", "the name 'c' stands twice in one mapping"),
        ("a: 1\n---\nspec: 1\n'spec': 2", "the name 'spec' stands twice in one mapping"),
        ("- " * 1000, "is nested too deep"),
        ("a: 2026-13-45", "cannot be read as YAML: month must be in 1..12"),
        (f"a: {'9' * 5000}", "cannot be read as YAML: Exceeds the limit"),
        ("a: [", "cannot be read as YAML: while parsing"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
    ],
    ids=range(7),
)
def test_what_cannot_be_read_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as refused:
        yaml_file.read(path)
    assert refused.value.message.startswith(f"{path}: ")
    assert said in refused.value.message


def test_what_is_no_text_and_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(b"\xff")
    for one, said in (
        (path, "cannot be read as YAML"), (tmp_path / "none", "No such file or directory")
    ):  # fmt: skip
        with pytest.raises(SpecError, match=said):
            yaml_file.read(one)


def test_what_lies_in_a_folder_counts_and_not_what_lies_below_it(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no file in it ends in \.json, \.yaml, \.yml"):
        yaml_file.of_folder(tmp_path)
    (tmp_path / "below").mkdir()
    for name in ("b.yaml", "a.yml", "c.json", "d.txt", "below/e.yaml"):
        (tmp_path / name).touch()
    found = yaml_file.of_folder(tmp_path)
    assert [one.name for one in found] == ["a.yml", "b.yaml", "c.json"]
    assert yaml_file.of_folder(tmp_path / "d.txt") == [tmp_path / "d.txt"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a: 1\n---\nb: 2\n"))
    assert yaml_file.read(Path("-")) == [{"a": 1}, {"b": 2}]


def test_merged_mappings_may_say_it_anew(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "a: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, y: 3, 1: 4, '1': 5}\n---\na: 1\n"
    )
    first, second = yaml_file.read(path)
    assert first == {
        "a": {"x": 1, "y": 1}, "b": {"x": 2, "y": 1}, "c": {"x": 2, "y": 3, 1: 4, "1": 5},
    }  # fmt: skip
    assert second == {"a": 1}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (
            "https://ada:hunter2@forge.example/shop/raw/pipeline.yaml?token=hunter2",
            "a URL (https:)",
        ),
        ("git+ssh://git@forge.example/hunter2.git", "a URL (git+ssh:)"),
        ("git@forge.example:hunter2/shop.git", "a place of git"),
    ],
)
def test_what_would_have_to_be_fetched_is_told_how(given: str, what: str) -> None:
    with pytest.raises(SpecError) as refused:
        yaml_file.resources([Path(given)])
    said = refused.value.message
    assert said.startswith(f"wanted a file, a folder, or - for standard input, found {what}, ")
    assert "`curl -fsSL URL | outbox dev -f -`, or `git clone URL`" in said
    assert "hunter2" not in said


def test_a_file_that_is_called_so_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("git@forge:a.yaml").write_text("a: 1")
    assert yaml_file.read(Path("git@forge:a.yaml")) == [{"a": 1}]
