"""The folder of a release: it is whole, or that of the release before."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from release.stamp import ReleaseError


@contextlib.contextmanager
def replacing(output: Path) -> Iterator[tuple[Path, Path]]:
    """An empty folder that takes the place of another at the end, and one for the way there.

    A block that fails, or is cut off at any moment, leaves what was there. What one that was killed
    had made is beside it, until the next one removes it.

    Args:
        output: the folder that is replaced.

    Raises:
        ReleaseError: another release is being made for it at this moment.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    start = f".{output.name}-"
    with (output.parent / f".{output.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReleaseError(f"{output}: another release is being made there") from None
        for rest in output.parent.glob(f"{start}*"):
            shutil.rmtree(rest)
        with tempfile.TemporaryDirectory(prefix=start, dir=output.parent) as scratch:
            made = Path(scratch) / "made"
            made.mkdir(mode=0o755)
            yield made, Path(scratch)
            if output.exists():
                output.rename(Path(scratch) / "replaced")
            made.rename(output)
