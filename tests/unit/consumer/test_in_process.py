"""A consumer in the application's own process: what it refuses before it reads."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any, Final

import pytest

from outbox_operator.consumer import Consumer, Handlers
from outbox_operator.errors import SpecError

BARE: Final = """
import asyncio, importlib.abc, sys
from outbox_operator.consumer import Consumer, Handlers
from outbox_operator.errors import SpecError

class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in (*sys.stdlib_module_names, "outbox_operator", "django", "asgiref"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Bare())
"""
HERE: Final = """
async def read():
    async with Consumer(Handlers(), nats="nats://127.0.0.1", stream="S", durable="d"):
        pass
try:
    asyncio.run(read())
except SpecError as error:
    print(error.message)
"""
WITH_DJANGO: Final = """
from django.core.management.base import CommandError
from outbox_operator.django.management.commands.outbox_consume import Command
import argparse
command, parser = Command(), argparse.ArgumentParser()
command.add_arguments(parser)
words = ["shop:app", "--nats=nats://127.0.0.1", "--stream=S", "--durable=d"]
try:
    command.handle(**vars(parser.parse_args(words)))
except CommandError as error:
    print(error)
"""


@pytest.mark.parametrize("code", [HERE, WITH_DJANGO])
def test_the_extra_that_is_not_installed_is_named(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BARE + code], capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    assert done.stdout.endswith(" is not installed; pip install 'outbox-operator[consumer]'\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"handlers": None}, "handlers: wanted Handlers, found None"),
        ({"handlers": "hm:app"}, "handlers: wanted Handlers, found 'hm:app'"),
        ({"max_deliver": "5"}, "max_deliver: wanted int, found '5'"),
        ({"max_deliver": True}, "max_deliver: wanted int, found True"),
        ({"concurrency": 1.5}, "concurrency: wanted int, found 1.5"),
        ({"timeout": "30s"}, "timeout: wanted float, found '30s'"),
        ({"drain_seconds": None}, "drain_seconds: wanted float, found None"),
        ({"backoff": 5}, "backoff: wanted tuple[float, ...], found 5"),
        ({"backoff": (1, "2")}, "backoff: wanted tuple[float, ...], found (1, '2')"),
        ({"stream": 5}, "stream: wanted str | None, found 5"),
        ({"ordering": "perkey"}, "ordering: wanted Literal['None', 'PerKey'], found 'perkey'"),
        ({"unhandled": None}, "unhandled: wanted Literal['DeadLetter', 'Ack'], found None"),
        ({"inbox": b"postgresql://me:secret@db/shop"}, "inbox: wanted str | None, found bytes"),
        ({"stream": ["nats://me:secret@nats"]}, "stream: wanted str | None, found list"),
        ({"timeout": 0}, "timeout: wanted seconds, more than 0, found 0"),
        ({"timeout": math.nan}, "timeout: wanted seconds, more than 0, found nan"),
    ],
)
def test_an_argument_of_another_type_is_refused_at_once(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as refused:
        Consumer(**{"handlers": Handlers(), **given})
    assert refused.value.message == f"Consumer: {said}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backoff": (-1,)}, r"backoff_seconds: wanted seconds, 0 or more, found \(-1,\)"),
        ({"backoff": (1, math.nan)}, "backoff_seconds: wanted seconds, 0 or more"),
        ({"backoff": (math.inf,)}, "backoff_seconds: wanted seconds, 0 or more"),
        ({"drain_seconds": math.nan}, r"drain_seconds: wanted 0\.0 or more, found nan"),
        ({"drain_seconds": -5}, r"drain_seconds: wanted 0\.0 or more, found -5"),
    ],
)
async def test_pauses_that_can_never_be_are_refused(given: dict[str, Any], said: str) -> None:
    handlers = Handlers()
    handlers.handler("a")(print)
    consumer = Consumer(handlers, nats="nats://nats", stream="ORDERS", durable="billing", **given)
    with pytest.raises(SpecError, match=said):
        await consumer.__aenter__()


def test_what_is_of_its_type_is_taken() -> None:
    given: dict[str, Any] = {"backoff": [1, 2.5], "timeout": 30, "nats": None, "ordering": "PerKey"}
    Consumer(Handlers(), **given)
