"""Asks a pod of ours why it is not ready. Used by the controller to put the reason in a status.

A pod may run a tenant's image, and the operator stands elsewhere in the network than its tenant:
what answers can neither send it on nor fill its memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp

TIMEOUT_SECONDS: Final = 2.0
SILENT: Final = (
    f"it takes connections and answers nothing within {TIMEOUT_SECONDS:g} s: it is frozen, or gets "
    "no CPU"
)
MOST_BYTES: Final = 16 * 1024
_MOST_CHARACTERS: Final = 600


@dataclass(frozen=True, slots=True)
class PodAnswer:
    """What a pod says.

    Attributes:
        unready: Its failing checks, or that it is silent; None: none fails, or it cannot be asked.
        at: Its clock, to the second; None: it does not say.
    """

    unready: str | None = None
    at: datetime | None = None


async def unready_reason(address: str, port: int) -> str | None:
    """The failing checks of a pod's /readyz, or that it is silent; None: it cannot be asked.

    Args:
        address: IP of the pod.
        port: Its health port.
    """
    return (await ask(address, port)).unready


async def ask(address: str, port: int) -> PodAnswer:
    """What a pod's /readyz says; Args as `unready_reason`."""
    host = f"[{address}]" if ":" in address else address
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS, sock_connect=TIMEOUT_SECONDS / 2)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(f"http://{host}:{port}/readyz", allow_redirects=False) as response,
        ):
            at = _moment(response.headers.get("Date", ""))
            text = await _start(response.content)
            body = json.loads(text) if len(text) <= MOST_BYTES else None
    except aiohttp.ConnectionTimeoutError:
        return PodAnswer()  # the operator may stand where no pod can be reached
    except TimeoutError:
        return PodAnswer(unready=SILENT)
    except (aiohttp.ClientError, OSError, ValueError, RecursionError):
        # A pod that cannot be asked is described by what Kubernetes knows of it.
        return PodAnswer()
    return PodAnswer(unready=sentence(body), at=at)


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else None


async def _start(content: aiohttp.StreamReader) -> bytes:
    """As much of an answer as is read, and a byte more when there is more."""
    text = b""
    while len(text) <= MOST_BYTES and (piece := await content.read(MOST_BYTES + 1 - len(text))):
        text += piece
    return text


def sentence(body: Any) -> str | None:
    """The failing checks in a /readyz document."""
    checks = body.get("checks") if isinstance(body, dict) else None
    if not isinstance(checks, dict):
        return None
    failing = [
        f"{name}: {check.get('reason', '')}"
        for name, check in checks.items()
        if isinstance(check, dict) and not check.get("ok")
    ]
    return " ".join("; ".join(failing).split())[:_MOST_CHARACTERS] or None
