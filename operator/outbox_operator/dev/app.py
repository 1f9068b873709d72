"""`outbox dev`: servers, tables, streams, processes and a live table, until Ctrl-C.

Called by the verb. Order of the start: servers, then what the manifests declare, then relay and
consumers; the end is the other way round, so that nothing in flight is cut off. What the second
half needs is imported while the servers start.
"""

from __future__ import annotations

import asyncio
import importlib
import signal
import time
from collections.abc import Callable
from types import ModuleType

from outbox_operator.dev import applied
from outbox_operator.dev.manifest import Resources
from outbox_operator.dev.options import Options
from outbox_operator.dev.servers import alone, servers
from outbox_operator.dev.table import Shown


async def run(
    resources: Resources,
    options: Options,
    *,
    say: Callable[[str], None],
    show: Callable[[Shown], None],
) -> None:
    """Run everything until SIGINT or SIGTERM.

    Args:
        say: Takes one line for a person.
        show: Takes what is on the screen anew each second.

    Raises:
        OutboxError: Something could not be started; everything has been stopped again.
    """
    began, stop = time.monotonic(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    _endpoints(resources, options)  # before anything starts for nothing
    started = servers(
        options.folder, options.database_url, options.nats_url, _rest,
        say=say, redis=resources.needs_redis, redis_url=options.redis_url,
    )  # fmt: skip
    async with alone(options.folder):
        applied.check_change(options.folder, resources)
        async with started as (where, rest):
            running = rest.Running(options, where, stop, say, show)
            await running.run(resources, began)


def _endpoints(resources: Resources, options: Options) -> None:
    """Raise SpecError if there is no such consumer."""
    for name in options.endpoints:
        resources.consumer_with_http_handler(name)


def _rest() -> ModuleType:
    return importlib.import_module("outbox_operator.dev.running")
