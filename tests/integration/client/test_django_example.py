"""The example with Django: its own tests, and an order from a request to the invoice."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from django import conf
from nats.js.api import AckPolicy, ConsumerConfig

from support.fences import fences
from support.kube import ROOT
from support.nats import NatsServer, connected
from support.relaying import Outbox, an_outbox
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

EXAMPLE = ROOT / "examples/django"
_SETTING = re.compile(r"^([A-Z_]+) = (.+)$", re.MULTILINE)
TRIED = """
import json
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
call_command("makemigrations", check_changes=True, dry_run=True)
call_command("check", databases=["default"])
for total in (1999, 100_001):
    body = json.dumps({"customer": "ada", "total": total})
    print(Client().post("/orders", body, content_type="application/json").status_code)
"""


@pytest.fixture
async def whole(database: str, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Outbox]:
    async with an_outbox(database, nats_server, tmp_path) as found:
        yield found


def test_its_time_is_set_as_a_new_project_has_it() -> None:
    """Without TIME_ZONE, Django shows the times of Chicago."""
    template = Path(conf.__file__).parent / "project_template/project_name/settings.py-tpl"
    texts = (template.read_text(), (EXAMPLE / "shop/settings.py").read_text())
    new, ours = (
        {name: value for name, value in _SETTING.findall(text) if name in ("TIME_ZONE", "USE_TZ")}
        for text in (text.replace("'", '"') for text in texts)
    )
    assert ours == new == {"TIME_ZONE": '"UTC"', "USE_TZ": "True"}


async def test_the_example_works_as_its_page_says(whole: Outbox, nats_server: NatsServer) -> None:
    environment = {
        **os.environ, "DATABASE_URL": whole.url, "NATS_URL": nats_server.url,
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip

    def manage(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=EXAMPLE, env=environment, check=False,
            capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "OK" in await asyncio.to_thread(manage, "test")
    said = await asyncio.to_thread(manage, "shell", "-c", TRIED)
    assert "No changes detected" in said
    assert "no issues" in said
    assert re.findall(r"^\d{3}$", said, re.MULTILINE) == ["201", "402"]

    async with connected(nats_server) as client:
        settings = ConsumerConfig(durable_name="billing", ack_policy=AckPolicy.EXPLICIT)
        await client.jetstream().add_consumer(whole.prefix, settings)
    relay = whole.relay().start()
    consumer = subprocess.Popen(  # noqa: ASYNC220
        [
            sys.executable, "manage.py", "outbox_consume", "shop.handlers:app",
            f"--stream={whole.prefix}", "--durable=billing",
        ],
        cwd=EXAMPLE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    async def invoiced() -> bool:
        found = await whole.connection.fetchval("SELECT array_agg(total) FROM shop_invoice")
        return bool(found == [1999])

    try:
        await eventually(invoiced, "the invoice of the order")
        consumer.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(consumer.wait, SECONDS) == 0
    finally:
        if consumer.poll() is None:
            consumer.kill()
            consumer.wait(SECONDS)
    assert await whole.count() == 1
    relay.terminate()


def test_the_page_names_what_is_there() -> None:
    shown = "\n".join(fences("examples/django/README.md", "sh"))
    pipeline = yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text())
    [consumer] = pipeline["spec"]["consumers"]
    assert consumer["maxDeliver"] == -1, "it is refused by our runtime otherwise (FU-Z7)"
    durable = f"{pipeline['metadata']['name']}-{consumer['name']}"
    stream = pipeline["spec"]["stream"]["name"]
    app = consumer["handler"]["container"]["command"][-1]
    typed = f"python manage.py outbox_consume {app} --stream {stream} --durable {durable}"
    assert typed in shown.splitlines()
