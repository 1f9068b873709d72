"""How the processes of `outbox dev` do, as a verb in another terminal sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outbox_operator.adapters.kubernetes.pod_health import ask
from outbox_operator.dev import ends
from outbox_operator.dev.ends import Ends
from outbox_operator.dev.processes import pid_of
from outbox_operator.dev.said import last_words
from outbox_operator.embedded.ports import port_in

_LOOPBACK: Final = "127.0.0.1"
_NO_ANSWER: Final = "it does not answer yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A process of `outbox dev`.

    Attributes:
        lives: Whether there is one.
        unready: Why it is not ready; None: it is, or does not live.
        ends: How it ended by itself before; None: it did not.
        last: What it said before it ended that may be why; empty: nothing.
    """

    lives: bool
    unready: str | None = None
    ends: Ends | None = None
    last: str = ""

    @property
    def ready(self) -> bool:
        """Whether it does its work."""
        return self.lives and self.unready is None


async def run_of(folder: Path, name: str) -> Run:
    """How a process does.

    Args:
        folder: Where configurations and logs are.
        name: Of the job.
    """
    lives = pid_of(folder, name) is not None
    found = ends.kept(folder, name)
    last = ""
    if found is not None and ends.says_why(found.code):
        last = last_words(folder / f"{name}.log", lives=lives)
    unready = await _unready(folder, name) if lives else None
    return Run(lives=lives, unready=unready, ends=found, last=last)


async def _unready(folder: Path, name: str) -> str | None:
    port = port_in(folder / f"{name}.port")
    if port is None:
        return _NO_ANSWER
    answer = await ask(_LOOPBACK, port)
    return answer.unready if answer.at is not None else answer.unready or _NO_ANSWER
