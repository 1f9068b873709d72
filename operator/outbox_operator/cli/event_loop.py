"""How the processes of the data plane run."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from typing import Final

_COLLECT_AFTER: Final = 20_000
"""Objects made and not yet gone that are worth a look for cycles. Thousands of rows and messages
come and go in no cycle; with Python's default of 700, looking took a tenth of the relay's time."""


def runner() -> asyncio.Runner:
    """What to run the process with; call it once everything is imported."""
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    return asyncio.Runner(loop_factory=_factory())


def _factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed; it is an extra because it does not exist everywhere."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.Loop
