"""Bad configurations are refused with the field named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.consumer import settings
from outbox_operator.errors import SpecError
from outbox_operator.wire.config import (
    ConsumerConfig,
    HttpHandlerConfig,
    InboxConfig,
    NatsConfig,
    RedisConfig,
    encode,
)

GOOD = ConsumerConfig(
    namespace="shop",
    consumer="billing",
    nats=NatsConfig(url="nats://nats:4222"),
    stream="ORDERS",
    durable="billing",
    http=HttpHandlerConfig(url="http://billing.shop/events"),
    backoff_seconds=(1.0, 5.0),
)


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(encode(GOOD)), **fields})


def test_reads_back_what_the_controller_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    path.write_text(encode(GOOD))
    assert settings.load(str(path)) == GOOD
    monkeypatch.setenv("OUTBOX_CONFIG", str(path))
    assert settings.load() == GOOD


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "document: Invalid JSON"),
        (changed(streem="X"), "streem: Unexpected"),
        (changed(concurrency="many"), "concurrency: wanted a whole number, found a text"),
        (changed(nats={"url": 1}), "nats.url: wanted a text, found a number"),
        (changed(http=None), "exactly one of http and python, found none"),
        (changed(python={"module": "a:b"}), "found http and python"),
        (changed(concurrency=0), "concurrency: wanted 1 or more, found 0"),
        (changed(ack_wait_seconds=0), "ack_wait_seconds: wanted 0.1 or more"),
        (changed(max_deliver=0), "max_deliver: wanted 1 or more, or -1 for ever, found 0"),
    ],
)
def test_names_the_field(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        settings.parse(text, where="config.json")


def test_says_which_file_or_variable_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTBOX_CONFIG", raising=False)
    with pytest.raises(
        SpecError,
        match="--config FILE names the consumer's JSON file, or the variable OUTBOX_CONFIG",
    ):
        settings.load()
    with pytest.raises(SpecError, match=r"nowhere\.json.*No such file"):
        settings.load(str(tmp_path / "nowhere.json"))


GIVEN = {
    "module": "shop:app", "nats": None, "stream": None, "durable": None, "dead_letters": None,
    "inbox_url_file": None, "ordering": "PerKey", "concurrency": 3, "max_deliver": 2,
    "health_port": 0, "unhandled": "Ack",
}  # fmt: skip
ENVIRONMENT = {
    "NATS_URL": "nats://a:4222",
    "NATS_CREDS_FILE": "/creds",
    "OUTBOX_STREAM": "ORDERS",
    "OUTBOX_CONSUMER": "billing",
}


def test_by_hand_options_come_before_the_environment() -> None:
    config = settings.by_hand(
        {**GIVEN, "nats": "nats://b:4222", "inbox_url_file": "/url"}, ENVIRONMENT
    )
    assert (config.jetstream.url, config.jetstream.creds_file) == ("nats://b:4222", "/creds")
    assert (config.stream, config.durable, config.consumer) == ("ORDERS", "billing", "billing")
    assert config.python is not None
    assert config.python.module == "shop:app"
    assert config.inbox == InboxConfig(url_file="/url", schema="outbox")
    assert (config.ordering, config.concurrency, config.max_deliver) == ("PerKey", 3, 2)


def test_by_hand_a_stream_may_be_in_redis() -> None:
    redis = {
        "REDIS_URL": "redis://a:6379", "REDIS_PASSWORD_FILE": "/password", "OUTBOX_KEYS": "s.0 s.1",
        "OUTBOX_EVENT_TYPES": "user.created", "OUTBOX_STREAM": "s", "OUTBOX_CONSUMER": "billing",
    }  # fmt: skip
    config = settings.by_hand(GIVEN, redis)
    assert config.nats is None
    assert config.redis == RedisConfig(url="redis://a:6379", password_file="/password")
    assert config.shard_streams == ("s.0", "s.1")
    assert config.event_types == ("user.created",)
    given = {**GIVEN, "redis": "redis://b:6379"}
    found = settings.by_hand(given, {**redis, "NATS_URL": "nats://b:4222"}).redis
    assert found is not None
    assert found.url == "redis://b:6379"
    assert settings.by_hand(GIVEN, {**redis, "NATS_URL": "nats://b:4222"}).redis is None
    with pytest.raises(SpecError, match="a stream is in one of both"):
        settings.by_hand({**given, "nats": "nats://b:4222"}, redis)


def test_an_inbox_by_shard_needs_one_reader() -> None:
    config = replace(
        GOOD, nats=None, redis=RedisConfig(url="redis://a"),
        inbox=InboxConfig(url_file="/url", mode="PerShard"),
    )  # fmt: skip
    with pytest.raises(SpecError, match=r"inbox\.mode: wanted PerEvent, found PerShard"):
        settings.parse(encode(config), where="tests")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("NATS_URL", r"--nats \(or NATS_URL\) is missing"),
        ("OUTBOX_STREAM", r"--stream \(or OUTBOX_STREAM\) is missing"),
        ("OUTBOX_CONSUMER", r"--durable \(or OUTBOX_CONSUMER\) is missing"),
    ],
)
def test_by_hand_what_is_missing_is_named(missing: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        settings.by_hand(
            GIVEN, {name: value for name, value in ENVIRONMENT.items() if name != missing}
        )


def test_by_hand_wrong_numbers_are_refused() -> None:
    with pytest.raises(SpecError, match="of the command line: concurrency: wanted 1 or more"):
        settings.by_hand({**GIVEN, "concurrency": 0}, ENVIRONMENT)


@pytest.mark.parametrize(
    ("option", "url", "said"),
    [
        ("nats", "127.0.0.1:4222", "NATS at 127.0.0.1:4222: not the URL of a server; wanted nats:"),
        ("nats", "nats://a,nats://:4222", "NATS at nats://:4222: not the URL of a server"),
        ("nats", "http://a:4222", "NATS at http://a:4222: not the URL of a server"),
        ("nats", "nats://a b", "NATS at nats://a b: not the URL of a server"),
        ("nats", "nats://a%20b", "NATS at nats://a%20b: not the URL of a server"),
        ("nats", " , ", "NATS at : not the URL of a server"),
        ("redis", "redis://a b", "Redis at redis://a b: not the URL of a server"),
        ("redis", "redis://a..b", "Redis at redis://a..b: not the URL of a server"),
        ("redis", "redis://a:0", "Redis at redis://a:0: not the URL of a server"),
        ("nats", "me:secret@a:4222", "NATS at a:4222: not the URL of a server"),
        ("redis", "127.0.0.1:6379", "Redis at 127.0.0.1:6379: not the URL of a server; wanted red"),
        ("redis", "redis://me:secret@a", "Redis at redis://a: the URL holds a login"),
    ],
)
def test_by_hand_a_url_that_can_never_work_is_refused_at_once(
    option: str, url: str, said: str
) -> None:
    for given, environment in (
        ({**GIVEN, option: url}, ENVIRONMENT),
        (GIVEN, {**ENVIRONMENT, f"{option.upper()}_URL": url}),
    ):
        if option == "redis":
            environment = {k: v for k, v in environment.items() if not k.startswith("NATS_")}
        with pytest.raises(SpecError) as caught:
            settings.by_hand(given, environment)
        assert caught.value.message.startswith(said)
        assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("NATS_URL", "nats://a, tls://[fe80::1%eth0]:4222/,"),
        ("NATS_URL", "wss://me:secret@müller.example"),
        ("REDIS_URL", "rediss://[::1]:6379/3"),
    ],
)
def test_by_hand_other_urls_are_taken(variable: str, url: str) -> None:
    environment = {k: v for k, v in ENVIRONMENT.items() if not k.startswith("NATS_")}
    found = settings.by_hand(GIVEN, {**environment, variable: url})
    assert (found.nats or found.redis) is not None


@pytest.mark.parametrize(
    ("variable", "name"),
    [("OUTBOX_STREAM", "identity.user.v1"), ("OUTBOX_STREAM", "a b"), ("OUTBOX_CONSUMER", "a/b")],
)
def test_what_can_be_no_name_in_jetstream_is_refused_at_once(variable: str, name: str) -> None:
    field = "stream" if variable == "OUTBOX_STREAM" else "durable"
    said = f"of the command line: {field}: wanted a name without spaces and without . * > / \\"
    with pytest.raises(SpecError) as caught:
        settings.by_hand(GIVEN, {**ENVIRONMENT, variable: name})
    assert said in caught.value.message
    assert caught.value.message.endswith(f"found {name!r}")
    redis = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("NATS_")}
    settings.by_hand(GIVEN, {**redis, "REDIS_URL": "redis://a", variable: name})
