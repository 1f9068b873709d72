"""Runs the credential plugin of a kubeconfig, so that whoever has to sign in reads how at once.

The `kubernetes` library keeps what a plugin says until it has ended, takes it for interactive by
the wrong stream, and leaves it behind when nobody waits any more. `adapters.kubernetes.login` has
it run this class in place of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import Any, Final

from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.exec_provider import ExecProvider

from outbox_operator import aio

_MOST_BYTES: Final = 1024 * 1024
"""Of credentials; certificates take some thousands."""
_PIECE: Final = 4096
_END_SECONDS: Final = 2.0
_LEFT_SECONDS: Final = 0.5
"""For what it has printed, once it has ended: what it left behind may hold its output open."""
_LOOK_SECONDS: Final = 0.05


class CredentialPlugin(ExecProvider):
    """As the library calls it: made with `exec` of a kubeconfig's user, then `run`."""

    def __init__(self, exec_config: Any) -> None:
        super().__init__(exec_config)  # type: ignore[no-untyped-call]
        mode = exec_config.safe_get("interactiveMode") or "IfAvailable"
        self._interactive = mode != "Never" and _stdin_is_a_terminal()
        if mode == "Always" and not self._interactive:
            raise ConfigException(
                f"credential plugin {self.args[0]}: it needs a terminal (interactiveMode: Always), "
                "and standard input is none"
            )

    async def run(self, previous_response: Any = None) -> Any:
        """The status that the plugin answers.

        Raises:
            ConfigException: It cannot be run, fails, or answers something else.
        """
        name = f"credential plugin {self.args[0]}"
        information = {
            "apiVersion": self.api_version,
            "kind": "ExecCredential",
            "spec": {"interactive": self._interactive},
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self.args,
                env={**self.env, "KUBERNETES_EXEC_INFO": json.dumps(information)},
                stdin=None if self._interactive else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise ConfigException(f"{name}: {error.strerror or error}") from error
        assert process.stdout is not None  # noqa: S101 - asked for
        assert process.stderr is not None  # noqa: S101
        out = bytearray()
        reading = (
            asyncio.ensure_future(_answer(process.stdout, out)),
            asyncio.ensure_future(_passed_on(process.stderr)),
        )
        try:
            # `wait` of some Pythons waits for the ends of its output, too.
            while process.returncode is None:
                await asyncio.wait(reading, timeout=_LOOK_SECONDS)
                if all(one.done() for one in reading):
                    await process.wait()
            await asyncio.wait(reading, timeout=_LEFT_SECONDS)
        finally:
            for one in reading:
                one.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            if process.returncode is None:
                await aio.end(process, _END_SECONDS)
            process._transport.close()  # type: ignore[attr-defined]
        if process.returncode != 0:  # what it said stands on standard error
            raise ConfigException(f"{name}: it ended with exit code {process.returncode}")
        return self._status(name, bytes(out))

    def _status(self, name: str, out: bytes) -> Any:
        if len(out) > _MOST_BYTES:
            raise ConfigException(f"{name}: its answer has over {_MOST_BYTES} bytes")
        try:
            said = json.loads(out)
        except (ValueError, RecursionError) as error:
            raise ConfigException(f"{name}: its answer is not JSON: {error}") from error
        found = said if isinstance(said, dict) else {}
        if not isinstance(found.get("status"), dict):
            raise ConfigException(f"{name}: its answer has no status")
        if found.get("apiVersion") != self.api_version:
            raise ConfigException(
                f"{name}: wanted an answer of {self.api_version}, found {found.get('apiVersion')!r}"
            )
        return found["status"]


async def _answer(stream: asyncio.StreamReader, found: bytearray) -> None:
    """All it prints, and no more in memory than may be."""
    while piece := await stream.read(_PIECE):
        found += piece if len(found) <= _MOST_BYTES else b""


async def _passed_on(stream: asyncio.StreamReader) -> None:
    """What it says, as it is said: the address to sign in at, the code to enter there."""
    while piece := await stream.read(_PIECE):
        with suppress(OSError, ValueError):  # nobody reads it
            sys.stderr.write(piece.decode("utf-8", "replace"))
            sys.stderr.flush()


def _stdin_is_a_terminal() -> bool:
    try:
        return os.isatty(sys.stdin.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or no file
        return False
