"""Logs are JSON lines with the bound fields, and hold no secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import time
from collections.abc import Iterator

import pytest

from outbox_operator.telemetry import logging as telemetry


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    telemetry.setup("relay", "debug", stream=stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def parsed(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_json_line_with_the_common_fields(lines: io.StringIO) -> None:
    logging.getLogger("outbox.test").info("published %d rows", 3, extra={"shard": 0})
    (line,) = parsed(lines)
    assert line["message"] == "published 3 rows"
    assert line["level"] == "info"
    assert line["logger"] == "outbox.test"
    assert line["role"] == "relay"
    assert line["shard"] == 0
    assert str(line["time"]).endswith("Z")


def test_bound_fields_nest_and_end_with_their_block(lines: io.StringIO) -> None:
    logger = logging.getLogger("outbox.test")
    with telemetry.bind(object="shop/orders"):
        with telemetry.bind(reconcile_id="r1", object="shop/inner"):
            logger.info("a")
        logger.info("b")
    logger.info("c")
    first, second, third = parsed(lines)
    assert (first["object"], first["reconcile_id"]) == ("shop/inner", "r1")
    assert second["object"] == "shop/orders"
    assert "reconcile_id" not in second
    assert "object" not in third


async def test_tasks_inherit_bound_fields_but_do_not_share_them(lines: io.StringIO) -> None:
    async def work(name: str) -> None:
        with telemetry.bind(task=name):
            await asyncio.sleep(0)
            logging.getLogger("outbox.test").info("done %s", name)

    with telemetry.bind(role_part="outer"):
        await asyncio.gather(work("one"), work("two"))
    assert sorted((line["task"], line["role_part"]) for line in parsed(lines)) == [
        ("one", "outer"),
        ("two", "outer"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach postgresql://app:hunter2@db:5432/shop",
        "nats://hunter2@nats:4222 refused",
        "dsn host=db password=hunter2 user=app",
        "{'password': 'hunter2'}",
        'TOKEN: "hunter2"',
    ],
)
def test_what_looks_like_a_secret_is_blanked(lines: io.StringIO, text: str) -> None:
    logger = logging.getLogger("outbox.test")
    logger.warning("trouble: %s", text, extra={"detail": text, "nested": {"url": [text]}})
    try:
        raise RuntimeError(text)
    except RuntimeError:
        logger.exception("failed")
    assert "hunter2" not in lines.getvalue()
    assert len(parsed(lines)) == 2


def test_long_words_cost_no_more_than_others() -> None:
    """A payload in the text of an exception; it took 30 s and more for these 100,000."""
    began = time.perf_counter()
    telemetry.redact("ab" * 50_000)
    assert time.perf_counter() - began < 5


def test_a_value_json_cannot_hold_is_written_as_text(lines: io.StringIO) -> None:
    logging.getLogger("outbox.test").info("x", extra={"thing": object(), "data": b"\xff"})
    (line,) = parsed(lines)
    assert str(line["thing"]).startswith("<object")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        telemetry.setup("relay", "loud")


class Terminal(io.StringIO):
    """A stream that a person reads."""

    def isatty(self) -> bool:
        return True


def test_at_a_terminal_a_record_is_text_without_what_a_terminal_obeys(lines: io.StringIO) -> None:
    stream = Terminal()
    telemetry.setup("relay", "debug", stream=stream)
    log = logging.getLogger("outbox.test")
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        log.warning("of \x1b[2J", extra={"shard": 0, "key": "a"}, exc_info=True)
    first, *_, last = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING of \\x1b\[2J shard=0 key=a", first)
    assert last == "ValueError: password=***"
