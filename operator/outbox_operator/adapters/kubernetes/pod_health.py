"""Asks a pod of ours why it is not ready. Used by the controller to put the reason in a status."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

TIMEOUT_SECONDS = 2.0


async def unready_reason(address: str, port: int) -> str | None:
    """The failing checks of a pod's /readyz as one sentence; None when it cannot be asked.

    Args:
        address: IP of the pod.
        port: Its health port.
    """
    host = f"[{address}]" if ":" in address else address
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{host}:{port}/readyz") as response,
        ):
            body = json.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None  # a pod that cannot be asked is described by what Kubernetes knows of it
    return sentence(body)


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
    return "; ".join(failing) or None
