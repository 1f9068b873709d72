"""Reading connection URLs: what is taken, what is refused, and that nothing leaks."""

from __future__ import annotations

import pytest

from outbox_operator.adapters.postgres.url import PostgresTarget, parse_url
from outbox_operator.errors import CredentialsError


@pytest.mark.parametrize(
    ("url", "target", "address"),
    [
        (
            "postgresql://app:pw@db.shop:5433/orders",
            PostgresTarget(
                hosts=(("db.shop", 5433),), database="orders", user="app", password="pw"
            ),
            "db.shop:5433/orders",
        ),
        (
            " postgres://app@db/orders?sslmode=verify-full&sslrootcert=/ca.crt\n",
            PostgresTarget(
                hosts=(("db", 5432),), database="orders", user="app",
                sslmode="verify-full", sslrootcert="/ca.crt",
            ),
            "db:5432/orders",
        ),
        (
            "postgresql://a%40b:p%2Fw%3A%25@[::1]:1/my%20db?application_name=x&connect_timeout=3",
            PostgresTarget(
                hosts=(("::1", 1),), database="my db", user="a@b", password="p/w:%"
            ),
            "[::1]:1/my db",
        ),
        (
            "postgresql://u:p@a:1,b,[fe80::1]:3/d",
            PostgresTarget(
                hosts=(("a", 1), ("b", 5432), ("fe80::1", 3)), database="d", user="u", password="p"
            ),
            "a:1,b:5432,[fe80::1]:3/d",
        ),
    ],
)  # fmt: skip
def test_reads(url: str, target: PostgresTarget, address: str) -> None:
    assert parse_url(url) == target
    assert parse_url(url).address == address


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "postgresql://"),
        ("mysql://u:hunter2@h/d", "postgresql://"),
        ("postgresql+asyncpg://u:hunter2@h/d", "postgresql://"),
        ("host=h user=u password=hunter2", "postgresql://"),
        ("postgresql://h/hunter2", "names no user"),
        ("postgresql://u:hunter2@h", "names no database"),
        ("postgresql://u:hunter2@/d", "names no host"),
        ("postgresql://u:hunter2@h:port/d", "cannot be parsed"),
        ("postgresql://u:hunter2@h:99999/d", "cannot be parsed"),
        ("postgresql://u:hunter2@[::1/d", "cannot be parsed"),
        ("postgresql://u:hunter2@h/d?sslmode", "cannot be parsed|sslmode must be"),
        ("postgresql://u:hunter2@h/d?sslmode=on", "sslmode must be one of disable"),
        ("postgresql://u:hunter2@h/d?options=-c%20x", "parameter options is not supported"),
    ],
)
def test_refuses_without_showing_anything(url: str, problem: str) -> None:
    with pytest.raises(CredentialsError, match=problem) as caught:
        parse_url(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_target_may_be_printed() -> None:
    assert "hunter2" not in repr(parse_url("postgresql://u:hunter2@h/d"))
