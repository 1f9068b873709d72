"""What `adapters.nats.driver` needs of nats-py beyond what that promises.

A new minor version of nats-py may change any of it. When a test here fails after an update: read
the named place in the new nats-py, mend `driver.py` or `frame_reader.py`, run
tests/integration/jetstream, tests/integration/relay and tests/integration/consumer, and only
then move the pin in pyproject.toml. docs/explanation/decisions says what would make us go back to
the library's own way.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.metadata
import inspect
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol.parser import Parser

from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.nats.frame_reader import FrameReader
from support.kube import ROOT
from support.source import parsed

PINNED = ">=2.16,<2.17"
ROOM = ROOT / "operator/outbox_operator"
DRIVER = [ROOM / "adapters/nats/driver.py", ROOM / "adapters/nats/frame_reader.py"]


@pytest.mark.parametrize("role", ["operator", "relay", "consumer", "dev", "client-nats"])
def test_roles_pin_the_version_that_is_tested(role: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [line for line in project["optional-dependencies"][role] if line.startswith("nats-py")]
    if role == "client-nats":
        # Applications have a nats-py of their own, and this extra uses nothing private of it.
        assert wanted == ["nats-py>=2.16,<3"]
    elif role == "dev":
        assert not wanted  # it takes those of relay and consumer
    else:
        assert wanted == [f"nats-py[nkeys]{PINNED}"]
    assert re.match(r"2\.16\.", importlib.metadata.version("nats-py"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("_ps", Parser),
        ("_server_info", dict),
        ("_pending", list),
        ("_pending_data_size", int),
        ("_flush_queue", type(None)),
        ("_transport", type(None)),
        ("_closed_cb", type(None)),
        ("_disconnected_cb", type(None)),
        ("stats", dict),
        ("_subs", dict),
        ("_resp_sub_prefix", type(None)),
    ],
)
def test_attributes_of_a_client(name: str, kind: type) -> None:
    assert isinstance(getattr(Client(), name), kind), f"nats-py: Client.{name}"


async def test_the_queue_of_the_flusher_takes_futures() -> None:
    source = inspect.getsource(Client._flusher)
    assert "await self._flush_queue.get()" in source
    assert "self._transport.writelines(self._pending" in source
    assert "future.set_result(None)" in source
    assert "self._flush_queue = asyncio.Queue(" in inspect.getsource(Client.connect)


@pytest.mark.parametrize("name", ["in_msgs", "in_bytes", "out_msgs", "out_bytes"])
def test_counters(name: str) -> None:
    assert Client().stats[name] == 0


def test_the_parser_is_made_once_and_only_reset_later() -> None:
    """A parser of ours stays in place over reconnections."""
    source = inspect.getsource(inspect.getmodule(Client))  # type: ignore[arg-type]
    assert len(re.findall(r"\b_ps\b[^=\n]*=[^=]", source)) == 1
    assert "await self._ps.parse(b)" in inspect.getsource(Client._read_loop)
    assert list(inspect.signature(Parser).parameters) == ["nc"]
    assert inspect.iscoroutinefunction(Parser.parse)
    assert {"buf", "nc"} <= set(vars(Parser(None)))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_process_op_err", ["self", "e"]),
        ("_process_info", ["self", "info", "initial_connection"]),
        ("_process_err", ["self", "err_msg"]),
        ("_init_request_sub", ["self"]),
        ("_flush_pending", ["self", "force_flush"]),
        ("_process_msg", ["self", "sid", "subject", "reply", "data", "headers"]),
    ],
)
def test_methods_we_replace_or_feed(name: str, parameters: list[str]) -> None:
    method = getattr(Client, name)
    assert inspect.iscoroutinefunction(method), f"nats-py: Client.{name}"
    assert list(inspect.signature(method).parameters) == parameters, f"nats-py: Client.{name}"


def test_the_server_is_looked_at_before_the_credentials_are_sent() -> None:
    source = inspect.getsource(Client._process_connect_init)
    greeting = source.index("self._process_info(srv_info, initial_connection=True)")
    assert greeting < source.index("self._connect_command()")


def test_the_writers_of_a_transport() -> None:
    transport: Any = TcpTransport
    assert {"_io_writer", "_bare_io_writer"} <= set(vars(transport()))
    assert "self._io_writer.write(payload)" in inspect.getsource(TcpTransport.write)


async def test_a_subscription_has_its_number() -> None:
    assert Subscription(Client(), 7, "a")._id == 7


def test_the_client_reads_with_our_parser() -> None:
    client = WireClient(address="a", wants_tls=False)
    assert isinstance(client._ps, FrameReader)


def test_nothing_else_touches_what_is_private_there() -> None:
    """By name: no other module of the package uses one of these on anything but itself."""
    private = _private_names()
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}"
        for path in ROOM.rglob("*.py")
        if path not in DRIVER and "nats" in path.read_text() and "postgres" not in path.parts
        for node in ast.walk(parsed(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in private and not _own(node)
    ]
    assert found == []


def _private_names() -> set[str]:
    transport: Any = TcpTransport
    made: list[Any] = [Client(), transport(), Parser(None)]
    made.append(asyncio.run(_subscription()))
    names = {name for thing in made for name in [*vars(thing), *dir(type(thing))]}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


async def _subscription() -> Subscription:
    return Subscription(Client(), 1, "a")


def _own(node: ast.Attribute) -> bool:
    """Whether it is an attribute of our own object: self._pending, super()._close."""
    value = node.value.func if isinstance(node.value, ast.Call) else node.value
    return isinstance(value, ast.Name) and value.id in ("self", "cls", "super")


def test_a_relay_does_without_what_the_driver_takes_for_websockets() -> None:
    """A third of the processor time of its start, and 9 MB."""
    looks = (
        "import sys, outbox_operator.relay.app\n"
        "assert not any(name.startswith('aiohttp') for name in sys.modules)\n"
        "import aiohttp\n"
        "aiohttp.ClientSession\n"
    )
    subprocess.run([sys.executable, "-c", looks], check=True, timeout=60)
