"""Runs a command in a container of a pod, and brings back what it printed; both within bounds.

What it reads from standard input stands in no URL, which API servers write into audit logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from outbox_operator.adapters.kubernetes.objects import Ref, object_path
from outbox_operator.adapters.kubernetes.transport import TooLargeError, Transport
from outbox_operator.errors import KubernetesError

_PROTOCOL: Final = "v4.channel.k8s.io"
_IN: Final = 0
_OUT: Final = 1
_ERR: Final = 2
_END: Final = 3
_MOST_ERR_BYTES: Final = 64 * 1024
_FRAME_BYTES: Final = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command left.

    Attributes:
        code: Its exit code.
    """

    code: int
    out: bytes
    err: str


async def run(
    transport: Transport,
    pod: Ref,
    container: str,
    command: Sequence[str],
    *,
    most_bytes: int,
    seconds: float,
    stdin: bytes = b"",
) -> Ran:
    """Run a command; needs the right to create `pods/exec`.

    Args:
        transport: The API server.
        pod: Where.
        container: Of the pod.
        command: The program and its arguments; no shell is asked.
        most_bytes: Longest output.
        seconds: Longest run.
        stdin: What it can read. It is not told that nothing follows: a line says so by its end.

    Raises:
        AccessDeniedError, NotFoundError, KubernetesError; TooLargeError: It prints more than that.
    """
    query = [
        ("container", container), ("stdout", "true"), ("stderr", "true"),
        *([("stdin", "true")] if stdin else []),
        *(("command", part) for part in command),
    ]  # fmt: skip
    out, err, end = bytearray(), bytearray(), b""
    subject = f"{pod} exec"
    try:
        async with (
            asyncio.timeout(seconds),
            transport.websocket(
                object_path(pod, "exec"), query=query, protocol=_PROTOCOL, subject=subject
            ) as connection,
            _cut_off(connection),
        ):
            for start in range(0, len(stdin), _FRAME_BYTES):
                await connection.send_bytes(bytes([_IN]) + stdin[start : start + _FRAME_BYTES])
            async for message in connection:
                if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                    continue
                channel, data = message.data[0], message.data[1:]
                if channel == _OUT:
                    out += data
                elif channel == _ERR:
                    err += data[: max(0, _MOST_ERR_BYTES - len(err))]
                elif channel == _END:
                    end += data
                if len(out) > most_bytes:
                    raise TooLargeError(f"{subject}: it printed over {most_bytes} bytes")
    except TimeoutError as error:
        raise KubernetesError(f"{subject}: no end within {seconds:g} s") from error
    return Ran(code=_code(end, subject), out=bytes(out), err=err.decode("utf-8", "replace"))


@contextlib.asynccontextmanager
async def _cut_off(connection: aiohttp.ClientWebSocketResponse) -> AsyncIterator[None]:
    """At the end, do not wait until the other side ends TLS: the program may end sooner."""
    link = connection._response.connection
    transport = None if link is None else link.transport
    try:
        yield
    finally:
        await connection.close()
        if transport is not None:
            transport.abort()


def _code(end: bytes, subject: str) -> int:
    """The exit code in the `Status` that comes last."""
    try:
        said: Any = json.loads(end)
    except (ValueError, RecursionError) as error:
        raise KubernetesError(f"{subject}: the connection ended before the command did") from error
    status: dict[str, Any] = said if isinstance(said, dict) else {}
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    for cause in causes:
        if cause.get("reason") == "ExitCode" and str(cause.get("message")).isdecimal():
            return int(cause["message"])
    raise KubernetesError(f"{subject}: {status.get('message') or 'it could not be run'}")
