"""A release that was not finished, or is made twice at once, spoils none that is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from release.folder import replacing
from release.stamp import ReleaseError

from support.kube import ROOT


def release(output: Path, *names: str, ends_in: type[BaseException] | None = None) -> None:
    """A release of these files, which comes to its end or does not."""
    with replacing(output) as (made, scratch):
        (scratch / "sources").mkdir()
        for name in names:
            (made / name).touch()
        if ends_in:
            raise ends_in


def there(output: Path) -> list[str]:
    return sorted(one.name for one in output.iterdir())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where a release is already."""
    folder = tmp_path / "build" / "release"
    release(folder, "0.1.0.whl", "notes.md")
    return folder


def test_a_newer_one_takes_the_place_of_all_of_it(output: Path) -> None:
    release(output, "0.2.0.whl")
    assert there(output) == ["0.2.0.whl"]
    assert output.stat().st_mode & 0o777 == 0o755
    assert there(output.parent) == [".release.lock", "release"]


@pytest.mark.parametrize("error", [ReleaseError, KeyboardInterrupt])
def test_one_that_is_not_finished_leaves_what_was_there(
    output: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        release(output, "0.2.0.whl", ends_in=error)
    assert there(output) == ["0.1.0.whl", "notes.md"]
    assert there(output.parent) == [".release.lock", "release"]


def test_a_second_one_at_the_same_time_is_refused(output: Path) -> None:
    with replacing(output) as (made, _):
        (made / "0.2.0.whl").touch()
        with pytest.raises(ReleaseError, match="another release is being made there"):
            release(output, "0.3.0.whl")
    assert there(output) == ["0.2.0.whl"]


def test_what_one_that_was_killed_left_is_removed_by_the_next(output: Path) -> None:
    code = (
        "import os, sys, pathlib; from release.folder import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as (made, _):\n"
        "    (made / '0.2.0.whl').touch(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(output)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "hack")}, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert there(output) == ["0.1.0.whl", "notes.md"]
    assert len(there(output.parent)) == 3
    release(output, "0.2.0.whl")
    assert there(output.parent) == [".release.lock", "release"]
