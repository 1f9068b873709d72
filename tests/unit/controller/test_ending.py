"""What hangs neither keeps others from connecting, nor a process that has ended."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from outbox_operator.controller.app import allow_lookups

HANGING = """
import asyncio
from outbox_operator.controller.app import end_in_time

async def stubborn():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def run():
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    end_in_time(0.1)

asyncio.run(run())
"""


def test_a_name_is_looked_up_beside_those_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    real = socket.getaddrinfo

    def look_up(host: str, *args: Any, **more: Any) -> Any:
        if host.endswith(".slow.test"):
            answered.wait(30)
        return real("127.0.0.1", *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def run() -> None:
        allow_lookups()
        loop = asyncio.get_running_loop()
        hang = [
            asyncio.create_task(loop.getaddrinfo(f"a{number}.slow.test", 1)) for number in range(50)
        ]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(20):
                await loop.getaddrinfo("postgres.blue.test", 1)
            assert not any(one.done() for one in hang)
        finally:
            answered.set()
            await asyncio.gather(*hang)

    asyncio.run(run())


def test_a_task_that_does_not_heed_its_end_keeps_no_process() -> None:
    done = subprocess.run([sys.executable, "-c", HANGING], timeout=60, check=False)
    assert done.returncode == 1
