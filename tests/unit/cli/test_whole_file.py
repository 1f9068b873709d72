"""A file is there once it is whole, and nobody else's is touched."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from outbox_operator.cli.whole_file import whole_file
from outbox_operator.errors import SpecError


@contextmanager
def umask(mode: int) -> Iterator[None]:
    """New files get the rest."""
    before = os.umask(mode)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    """Of a file, and of no link."""
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize(
    ("mask", "before", "after"),
    [(0o022, None, 0o644), (0o077, None, 0o600), (0o002, None, 0o664), (0o022, 0o640, 0o640)],
)
def test_the_mode_is_that_of_a_plain_open(
    tmp_path: Path, mask: int, before: int | None, after: int
) -> None:
    path = tmp_path / "events.csv"
    if before is not None:
        path.write_text("old")
        path.chmod(before)
    with umask(mask):
        with whole_file("--into", str(path)) as file:
            file.write(b"new")
            [part] = {*tmp_path.iterdir()} - {path}
            assert mode(part) == 0o600
            assert (path.read_text() == "old") if before is not None else not path.exists()
        assert os.umask(mask) == mask
    assert (path.read_bytes(), mode(path), file.size) == (b"new", after, 3)
    assert [*tmp_path.iterdir()] == [path]


def test_what_others_put_beside_it_is_not_touched(tmp_path: Path) -> None:
    path, other, victim = (tmp_path / name for name in ("e.csv", "e.csv.part", "victim"))
    victim.write_text("theirs")
    other.symlink_to(victim)
    path.symlink_to(victim)
    with whole_file("--into", str(path)) as file:
        file.write(b"ours")
    assert (victim.read_text(), other.readlink()) == ("theirs", victim)
    assert (path.read_text(), path.is_symlink()) == ("ours", False)


def test_two_of_one_name_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    with whole_file("--into", str(path)) as first:
        first.write(b"first")
        with whole_file("--into", str(path)) as second:
            second.write(b"2")
        assert path.read_text() == "2"
    assert path.read_text() == "first"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_after_an_error_there_is_what_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "e.csv"
    path.write_text("old")

    def broken() -> None:
        with whole_file("--into", str(path)) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        broken()
    assert (path.read_text(), [*tmp_path.iterdir()]) == ("old", [path])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".", "Is a directory"),
        ("none/e.csv", "No such file or directory"),
        ("file/e.csv", "Not a directory"),
        ("e" * 256, "File name too long"),
    ],
)
def test_what_cannot_be_is_said_before_the_work(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").touch()
    path = str(tmp_path / name)
    with pytest.raises(SpecError) as caught, whole_file("--into", path):
        pytest.fail("begun")
    assert caught.value.message == f"--into: {path}: {said}"
