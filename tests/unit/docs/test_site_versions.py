"""Versions of the documentation beside each other, and which of them is shown first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from docsite import versions


def test_releases_are_in_their_order_and_what_is_not_released_is_before_them() -> None:
    found = versions.in_order(["0.9.0", "main", "0.10.0", "0.10.0rc1"])
    assert found == ["main", "0.10.0", "0.10.0rc1", "0.9.0"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["main", "0.2.0rc1", "0.1.0"], "0.1.0"),
        (["main", "0.2.0rc1"], "main"),
        (["0.2.0", "0.10.0"], "0.10.0"),
    ],
)
def test_who_asks_for_none_is_shown_the_newest_release(names: list[str], expected: str) -> None:
    assert versions.newest(names) == expected


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "0.1 0", ".hidden"])
def test_a_version_is_the_name_of_a_folder(name: str) -> None:
    with pytest.raises(ValueError, match=r"VERSION: wanted such as 0\.2\.0 or main, found "):
        versions.check(name)


def test_the_list_has_each_folder_with_a_site(tmp_path: Path) -> None:
    for name in ("0.1.0", "main", "0.2.0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").touch()
    (tmp_path / "other").mkdir()
    assert versions.write(tmp_path) == ["main", "0.2.0", "0.1.0"]
    found = {
        one["version"]: one["aliases"]
        for one in json.loads((tmp_path / "versions.json").read_text())
    }
    assert found == {"main": [], "0.2.0": ["newest"], "0.1.0": []}
    assert "url=0.2.0/index.html" in (tmp_path / "index.html").read_text()
