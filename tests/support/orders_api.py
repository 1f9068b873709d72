"""The example with FastAPI and SQLAlchemy, in this process: an API that takes orders."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from support.kube import ROOT

_NAME = "fastapi_example"


@asynccontextmanager
async def started(monkeypatch: pytest.MonkeyPatch, **environment: str) -> AsyncIterator[Any]:
    """The module, started as a server would, with these variables."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    path = ROOT / "examples/fastapi-sqlalchemy/app.py"
    spec = importlib.util.spec_from_file_location(_NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # FastAPI and SQLAlchemy look annotations up in it.
    monkeypatch.setitem(sys.modules, _NAME, module)
    spec.loader.exec_module(module)
    async with module.app.router.lifespan_context(module.app):
        yield module


def customer_of(module: Any) -> httpx.AsyncClient:
    """Who orders."""
    transport = httpx.ASGITransport(app=module.app)
    return httpx.AsyncClient(transport=transport, base_url="http://orders")
