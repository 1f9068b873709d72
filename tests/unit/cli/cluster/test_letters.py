"""Dead letters as they are shown, which are others' words, and the pod that reads them."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from outbox_operator.adapters.kubernetes.in_pod import Ran
from outbox_operator.api.v1alpha1.stream import EventStreamSpec
from outbox_operator.cli.cluster import dlq, letters_read, letters_text, pods
from outbox_operator.cli.cluster.letters import Place
from outbox_operator.cli.cluster.letters_read import Read
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.cluster.session import show
from outbox_operator.cli.commands import dead_letters
from outbox_operator.errors import DependencyError, KubernetesError
from outbox_operator.plan.jetstream.names import dead_letter_subject
from outbox_operator.plan.jetstream.stream_config import dead_letter_prefix
from support.golden import assert_golden_text

GOLDEN: Final = Path(__file__).parent / "golden"
NOW: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
EVENT: Final = "3f6e1c1c-7b4e-4c39-9a57-3f1f0f3c5e2a"


def place(where: str, dead: int | None = 2) -> Place:
    """Where letters are."""
    return Place(
        namespace="shop", pipeline="orders", kind="OutboxPipeline", name="orders", where=where,
        dead_letters=dead, read_at=NOW,
    )  # fmt: skip


ROW: Final[Mapping[str, Any]] = {
    "id": EVENT, "type": "order.created", "key": "42", "reason": "MessageTooLarge",
    "error": "2000000 bytes\nof 1048576", "deadAt": "2026-01-31T11:55:00.000Z", "position": 7,
    "shard": 0, "createdAt": "2026-01-31T11:00:00.000Z", "blocked": False,
}  # fmt: skip
MESSAGE: Final[Mapping[str, Any]] = {
    "id": EVENT, "type": "order.created", "key": "a-key-\x1b[2J-of-somebody-else" * 3,
    "reason": "MaxDeliver", "error": "ValueError: no", "deadAt": "2026-01-31T09:00:00.000Z",
    "sequence": 3, "consumer": "orders-billing", "deliveries": 16, "stream": "ORDERS",
    "subject": "orders.order.created",
}  # fmt: skip
READ: Final = [
    Read(place=place("relay"), letters=(ROW,), more=True),
    Read(place=place("consumer/billing"), letters=(MESSAGE,)),
    Read(place=place("consumer/audit"), problem="no relay pod of ours is ready"),
]


def test_a_line_for_each() -> None:
    lines = list(letters_text.listed(READ, NOW, Screen(width=80)))
    assert max(map(len, lines)) <= 80
    assert sum(EVENT in line for line in lines) == 2  # whole: it is what one copies
    assert_golden_text(GOLDEN / "letters-list.txt", "\n".join([*lines, ""]))


def test_one_with_all_that_is_known() -> None:
    whole = {**ROW, "headers": {"tenant": "a\x1b[2J"}, "payloadBytes": 14}
    with_payload = {**whole, "payload": '{"card": "4111"}', "payloadCut": True}
    found = [Read(place=place("relay"), letters=(whole, with_payload))]
    lines = list(letters_text.whole(found, Screen(width=80)))
    assert_golden_text(GOLDEN / "letters-show.txt", "\n".join([*lines, ""]))


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ('{"tenant": "a"}', {"tenant": "a"}),
        ("[1]", "[1]"),
        ('{"x": 1}', '{"x": 1}'),
        (f'{{"x": {"9" * 5001}}}', f'{{"x": {"9" * 4090}'),
        ("[" * 3000 + "]" * 3000, "[" * 3000 + "]" * 1096),
    ],
)
def test_headers_that_are_none_are_shown_as_they_stand(stored: str, shown: object) -> None:
    found = dead_letters.headers_of(stored)
    assert found == shown
    letter = {**ROW, "headers": found, "payloadBytes": 1}
    text = "".join(letters_text.whole([Read(place=place("relay"), letters=(letter,))], Screen()))
    assert ("tenant: a" if isinstance(shown, dict) else str(shown)) in text


@pytest.mark.parametrize(
    ("all_", "shown"),
    [
        ([], "nothing is there that could have any"),
        ([place("relay", 0)], "there are no dead letters"),
        ([place("relay", None), place("consumer/billing", 3)], "orders    relay"),
    ],
)
def test_counts(all_: list[Place], shown: str) -> None:
    lines = list(letters_text.counts(all_, Screen(width=80), namespaces=False))
    assert any(shown in line for line in lines)


def test_what_a_pod_prints_is_not_trusted() -> None:
    out = b"\n".join([json.dumps(ROW).encode(), b'{"more": true}', b"[]", b'{"other": 1}'])
    letters, more = letters_read.parse(out)
    assert (list(letters), more) == ([ROW], True)
    with pytest.raises(KubernetesError, match="printed no dead letters"):
        letters_read.parse(b"exec failed: no such program")


def test_what_was_found_before_the_end_of_the_time_is_shown() -> None:
    said = "outbox dead-letters: not all was read within 30 s: 52000 messages were looked at"
    ran = Ran(code=1, out=json.dumps(MESSAGE).encode(), err=said)
    read = letters_read.printed(place("consumer/mailer"), "mailer-0", ran)
    assert (list(read.letters), read.problem) == ([MESSAGE], f"pod mailer-0: {said}")
    text = "\n".join(letters_text.listed([read], NOW, Screen(width=200)))
    assert EVENT in text
    assert "consumer/mailer: not all read: pod mailer-0" in text
    assert any(EVENT in line for line in letters_text.whole([read], Screen(width=200)))


def test_names_leave_what_was_not_read_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = dlq._report(READ, lambda screen: ())
    show(report, argparse.Namespace(output="name", watch=False, verb="dlq", laptop=None))
    out, err = capsys.readouterr()
    assert out.splitlines() == [EVENT, EVENT]
    assert err == "outbox dlq: consumer/audit: not read: no relay pod of ours is ready\n"
    assert not report.well


@pytest.mark.parametrize(
    ("out", "err", "said"),
    [
        (b"", "login refused", "pod mailer-0: login refused"),
        (b'{"id": "cut in the mid', "killed", "pod mailer-0: killed"),
        (b"", "unrecognized arguments: --subject", "of a version that cannot print dead letters"),
    ],
)
def test_what_a_pod_could_not_read_is_said(out: bytes, err: str, said: str) -> None:
    read = letters_read.printed(place("consumer/mailer"), "mailer-0", Ran(code=1, out=out, err=err))
    assert read.letters == ()
    assert said in str(read.problem)


def test_a_look_that_has_no_time_left_says_how_far_it_came(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def endless(
        args: argparse.Namespace, looked: dead_letters.Looked
    ) -> AsyncIterator[dict[str, Any]]:
        looked.messages, looked.last = 7, 12
        yield {"id": EVENT}
        await asyncio.Event().wait()

    monkeypatch.setattr(dead_letters, "_letters", endless)
    with pytest.raises(DependencyError, match="7 messages were looked at, up to sequence 12; 1 of"):
        dead_letters.run(argparse.Namespace(limit=10, seconds=0.01))
    assert json.loads(capsys.readouterr().out) == {"id": EVENT}


def test_the_subject_of_a_consumer_is_the_operators() -> None:
    for letters in (None, {"subjectPrefix": "dead.orders"}):
        spec = {"name": "ORDERS", "subjects": ["orders.>"], "deadLetter": letters or {}}
        found = EventStreamSpec.model_validate({**spec, "nats": {"url": "nats://n:4222"}})
        prefix = dead_letter_prefix(found)
        assert dead_letter_subject(spec, "mailer") == f"{prefix}.mailer"


@pytest.mark.parametrize(
    ("containers", "container", "runs"),
    [
        ([{"name": "relay", "env": [{"name": "OUTBOX_CONFIG", "value": "/x"}]}], "relay", True),
        (
            [{"name": "istio"}, {"name": "relay", "env": [{"name": "OUTBOX_CONFIG"}]}],
            "relay",
            True,
        ),
        ([{"name": "theirs"}], "theirs", False),
    ],
)
def test_the_container_of_ours(
    containers: list[dict[str, Any]], container: str, runs: bool
) -> None:
    body: dict[str, Any] = {
        "metadata": {
            "name": "a", "namespace": "shop", "labels": {"app.kubernetes.io/component": "relay"},
        },
        "spec": {"containers": containers},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": container, "ready": True, "restartCount": 2}],
        },
    }  # fmt: skip
    [pod] = pods.seen([body])
    assert (pod.container, pod.runs_outbox, pod.ready, pod.restarts) == (container, runs, True, 2)
    going = {**body, "metadata": {**body["metadata"], "deletionTimestamp": "now"}}
    assert pods.seen([going]) == []


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ([], ""),
        ([("Ready", "True", "reads")], ""),
        ([("Ready", "Unknown", "not yet")], ""),
        (
            [("NatsReachable", "False", "no"), ("Ready", "False", "NATS: refused")],
            ": NATS: refused",
        ),
    ],
)
def test_why_a_consumer_has_nothing_to_read(
    conditions: list[tuple[str, str, str]], said: str
) -> None:
    found = [
        {"type": type_, "status": status, "message": message, "reason": "R",
         "lastTransitionTime": "2026-01-31T12:00:00Z"}
        for type_, status, message in conditions
    ]  # fmt: skip
    assert letters_read._why({"status": {"conditions": found}}) == said
