"""Locks by files of a data folder: they end with whoever holds them, however that ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from outbox_operator.errors import SpecError

_PAUSE_SECONDS: Final = 0.05
_TAKEN: Final = (errno.EWOULDBLOCK, errno.EACCES)


class FileLock:
    """One lock, which a process takes and gives back.

    Args:
        path: Of its file, which stays behind; says who holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> bool:
        """Take it, unless somebody has it: then False.

        Raises:
            SpecError: There can be no lock there.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpecError(f"{self._path}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
        except OSError as error:
            os.close(file)
            if error.errno in _TAKEN:
                return False
            raise SpecError(f"{self._path}: cannot be locked: {error.strerror}") from error
        self._file = file
        with contextlib.suppress(OSError):  # a full disk: it is for people alone
            os.write(file, str(os.getpid()).encode())
        return True

    async def take_within(self, seconds: float) -> bool:
        """Take it, as soon as it is free; False: it was not in that time."""
        for _ in range(round(seconds / _PAUSE_SECONDS)):
            if self.take():
                return True
            await asyncio.sleep(_PAUSE_SECONDS)
        return self.take()

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def holder(self) -> str:
        """Who has it, for people: a number of a process, or `unknown`."""
        try:
            with self._path.open("rb") as file:
                return file.read(20).decode("ascii") or "unknown"
        except (OSError, ValueError):
            return "unknown"


def is_taken(path: Path) -> bool:
    """Whether somebody who lives holds the lock of a file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _TAKEN
    finally:
        os.close(file)
    return False
