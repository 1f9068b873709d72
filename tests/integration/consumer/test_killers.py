"""Events that end the process that handles them, and their neighbours, which are not to blame."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from outbox_operator.consumer import suspects
from outbox_operator.wire.config import ConsumerConfig
from support.consuming import Source, consumer_process
from support.waiting import eventually

pytestmark = pytest.mark.integration

HANDLERS = """
import os
import signal

from outbox_operator.consumer import Handlers

def note(event):
    with open("handled", "a") as file:
        file.write(event.id + "\\n")

def die(event, context):
    if event.type == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    note(event)

several = Handlers()

@several.batch(">", size=10)
async def together(events):
    for event in events:
        die(event, None)

async def waits(event, context):
    import asyncio
    await asyncio.sleep(0.02)
    die(event, context)
"""


async def until_settled(source: Source, config: ConsumerConfig, folder: Path, events: int) -> int:
    """Restart the consumer until all events are settled; returns how often it died."""
    deaths = 0
    temporary = folder / "tmp"

    async def settled() -> bool:
        info = await source.info()
        return bool(info.num_ack_pending == 0 and info.ack_floor.stream_seq >= events)

    while not await settled():
        assert deaths < 20, "the restarts are bounded"
        temporary.mkdir(exist_ok=True)
        with consumer_process(config, folder, HANDLERS, TMPDIR=str(temporary)) as consumer:

            async def ended(consumer: subprocess.Popen[str] = consumer) -> bool:
                return consumer.poll() is not None or await settled()

            await eventually(ended, "process died, or all is settled")
            deaths += consumer.poll() is not None
    return deaths


def handled(folder: Path) -> list[str]:
    return (folder / "handled").read_text().split()


@pytest.mark.parametrize(
    ("module", "settings", "killers"),
    [
        pytest.param("handlers:waits", {"max_deliver": 3}, [60], marks=pytest.mark.thorough),
        pytest.param("handlers:several", {"max_deliver": 1}, [7, 60], marks=pytest.mark.thorough),
        ("handlers:waits", {"max_deliver": 1, "ordering": "PerKey"}, [7, 60]),
    ],
    ids=["one by one", "in batches", "in order"],
)
async def test_who_kills_the_process_is_buried_and_nobody_else(
    client: Client,
    stream_prefix: str,
    tmp_path: Path,
    module: str,
    settings: dict[str, Any],
    killers: list[int],
) -> None:
    source = await Source.create(client, stream_prefix, ack_wait=0.4, **settings)
    if "ordering" in settings:
        await source.create_ordered()
    good = []
    for number in range(100):
        key = {"Ce-Partitionkey": f"k{number % 30}"}
        if number in killers:
            await source.publish(type="killer", **key)
        else:
            good.append(await source.publish(type="good", **key))
    deaths = await until_settled(source, source.python(module), tmp_path, 100)
    assert set(handled(tmp_path)) == set(good)
    letters = await source.dead_letters()
    assert [(letter.headers or {})["Ce-Type"] for letter in letters] == ["killer"] * len(killers)
    assert "ended" in (letters[0].headers or {})["Outbox-Dead-Letter-Error"]
    attempts = min(settings["max_deliver"], suspects.MOST_DEATHS)
    assert deaths <= len(killers) * (1 + attempts), "once among others, then alone"
