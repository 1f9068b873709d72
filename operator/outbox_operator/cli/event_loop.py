"""Which event loop the data plane's processes run on."""

from __future__ import annotations

import asyncio
import importlib.util


def factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed; it is an extra because it does not exist everywhere."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.Loop
