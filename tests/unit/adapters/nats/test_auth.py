"""Where NATS is: what operator and pods make of a URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.postgres.url import Login
from outbox_operator.errors import SpecError
from outbox_operator.wire.config import DatabaseConfig, NatsConfig


@pytest.mark.parametrize(
    "url",
    [
        "nats://[::1",
        "nats://a..b:4222",
        f"nats://{'a' * 64}:4222",
        "nats://db:99999",
        "nats://db:abc",
        "nats://db:-1",
        "nats://db:0",
        "nats://:4222",
        "nats://a:b:c",
        "nats://fine:4222,nats://u:hunter2@db:99999",
    ],
)
def test_says_what_is_no_url_of_a_server(url: str) -> None:
    auth = NatsAuth(url=url)
    for looked_at in (auth.check, lambda: auth.within("shop")):
        with pytest.raises(SpecError, match="not the URL of a server") as caught:
            looked_at()
        assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("127.0.0.1:4222", "127.0.0.1:4222"),
        ("u:hunter2@nats:4222", "nats:4222"),
        ("nats://u:hunter2/x@nats:0/z", "nats://nats:0"),
        ("nats://u:hunter2://x@nats:0", "nats://nats:0"),
    ],
)
def test_shows_what_was_found_without_a_login(url: str, shown: str) -> None:
    with pytest.raises(SpecError) as caught:
        NatsAuth(url=url).check()
    assert caught.value.message == (
        f"NATS at {shown}: not the URL of a server; wanted nats://host:port, for example "
        "nats://nats.nats:4222"
    )


@pytest.mark.parametrize(
    "url", ["nats://nats", "tls://u:p@[::1]:4222", "nats://a.b:4222,nats://c", "nats://x_y-1:1/z"]
)
def test_takes_the_others(url: str) -> None:
    NatsAuth(url=url).check()


def test_a_bare_name_is_a_service_beside_the_pods() -> None:
    """The operator has another namespace, where the same name may be another server."""
    urls = (
        "nats://nats:4222", "tls://nats", "nats://u:p@nats:1", "nats://nats.other:4222",
        "nats://10.0.0.1:4222", "nats://[::1]:4222", "nats://localhost:4222",
    )  # fmt: skip
    assert NatsAuth(url=", ".join(urls)).within("shop").servers == [
        "nats://nats.shop.svc:4222", "tls://nats.shop.svc", "nats://u:p@nats.shop.svc:1",
        "nats://nats.other:4222", "nats://10.0.0.1:4222", "nats://[::1]:4222",
        "nats://localhost:4222",
    ]  # fmt: skip


@pytest.mark.parametrize("password", ["pw\u00a0", "\u3000pw", "pw\x1c", "a\rb"])
def test_pods_read_of_a_secret_what_the_operator_reads(tmp_path: Path, password: str) -> None:
    """Which takes spaces and ends of lines off, and no other space of Unicode."""
    file = tmp_path / "password"
    file.write_bytes(f" {password}\n".encode())
    config = NatsConfig(url="nats://a.b", password_file=str(file))
    assert NatsAuth.from_files(config).password == password
    login = Login.from_files(DatabaseConfig(login_directory=str(tmp_path)))
    assert login.password == password
