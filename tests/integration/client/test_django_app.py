"""`outbox_operator.django` in a project as the how-to shows it: system checks, and the consumer."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from outbox_operator.client import Event, SyncOutbox
from support.consuming import Source
from support.kube import ROOT
from support.nats import NatsServer, connected
from support.shop import Shop, django_connection
from support.waiting import SECONDS

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs/how-to/django.md"
SETTINGS = """
import os
from urllib.parse import urlsplit

parts = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username,
    "PASSWORD": parts.password, "HOST": parts.hostname, "PORT": parts.port,
}}
INSTALLED_APPS = ["shop"]
"""
MODELS = """
from django.db import models

class Invoice(models.Model):
    order_id = models.TextField(primary_key=True)

    class Meta:
        db_table = "invoices"
        managed = False
"""
MANAGE = """
import os
import sys

from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""


class Project:
    """A Django project in a folder, with what the page shows added."""

    def __init__(self, folder: Path, url: str) -> None:
        shown = dict(re.findall(r"```python title=(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL))
        (folder / "shop").mkdir()
        files = {
            "manage.py": MANAGE,
            "settings.py": SETTINGS + shown["settings.py"],
            "shop/__init__.py": "",
            "shop/models.py": MODELS,
            "shop/handlers.py": shown["shop/handlers.py"],
        }
        for name, text in files.items():
            (folder / name).write_text(text)
        self.folder = folder
        self.environment = {**os.environ, "DATABASE_URL": url}

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=self.folder, check=False,
            env=self.environment, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip


@pytest.fixture
async def client(nats_server: NatsServer, stream_prefix: str) -> AsyncIterator[Client]:
    async with connected(nats_server) as client:
        yield client


async def test_handlers_use_the_orm_and_the_checks_see_the_table(
    shop: Shop, client: Client, stream_prefix: str, tmp_path: Path
) -> None:
    await shop.owner.execute(
        "CREATE TABLE invoices (order_id text PRIMARY KEY); GRANT ALL ON invoices TO public"
    )
    project = Project(tmp_path, shop.url)
    done = project.manage("check", "--database", "default")
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout

    source = await Source.create(client, stream_prefix, concurrency=1)
    await source.publish({"id": "o-1"})
    consumer = subprocess.Popen(  # noqa: ASYNC220
        [
            sys.executable, "manage.py", "outbox_consume", "shop.handlers:app", "--concurrency=1",
            f"--nats={source.config.jetstream.url}", f"--stream={stream_prefix}",
            "--durable=billing",
        ],
        cwd=tmp_path, env=project.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        await source.settled(1)
        # The session of the call before is gone, and nobody misses it.
        await shop.owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await source.publish({"id": "o-2"})
        await source.settled(2)
        consumer.send_signal(signal.SIGTERM)
        _, said = consumer.communicate(timeout=SECONDS)
    finally:
        if consumer.poll() is None:
            consumer.kill()
            consumer.communicate(timeout=SECONDS)
    assert consumer.returncode == 0, said
    assert "not handled" not in said
    rows = await shop.owner.fetch("SELECT order_id FROM invoices ORDER BY 1")
    assert [row["order_id"] for row in rows] == ["o-1", "o-2"]


async def test_what_has_no_outbox_is_said(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with django_connection(shop.url):
        from django.db import connections
        from django.test import override_settings

        from outbox_operator.django import checks

        def with_setting(outbox: object) -> list[str]:
            with override_settings(OUTBOX=outbox):
                said = [*checks.check_settings(), *checks.check_database(databases=["default"])]
            return [f"{one.id.partition('.')[2]}: {one.msg}" for one in said]

        def found(**outbox: object) -> list[str]:
            return with_setting(outbox)

        assert found() == []
        assert found(SCHEMA="other") == ["W001: database 'default' has no table other.events"]
        [unknown] = found(SCHEME="outbox")
        assert unknown == "E001: setting OUTBOX: unknown SCHEME; known are DATABASE, SCHEMA"
        [absent] = found(DATABASE="orders")
        assert absent.startswith("E002: setting OUTBOX['DATABASE']: wanted one of default, found")
        for schema in ("Outbox", None):
            [odd] = found(SCHEMA=schema)
            assert odd.startswith("E004: ")
        for setting in ("outbox", None, ["default"]):
            [none] = with_setting(setting)
            assert none.startswith("E001: setting OUTBOX: wanted a dictionary, such as {'DATABASE'")
        await shop.owner.execute(
            "DO $$ BEGIN EXECUTE (SELECT string_agg(format("
            "'REVOKE INSERT (%I) ON outbox.events FROM %I', a.attname, r.rolname), ';') "
            "FROM pg_attribute a, pg_roles r WHERE a.attrelid = 'outbox.events'::regclass "
            "AND a.attnum > 0 AND r.rolname LIKE 'shop\\_%'); END $$"
        )
        [refused] = found()
        assert refused.startswith("E005: the login of database 'default' may not INSERT into")
        connections["default"].close()
        monkeypatch.setitem(connections["default"].settings_dict, "PORT", "1")
        [away] = found()
        assert away.startswith("W002: database 'default' cannot be asked for its outbox: ")
        monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
        [other] = found()
        assert other.startswith("E003: database 'default' is sqlite, wanted postgresql")


async def test_the_setting_is_for_the_checks_alone(shop: Shop) -> None:
    """The page says so, and how an outbox is told."""
    with django_connection(shop.url) as connection:
        from django.conf import settings
        from django.db import ProgrammingError, transaction
        from django.test import override_settings

        with override_settings(OUTBOX={"SCHEMA": "other"}):
            with transaction.atomic():
                SyncOutbox().add(connection, Event(type="order.created", payload={}))
            told = SyncOutbox(schema=settings.OUTBOX["SCHEMA"])
            with (
                pytest.raises(ProgrammingError, match=r"other\.events"),
                transaction.atomic(),
            ):
                told.add(connection, Event(type="order.created", payload={}))
    assert len(await shop.events()) == 1
