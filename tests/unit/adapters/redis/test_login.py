"""Where Redis is and how to log in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from redis._parsers.base import BaseParser

from outbox_operator.adapters.redis.errors import said, translate
from outbox_operator.adapters.redis.login import RedisLogin
from outbox_operator.errors import CredentialsError, OutboxError, SpecError
from outbox_operator.wire.config import RedisConfig

_PARSE: Callable[[str], Exception] = BaseParser.parse_error


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
    ("text", "reason", "part"),
    [
        ("NOPERM this user has no permissions", "PermissionDenied", "may not"),
        ("WRONGPASS invalid username-password pair", "CredentialsRejected", "refused"),
        ("WRONGTYPE Operation against a key", "StreamRefused", "other than a stream"),
        ("OOM command not allowed when used memory", "StreamRefused", "raise maxmemory"),
        ("READONLY You can't write", "StreamRefused", "does not take writes"),
        ("MOVED 866 10.0.0.7:6379", "StreamRefused", "does not take writes (MOVED 866 10.0.0.7"),
        ("CLUSTERDOWN Hash slot not served", "StreamRefused", "does not take writes"),
        (
            "ERR ACL failure in script: User a may not run 'xadd'",
            "PermissionDenied",
            "",
        ),
        (
            "The user executing the script can't run this command or subcommand script: 75cc",
            "PermissionDenied",
            "may not",
        ),
        ("ERR unknown command 'AUTH', with args beginning with: 'a' 's3cret'", "StreamRefused", ""),
    ],
)
def test_errors_of_the_server(text: str, reason: str, part: str) -> None:
    # As the driver hands it on, which takes away the codes that it knows.
    error: OutboxError = translate(said(_PARSE(text)), "redis://r", "ask")
    assert error.reason == reason
    assert part in error.message
    assert "s3cret" not in error.message
