"""Where and how something was measured, for the files of figures."""

from __future__ import annotations

import os
import platform
import time
from typing import Any, Final

import asyncpg

from bench.bed import KEYS, POSTGRES_SETTINGS
from bench.measuring import cpu_model
from support.nats import NatsServer
from support.postgres import PostgresServer

_SETTINGS: Final = (
    "server_version", "synchronous_commit", "wal_level",
    *POSTGRES_SETTINGS,
)  # fmt: skip


async def machine(postgres: PostgresServer) -> dict[str, Any]:
    """Machine, and PostgreSQL with its settings."""
    connection = await asyncpg.connect(postgres.url())
    try:
        settings = {name: await connection.fetchval(f"SHOW {name}") for name in _SETTINGS}
    finally:
        await connection.close()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": os.cpu_count(),
        "cpu": cpu_model(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgres": settings,
    }


async def conditions(postgres: PostgresServer, nats: NatsServer) -> dict[str, Any]:
    """Machine, versions, settings."""
    return {
        **await machine(postgres),
        "nats_server": nats.version,
        "stream": "file storage, limits retention, one replica unless said otherwise, "
        "duplicate window 2 minutes, the server's default sync interval",
        "table": f"the migrations' own, all indexes; {KEYS} keys; a transaction for each event",
        "what": "PostgreSQL, nats-server, relay and bench share one machine over loopback, no TLS",
    }
