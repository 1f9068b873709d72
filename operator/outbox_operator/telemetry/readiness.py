"""What readiness says of a server that a process needs, and what its log says when that changes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from outbox_operator.errors import OutboxError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ServerState:
    """What readiness says of a server.

    Attributes:
        ok: Whether it is well.
        reason: A sentence for a person, also when all is well.
    """

    ok: bool = False
    reason: str = "not tried yet"

    def check(self) -> tuple[bool, str]:
        """Both, as the health server asks for them."""
        return self.ok, self.reason

    def set(self, ok: bool, reason: str) -> None:
        """Say how it is now; what is new is logged."""
        if (ok, reason) != (self.ok, self.reason):
            log.log(logging.INFO if ok else logging.WARNING, "%s", reason)
        self.ok, self.reason = ok, reason

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Remember why the block failed."""
        try:
            yield
        except OutboxError as error:
            self.set(False, f"{error.reason}: {error.message}")
            raise
