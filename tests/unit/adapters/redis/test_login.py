"""Where Redis is and how to log in."""

from __future__ import annotations

from pathlib import Path

import pytest

from outbox_operator.adapters.redis.errors import translate
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.errors import CredentialsError, OutboxError, SpecError
from outbox_operator.wire.config import RedisConfig


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("redis://r", ("r", 6379, 0)),
        ("redis://r:6380/3", ("r", 6380, 3)),
        ("rediss://r.shop.svc:6380", ("r.shop.svc", 6380, 0)),
        ("redis://[::1]:7000", ("::1", 7000, 0)),
    ],
)
def test_urls(url: str, server: tuple[str, int, int]) -> None:
    assert RedisLogin(url=url).server() == server


@pytest.mark.parametrize(
    "url",
    [
        "", "r:6379", "http://r", "redis://", "redis://r:port", "redis://r/db", "redis://r/-1",
        "redis://r?db=1", "redis://user:secret@r", "redis://:secret@r",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_server_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(SpecError) as raised:
        RedisLogin(url=url).server()
    assert "secret" not in raised.value.message.replace("a Secret", "")


def test_files_are_read(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    config = RedisConfig(url="redis://r", password_file=str(password))
    login = RedisLogin.from_files(config)
    assert login.password == "s3cret"
    assert "s3cret" not in repr(login)
    password.unlink()
    with pytest.raises(CredentialsError, match="password"):
        RedisLogin.from_files(config)


def test_an_authority_needs_tls() -> None:
    with pytest.raises(SpecError, match="rediss://"):
        RedisLogin(url="redis://r", ca_pem="x").tls_context()
    with pytest.raises(CredentialsError, match="not valid PEM"):
        RedisLogin(url="rediss://r", ca_pem="x").tls_context()


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("NOPERM this user has no permissions", "PermissionDenied", "may not"),
        ("WRONGPASS invalid username-password pair", "CredentialsRejected", "refused"),
        ("WRONGTYPE Operation against a key", "StreamRefused", "other than a stream"),
        ("OOM command not allowed when used memory", "StreamRefused", "raise maxmemory"),
        ("READONLY You can't write", "StreamRefused", "does not take writes"),
    ],
)
def test_errors_of_the_server(text: str, reason: str, said: str) -> None:
    error: OutboxError = translate(text, "redis://r", "ask")
    assert error.reason == reason
    assert said in error.message
