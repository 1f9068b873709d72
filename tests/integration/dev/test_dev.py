"""`outbox dev` as a person uses it: the README's example, from nothing to a handled event."""

from __future__ import annotations

import re
import signal

import pytest

from support.devrun import Dev, processes_of


def test_from_nothing_to_a_handled_event_and_again_with_the_same_data(dev: Dev) -> None:
    dev.start("--print")
    dev.says(r"database +\S+ holds its URL")
    first = dev.emit("order.created", '{"id": 1}', "--key", "1")
    assert re.fullmatch(r"[0-9a-f-]{36}", first)
    dev.says(r'orders-billing <- order\.created of 1: \{"id": 1\}')
    dev.says(r"(?m)^orders +0 +- +1 ")
    dev.says(r"(?m)^orders-billing +0 +0 +0 +1 ")
    password = (dev.data / "database-url").read_text().partition("@")[0].rpartition(":")[2]
    assert len(password) == 32
    assert password not in dev.output
    assert not any(password in log.read_text() for log in (dev.data / "run").iterdir())
    assert dev.end() == 0
    assert processes_of(dev.folder) == []

    dev.start("--print")
    dev.says(r"(?m)^orders +0 +- +1 ")
    dev.emit("order.paid", '{"id": 1}', "--key", "1")
    dev.says(r"orders-billing <- order\.paid of 1")
    assert "order.created" not in dev.output, "handled twice"
    assert dev.end(signal.SIGTERM) == 0


def test_what_a_killed_run_left_is_taken_down_by_the_next(dev: Dev) -> None:
    dev.start("--print")
    dev.says(r"(?m)^orders +0 ")
    assert dev.end(signal.SIGKILL) == -signal.SIGKILL
    dev.start("--print")
    dev.says(r"(?m)^orders +0 ")
    dev.emit("order.created", '{"id": 2}')
    dev.says(r'orders-billing <- order\.created: \{"id": 2\}')
    assert dev.output.count("orders-billing <-") == 1
    assert dev.end() == 0
    assert processes_of(dev.folder) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "shipping=http://127.0.0.1:9"], "there are: orders-billing"),
        (["--endpoint", "billing"], "wanted CONSUMER=http"),
        (["--nats-url", "nats://127.0.0.1:9"], "NATS at nats://127.0.0.1:9: connection refused"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(
    dev: Dev, arguments: list[str], said: str
) -> None:
    dev.start(*arguments)
    assert dev.end(signal.SIGCONT) in (1, 2)
    assert said in dev.output
    assert "Traceback" not in dev.output
    assert processes_of(dev.folder) == []
