"""Which event is being handled alone, noted where the next process on this machine finds it.

The server counts deliveries and does not know whether a handler was called. A process that dies
in its handler says nothing any more. So what came again without an answer is noted before it is
handled: a file in the folder for temporary files, which in a pod outlives the container. What
the file says is nobody's business but that of processes of the same consumer; without it the
server's count is all there is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, Final

log = logging.getLogger(__name__)

_SLOTS: Final = 32
"""Processes of one consumer on one machine that have a file each."""
_MOST_EVENTS: Final = 1000
_MOST_BYTES: Final = 256 * 1024


class Trials:
    """The note of one process. Never raises: a note that cannot be written is missing, no more.

    Args:
        consumer: Whose note, for example the address of the server, the stream and the durable
            consumer; what differs from consumer to consumer.
        folder: Where; default: the folder for temporary files.

    Attributes:
        found: Whether an earlier process left a note, that is: died while it handled an event
            alone, some time or other.
    """

    def __init__(self, consumer: str, folder: Path | None = None) -> None:
        digest = hashlib.sha256(consumer.encode()).hexdigest()[:24]
        self._path = Path(folder or tempfile.gettempdir()) / f"outbox-consumer-{digest}"
        self._file: int | None = None
        self._deaths: dict[str, int] = {}
        self._length = 0
        self._open(os.O_RDWR)
        self.found = bool(self._deaths)

    def deaths(self, event: str) -> int:
        """How many processes ended while they handled an event alone."""
        return self._deaths.get(event, 0)

    def begin(self, event: str) -> None:
        """Note that an event is being handled, and nothing else."""
        if self._file is None:
            self._open(os.O_RDWR | os.O_CREAT)
        self._write(event)

    def ended(self, event: str, *, survived: bool) -> None:
        """Note that nothing is being handled any more.

        Args:
            survived: The handler got to an end; else it was stopped, or never called.
        """
        if survived:
            self._deaths.pop(event, None)
        self._write(None)

    def close(self) -> None:
        """Remove the note, if it says nothing."""
        if self._file is not None and not self._deaths:
            with contextlib.suppress(OSError):
                self._name.unlink()
        self.abandon()

    def abandon(self) -> None:
        """Leave the note as it is, as the end of the process does."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, flags: int) -> None:
        """Take the first file that no living process has."""
        for slot in range(_SLOTS):
            name = self._path.with_name(f"{self._path.name}-{slot}")
            try:
                file = os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.debug("no note in %s: %s", name, error.strerror)
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                facts = os.fstat(file)
                if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
                    raise PermissionError
                self._read(os.pread(file, _MOST_BYTES, 0))
            except OSError:
                os.close(file)
                continue
            self._file, self._name = file, name
            return

    def _read(self, text: bytes) -> None:
        """Take over what an earlier process noted; what it was at when it ended, ended it."""
        self._length = len(text)
        try:
            note: Any = json.loads(text)
            deaths = {str(event): int(count) for event, count in note["deaths"].items()}
            trying = note["trying"]
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        if trying is not None:
            deaths[str(trying)] = deaths.pop(str(trying), 0) + 1
        self._deaths = dict(list(deaths.items())[-_MOST_EVENTS:])

    def _write(self, trying: str | None) -> None:
        if self._file is None:
            return
        text = json.dumps({"trying": trying, "deaths": self._deaths}).encode()
        with contextlib.suppress(OSError):
            # In one piece, so that whoever is killed leaves the old note or the new one.
            os.pwrite(self._file, text.ljust(self._length), 0)
            self._length = max(self._length, len(text))
