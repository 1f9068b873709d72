"""A file that is there once it is whole, and not before, whoever else writes it at the time."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from outbox_operator.errors import SpecError

_PREFIX: Final = ".outbox-export-"
_SUFFIX: Final = ".part"
_NEW: Final = 0o666
"""Mode of a new file, of which the umask takes some."""
_RIGHTS: Final = 0o777


class WholeFile:
    """What is written so far.

    Args:
        file: Where.
        option: What names the file, for messages.
        path: As it was named.

    Attributes:
        size: In bytes.
    """

    def __init__(self, file: BinaryIO, option: str, path: str) -> None:
        self._file = file
        self._option = option
        self._path = path
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append. Raises SpecError."""
        with _told(self._option, self._path):
            self._file.write(data)
        self.size += len(data)


@contextmanager
def whole_file(option: str, path: str) -> Iterator[WholeFile]:
    """Write a file, which takes its name at the end of the block; after an error there is none.

    Until then it has a name of its own, which nobody can foresee, and only its owner may read it.
    Then its mode is that of a plain `open`: that of the file in whose place it is, or the umask's.

    Args:
        option: What names the file, for messages.
        path: The file.

    Raises:
        SpecError: It cannot be written.
    """
    with _told(option, path):
        mode = _mode(path)
        number, part = tempfile.mkstemp(_SUFFIX, _PREFIX, Path(path).parent)
    try:
        file = os.fdopen(number, "wb")
        try:
            yield WholeFile(file, option, path)
            with _told(option, path):
                file.flush()
                with suppress(PermissionError):  # where files have no modes
                    os.fchmod(number, mode)
                os.fsync(number)
                file.close()
                os.replace(part, path)
        finally:
            with suppress(OSError):  # what is left in the buffer is of no use
                file.close()
    finally:
        with suppress(OSError):
            os.unlink(part)


def _mode(path: str) -> int:
    """Of the whole file. Raises OSError: there can be none of that name."""
    with suppress(FileNotFoundError):
        found = os.lstat(path).st_mode
        if stat.S_ISDIR(found):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISREG(found):
            return found & _RIGHTS
    umask = os.umask(_RIGHTS)
    os.umask(umask)
    return _NEW & ~umask


@contextmanager
def _told(option: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpecError(f"{option}: {path}: {error.strerror}") from error
