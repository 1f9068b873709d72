"""Runs verbs of `outbox` as a person would."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended: exit code and everything it printed."""

    code: int
    output: str


async def outbox_command(*arguments: str) -> Done:
    """Run `outbox …` and wait for its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox_operator.cli.main", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, output.decode())
