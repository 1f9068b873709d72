"""Runs verbs of `outbox` as a person would."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from support.waiting import SECONDS


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended: exit code and everything it printed."""

    code: int
    output: str


async def outbox_command(*arguments: str) -> Done:
    """Run `outbox …` and wait for its end; killed when nobody waits for it any more."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox_operator.cli.main", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode is not None
    return Done(process.returncode, output.decode())
