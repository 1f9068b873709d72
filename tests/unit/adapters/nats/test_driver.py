"""What the server's words about a refusal say."""

from __future__ import annotations

import pytest

from outbox_operator.adapters.nats.driver import Denial, WireClient, denial_of

REFUSED = "Permissions Violation for Publish to "


@pytest.mark.parametrize(
    ("quoted", "subject"),
    [
        ("orders.created", "orders.created"),
        (r"a\"b", 'a"b'),
        (r"a\\", "a\\"),
        (r"a\\\"b", 'a\\"b'),
        (r"a\x01b\x7f", "a\x01b\x7f"),
        (r"\a\b\f\v", "\a\b\f\v"),
        (r"a\u200bb", "a\u200bb"),
        (r"\U000e0001", "\U000e0001"),
        (r"\xff", "\ufffd"),
        (r"\ud800", "\ufffd"),
        (r"\Uffffffff", "\ufffd"),
        ("bestellung.größe", "bestellung.größe"),
        ("x" * 4096, "x" * 4096),
    ],
)
def test_a_refused_subject(quoted: str, subject: str) -> None:
    denial = denial_of(f'{REFUSED}"{quoted}"')
    assert denial is not None
    assert (denial.action, denial.subject) == ("publish", subject)
    assert len(denial.text) <= 500


def test_a_refused_subscription() -> None:
    denial = denial_of('Permissions Violation for Subscription to "a.*" using queue "q"')
    assert denial is not None
    assert (denial.action, denial.subject) == ("subscribe", "a.*")


@pytest.mark.parametrize(
    "text",
    [
        "maximum subscriptions exceeded",
        f"{REFUSED}a.b",
        f'{REFUSED}"a.b',
        rf'{REFUSED}"a.b\"',
        f'{REFUSED}""',
    ],
)
def test_other_complaints(text: str) -> None:
    assert denial_of(text) is None


async def test_a_long_subject_has_an_owner_and_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = WireClient(address="nats://nats", wants_tls=False)
    heard: list[Denial] = []
    client.on_denied("publish", "orders.>", heard.append)
    long = "x" * 4000
    for prefix in ("orders", "others"):
        await client._ps.parse(f"-ERR '{REFUSED}\"{prefix}.{long}\"'\r\n".encode())
    assert [denial.subject for denial in heard] == [f"orders.{long}"]
    (line,) = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("outbox_operator")
    ]
    assert f'"others.{long[:100]}' in line
    assert len(line) < 600
