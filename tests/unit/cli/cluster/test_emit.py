"""An event of the command line: what it says, with which login it is written, what is shown."""

from __future__ import annotations

import io
import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from outbox_operator.adapters.kubernetes.in_pod import Ran
from outbox_operator.cli import event_document
from outbox_operator.cli.cluster import emit, logins
from outbox_operator.cli.cluster.emit import Emitted
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.commands import emit as verb
from outbox_operator.errors import EventError, OutboxError, SpecError
from outbox_operator.wire.event import Event
from support import resources
from support.cli import parsed

ID: Final = uuid.UUID("0c9f6f0e-8a5e-4d5a-9f1b-1c2d3e4f5a6b")


def event(*arguments: str, payload_type: str = "jsonb") -> Event:
    """The event of a command line."""
    return emit.event_of(parsed(verb, "orders", *arguments), payload_type)


def test_what_arguments_say() -> None:
    found = event(
        "order.created", '{"total": 12.5, "n": [1, null]}', "--key=42", "--header", "tenant=a=b",
        "--routing-key=eu.order", f"--id={ID}",
    )  # fmt: skip
    assert found == Event(
        id=ID, type="order.created", payload={"total": 12.5, "n": [1, None]}, key="42",
        headers={"tenant": "a=b"}, routing_key="eu.order",
    )  # fmt: skip
    assert event("order.created", "null").id != event("order.created", "null").id


def test_where_a_payload_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "payload").write_bytes(b"\xff{}")
    stdin = SimpleNamespace(buffer=io.BytesIO(b"[1]\n"))
    monkeypatch.setattr("sys.stdin", stdin)
    assert event("order.created", "-").payload == [1]
    found = event("order.created", f"@{tmp_path / 'payload'}", payload_type="bytea")
    assert found.payload == b"\xff{}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["order.created", "{"], "the payload is not JSON: Expecting property name"),
        (["order.created", "[" * 100_000], "the payload is nested more than 200 levels deep"),
        (["order.created", f"{'[' * 201}{']' * 201}"], "nested more than 200 levels deep"),
        (["order.created", f"{'[' * 900}{']' * 900}"], "nested more than 200 levels deep"),
        (["order.created", "1e-99999999999999999999"], "which a float rounds to 0.0"),
        (["order.created", "[-1E+99999999999999999999]"], "which a float rounds to -inf"),
        (["order.created", "[NaN]"], "the payload is not JSON: it holds NaN"),
        (["order.created", "[-Infinity]"], "the payload is not JSON: it holds -Infinity"),
        (["order.created", "9" * 5000], "a number of 5000 digits, at most 4000 are allowed"),
        (
            ["order.created", '{"a": [{"n": 1, "b": 2, "n": 1}]}'],
            "the name 'n' twice in one object",
        ),
        (["order.created", '{"a": 1, "\\u0061": 1}'], "the name 'a' twice in one object"),
        (["order.created", '"\\ud800"'], "payload holds half a surrogate pair"),
        (["order.created", '"\udcff"'], "payload is not JSON: 'utf-8' codec"),
        (["order.created", "1", "--key", "\udcff"], "key holds half a surrogate pair"),
        (["order.\udcff", "1"], "type holds half a surrogate pair"),
        (["order.created", "1", "--header", "a=\udcff"], "headers.a holds half a surrogate pair"),
        (["order.created", "[1e999]"], "number 1e999, which a float rounds to inf"),
        (["order.created", "0.12345678901234567890"], "which a float rounds to 0.1234567890123456"),
        (["order.created", '"\\u0000"'], "payload holds a NUL character"),
        (["order.created", f'"{"x" * 1_000_001}"'], "are 1000003 bytes of jsonb text, at most"),
        (["order created", "1"], "type 'order created' is not a dotted name"),
        (["order.created", "1", "--header", "Nats-Msg-Id=1"], "header 'Nats-Msg-Id' is reserved"),
        (
            ["order.created", "1", "--header", "a=1", "--header", "a=2"],
            "--header a: is given twice",
        ),
        (
            ["order.created", "1", "--header", "Tenant=1", "--header", "tenant=2"],
            "headers 'Tenant' and 'tenant' are one name to readers",
        ),
        (["order.created", "1", "--routing-key", ""], "routing_key is empty"),
        (["order.created", "1", "--key", "k" * 2000], "key takes 2000 bytes of the subject"),
        (["order.created", "@none/such"], "payload @none/such: No such file or directory"),
    ],
)
def test_what_could_never_be_published_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(SpecError) as refused:
        event(*arguments)
    assert said in refused.value.message


DEEPEST: Final = event_document.payload(b"[" * 200 + b"]" * 200, "jsonb")


@pytest.mark.parametrize(
    "payload", [{"a": [1.5, None, "ü\ud7ff"]}, None, b"\x00\xff", b"", DEEPEST, 10**3999]
)
def test_an_event_arrives_as_it_was_sent(payload: object) -> None:
    sent = Event(type="a.b", payload=payload, key="ü", headers={"x": "1"}, routing_key="c")
    line = event_document.encode(sent)
    assert line.count(b"\n") == 1
    assert event_document.decode(line) == sent


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        (b'{"id": "', SpecError, "standard input ended before the event did"),
        (b"[]\n", SpecError, "holds no event of `outbox emit`"),
        (b'{"id": "1"}\n', SpecError, "holds no event of `outbox emit`"),
        (b"[" * 100_000 + b"\n", SpecError, "holds no event of `outbox emit`"),
        (b'{"key": "1", "key": "2"}\n', SpecError, "the name 'key' twice"),
        (
            json.dumps({"id": str(ID), "type": "a b", "key": "", "payload": 1}).encode() + b"\n",
            EventError, "is not a dotted name",
        ),
    ],
)  # fmt: skip
def test_what_is_no_event(line: bytes, error: type[OutboxError], said: str) -> None:
    with pytest.raises(error, match=said):
        event_document.decode(line)


@pytest.mark.parametrize(
    ("database", "secret", "read"),
    [
        ({}, None, None),
        ({"migrationSecretRef": {"name": "relay-db", "key": "url"}}, None, None),
        ({"migrationSecretRef": {"name": "owner-db"}}, None, {"owner-db"}),
        ({"migrationSecretRef": {"name": "owner-db"}}, "app-db", {"app-db"}),
        ({}, "app-db", {"app-db"}),
    ],
)
def test_whose_login_writes(
    database: dict[str, Any], secret: str | None, read: set[str] | None
) -> None:
    given = {"connectionSecretRef": {"name": "relay-db", "key": "url"}, **database}
    what = logins.as_writer(resources.pipeline(database=given), "ORDERS_EU", secret)
    if read is None:  # the relay's own, in the relay's pod
        assert what == {}
    else:
        assert {file.secret for file in what["files"]} == read
        assert json.loads(what["config"])["stream"] == "ORDERS_EU"


@pytest.mark.parametrize(
    ("wait", "least"), [(0.0, 600), (400.0, 600), (1800.0, 1800 + 165), (2.0**31 - 1, 2**31 - 1)]
)
def test_a_pod_outlives_what_is_waited_for_in_it(wait: float, least: int) -> None:
    assert least <= emit.lifetime(wait) < 2**31


def test_what_the_pod_says() -> None:
    def told(code: int, out: bytes, err: str = "") -> dict[str, Any]:
        return emit.told(Ran(code=code, out=out, err=err), "p", ID)

    written, there = b'{"written": "1"}\n', b'{"there": "1"}\n'
    assert told(0, written) == {}
    both = told(0, written + b'{"sequence": 7}\n')
    assert both == {"published": True, "sequence": 7, "dead_letter": None}
    in_redis = told(0, written + b'{"sequence": 7, "key": "orders.v1.0"}\n')
    assert in_redis == {**both, "stream": "orders.v1.0"}
    cut = told(1, written + b'{"seq', "no answer")
    assert cut == {"published": False, "problem": "pod p: no answer"}
    assert told(0, there) == {"already": True}
    found = told(0, there + b'{"published": true}\n')
    assert found == {"already": True, "published": True, "sequence": None, "dead_letter": None}
    given_up = told(0, there + b'{"givenUp": true}\n')
    assert (given_up["already"], given_up["published"], given_up["given_up"]) == (True, False, True)
    deep = b"[" * 100_000 + b"\n"
    for noise in (b"1\n", b"null\n", b'"text"\n', b"[]\n", b"\xff{\n", deep, b"{}\n"):
        out = noise + written + noise.replace(b"{}\n", b"") + b'{"sequence": 7}\n'
        assert told(0, out)["sequence"] == 7
        with pytest.raises(OutboxError, match="nothing was written: exit code 2"):
            told(2, noise)
    wrong = told(0, written + b'{"sequence": "7", "deadLetter": 1}\n')
    assert wrong == {"published": False, "sequence": None, "dead_letter": "1"}


@pytest.mark.parametrize(
    ("code", "out", "err", "said"),
    [
        (1, b'{"unwritten": "1"}\n', "refused", "pod p: nothing was written: refused"),
        (2, b"", "no config", "pod p: nothing was written: no config"),
        (127, b"", "", "pod p: nothing was written: exit code 127"),
        (2, b"", "no verb 'write-event'", "bring it up to date"),
        # The answer to COMMIT was lost; or a version that does not say what it knows.
        (1, b"", "connection was closed", f"connection was closed: whether event {ID} was written"),
        (137, b"", "", f"with --id={ID} looks for it, and writes it only if it is not there"),
    ],
)
def test_nothing_was_written_or_nobody_knows(code: int, out: bytes, err: str, said: str) -> None:
    with pytest.raises(OutboxError) as raised:
        emit.told(Ran(code=code, out=out, err=err), "p", ID)
    assert said in raised.value.message
    assert ("nothing was written" in raised.value.message) is ("whether" not in said and code < 137)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, []),
        (
            {"published": True, "stream": "ORDERS", "sequence": 7},
            ["published: message 7 of ORDERS"],
        ),
        ({"already": True, "published": True}, ["published, by the relay's word"]),
        (
            {"published": False, "dead_letter": "KeyBlocked"},
            ["it is a dead letter: KeyBlocked", f"kubectl outbox dlq show orders {ID} -n shop"],
        ),
        (
            {"already": True, "published": False, "given_up": True},
            ["it was a dead letter and was given up: it is never sent, but without --id anew"],
        ),
        (
            {"published": False},
            ["not published within 30 s", "kubectl outbox status orders -n shop"],
        ),
        (
            {"published": False, "problem": "pod p: no answer"},
            ["pod p: no answer", "kubectl outbox status orders -n shop"],
        ),
        ({"remark": "no consumer takes it"}, ["no consumer takes it"]),
    ],
)
def test_what_is_shown(facts: dict[str, Any], said: list[str]) -> None:
    found = Emitted(namespace="shop", pipeline="orders", id=str(ID), type="a", **facts)
    first, *rest = emit.lines(found, 30, Screen())
    assert first == (
        f"event {ID} was in shop/orders already: nothing was written now"
        if found.already
        else f"event {ID} written to shop/orders"
    )
    assert [line.strip() for line in rest] == said
