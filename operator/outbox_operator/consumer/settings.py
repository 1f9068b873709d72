"""Load and check the configuration of a consumer process.

Called by `outbox consume`. Reads one file and nothing else.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, Final

from outbox_operator import documents
from outbox_operator.consumer import sources
from outbox_operator.errors import SpecError
from outbox_operator.wire.config import (
    ConsumerConfig,
    InboxConfig,
    NatsConfig,
    PythonHandlerConfig,
    RedisConfig,
)
from outbox_operator.wire.durable import names_one


def load(path: str | None = None) -> ConsumerConfig:
    """Read the configuration in a file.

    Args:
        path: Default: the environment variable `OUTBOX_CONFIG`.

    Raises:
        SpecError: The variable is not set, the file cannot be read, or it is not a
            configuration; names each field with what is wrong.
    """
    text, name = documents.read(path, "consumer")
    return parse(text, where=name)


BY_HAND: Final = "by-hand"
"""Stands for the namespace where no resource says what is read."""
_NATS_FILES: Final = (
    "creds_file", "username_file", "password_file", "token_file", "nkey_file", "ca_file",
    "cert_file", "key_file",
)  # fmt: skip

_REDIS_FILES: Final = ("username_file", "password_file", "ca_file", "cert_file", "key_file")


def by_hand(
    options: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> ConsumerConfig:
    """Make the configuration that a command line stands for.

    Args:
        options: Those of `outbox consume`.
        environment: Fills in what is not given; the names are those of container handlers.

    Raises:
        SpecError: Something is missing or wrong; names it.
    """

    def required(option: str, variable: str) -> str:
        found = options.get(option) or environment.get(variable)
        if not found:
            raise SpecError(f"--{option} (or {variable}) is missing")
        return str(found)

    durable = required("durable", "OUTBOX_CONSUMER")
    redis = redis_by_hand(options, environment)
    nats = nats_by_hand(options, environment) if redis is None else None
    keys = environment.get("OUTBOX_KEYS", "").split() if redis is not None else []
    inbox = options.get("inbox_url_file") or environment.get("OUTBOX_INBOX_URL_FILE")
    config = ConsumerConfig(
        namespace=BY_HAND,
        consumer=durable,
        nats=nats,
        redis=redis,
        stream=required("stream", "OUTBOX_STREAM"),
        durable=durable,
        shard_streams=tuple(keys) or None,
        event_types=tuple(environment.get("OUTBOX_EVENT_TYPES", "").split()) or None,
        python=PythonHandlerConfig(
            module=options["module"], unhandled="Ack" if options["unhandled"] == "Ack" else None
        ),
        inbox=None
        if inbox is None
        else InboxConfig(url_file=inbox, schema=environment.get("OUTBOX_INBOX_SCHEMA", "outbox")),
        ordering=options["ordering"],
        ack_wait_seconds=float(environment.get("OUTBOX_ACK_WAIT_SECONDS", "30")),
        max_deliver=options["max_deliver"],
        dead_letter_subject=options.get("dead_letters"),
        concurrency=options["concurrency"],
        health_port=options["health_port"],
    )
    check(config, "of the command line")
    sources.check_url(config)  # which would be tried for ever, and stay as it is
    return config


def redis_by_hand(
    options: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> RedisConfig | None:
    """Return where Redis is, if a command line has `--redis`, or the environment names no NATS.

    Raises:
        SpecError: The command line names both.
    """
    if options.get("redis") and options.get("nats"):
        raise SpecError("--nats and --redis: a stream is in one of both")
    url = options.get("redis") or environment.get("REDIS_URL")
    if not url or options.get("nats") or (not options.get("redis") and "NATS_URL" in environment):
        return None
    files: dict[str, Any] = {
        name: environment.get(f"REDIS_{name.upper()}") for name in _REDIS_FILES
    }
    return RedisConfig(url=str(url), **files)


def nats_by_hand(
    options: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> NatsConfig:
    """Return where NATS is, of a command line with `--nats` and the environment.

    Raises:
        SpecError: Nobody says it.
    """
    url = options.get("nats") or environment.get("NATS_URL")
    if not url:
        raise SpecError("--nats (or NATS_URL) is missing")
    files: dict[str, Any] = {name: environment.get(f"NATS_{name.upper()}") for name in _NATS_FILES}
    return NatsConfig(url=str(url), domain=environment.get("NATS_DOMAIN"), **files)


def parse(text: bytes | str, *, where: str) -> ConsumerConfig:
    """Read the configuration in a JSON document.

    Args:
        text: The document.
        where: Its name, for messages.

    Raises:
        SpecError: It is not a configuration; names each field with what is wrong.
    """
    config = documents.parse(ConsumerConfig, text, where)
    check(config, where)
    return config


def check(config: ConsumerConfig, where: str) -> None:
    """Refuse values that can never work. Raises SpecError."""
    handlers = [name for name in ("http", "python") if getattr(config, name) is not None]
    if len(handlers) != 1:
        raise SpecError(
            f"configuration {where}: set exactly one of http and python, found "
            f"{' and '.join(handlers) or 'none'}"
        )
    if config.redis is not None and config.inbox is not None and config.inbox.mode == "PerShard":
        raise SpecError(
            f"configuration {where}: inbox.mode: wanted PerEvent, found PerShard, which needs a "
            "stream that gives its events to one reader at a time; Redis does not"
        )
    if config.nats is not None:
        for name in ("stream", "durable"):
            if not names_one(found := getattr(config, name)):
                raise SpecError(
                    f"configuration {where}: {name}: wanted a name without spaces and without "
                    f". * > / \\, as JetStream has them, found {found!r}"
                )
    for name, lowest in (("concurrency", 1), ("ack_wait_seconds", 0.1), ("drain_seconds", 0.0)):
        value = getattr(config, name)
        if not lowest <= value < math.inf:
            raise SpecError(
                f"configuration {where}: {name}: wanted {lowest} or more, found {value}"
            )
    if not all(0 <= pause < math.inf for pause in config.backoff_seconds):
        raise SpecError(
            f"configuration {where}: backoff_seconds: wanted seconds, 0 or more, "
            f"found {config.backoff_seconds}"
        )
    if config.max_deliver == 0 or config.max_deliver < -1:
        raise SpecError(
            f"configuration {where}: max_deliver: wanted 1 or more, or -1 for ever, "
            f"found {config.max_deliver}"
        )
