"""Reading connection URLs: what is taken, what is refused, and that nothing leaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from outbox_operator.adapters.postgres.url import (
    Login,
    PostgresTarget,
    chosen_keys,
    parse_url,
    resolve,
)
from outbox_operator.errors import CredentialsError
from outbox_operator.wire.config import DatabaseConfig


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
            " postgres://app@db/orders?sslmode=verify-full&sslrootcert=system\n",
            PostgresTarget(
                hosts=(("db", 5432),), database="orders", user="app", sslmode="verify-full",
            ),
            "db:5432/orders",
        ),
        (
            # As Python's libraries write it, with what other drivers need.
            "postgresql+asyncpg://app:pw@db/orders?ssl=require&channel_binding=prefer"
            "&target_session_attrs=read-write&gssencmode=disable&keepalives_idle=30",
            PostgresTarget(
                hosts=(("db", 5432),), database="orders", user="app", password="pw",
                sslmode="require",
            ),
            "db:5432/orders",
        ),
        (
            "postgresql://app@db/o?options=-c%20search_path%3Dshop%5C%20eu%20--TimeZone%3DUTC",
            PostgresTarget(
                hosts=(("db", 5432),), database="o", user="app",
                settings=(("search_path", "shop eu"), ("timezone", "UTC")),
            ),
            "db:5432/o",
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
        ("host=h user=u password=hunter2", "postgresql://"),
        ("postgresql://h/hunter2", "names no user"),
        ("postgresql://u:hunter2@h", "names no database"),
        ("postgresql://u:hunter2@/d", "names no host"),
        ("postgresql://u:hunter2@h:port/d", "port is not a number"),
        ("postgresql://u:hunter2@h:99999/d", "port is not a number"),
        ("postgresql://u:hunter2@h:1" + "0" * 5000 + "/d", "port is not a number"),
        ("postgresql://u:hunter2@[::1/d", "cannot be parsed"),
        ("postgresql://u:hunter2@h/d?sslmode", "cannot be parsed|sslmode must be"),
        ("postgresql://u:hunter2@h/d?sslmode=on", "sslmode must be one of disable"),
        ("postgresql://u:hunter2@h/d?options=-c%20x", "of the form -c name=value"),
        ("postgresql://u:hunter2@h/d?options=-c%20role%3Dhunter2", "may set .* found role"),
        ("postgresql://u@h/d?options=-c%20session_preload_libraries%3Dx", "ALTER ROLE"),
        ("postgresql://u@h/d?sslmode=verify-full&sslrootcert=/proc/self/fd/1", "caSecretRef"),
        ("postgresql://u@h/d?sslcert=/etc/passwd", "certSecretRef"),
        ("postgresql://u@h/d?sslkey=/etc/shadow", "keySecretRef"),
        ("postgresql://u@h/d?sslcrl=/dev/zero", "names a file"),
        ("postgresql://u@h/d?passfile=/root/.pgpass", "taken from a machine"),
        ("postgresql://u@h/d?service=prod", "taken from a machine"),
        ("postgresql://u@h/d?host=/var/run/postgresql", "parameter host is not supported"),
        ("postgresql://u@h/d?target_session_attrs=standby", "the outbox is written"),
        ("postgresql://u@h/d?channel_binding=require", "VerifyFull"),
        ("postgresql://u@h/d?hunter2%40x=1", "with a name that is none"),
        ("postgresql://u:hunter2@%2Fvar%2Frun%2Fpostgresql/d", "a socket"),
        ("postgresql://u:hunter2@%40abstract/d", "a socket"),
        ("postgresql://u:hunter2@a..b/d", "no host name"),
        ("postgresql://u:hunter2@" + "a" * 64 + "/d", "no host name"),
        ("postgresql://u:hunter2@" + ",".join(["h"] * 17) + "/d", "over 16 hosts"),
        ("postgresql://u:hunter2@h%00x/d", "no host name"),
        ("postgresql://u%00replication%00true:hunter2@h/d", "the user holds control characters"),
        ("postgresql://u:hunter2%00@h/d", "the password holds control characters"),
        ("postgresql://u:hunter2@h/d%0Ae", "the database holds control characters"),
        ("postgresql://u:hunter2@h/" + "d" * 9000, "over 8192 bytes"),
    ],
)
def test_refuses_without_showing_anything(url: str, problem: str) -> None:
    with pytest.raises(CredentialsError, match=problem) as caught:
        parse_url(url)
    assert caught.value.reason == "InvalidSecret"
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_target_may_be_printed() -> None:
    assert "hunter2" not in repr(parse_url("postgresql://u:hunter2@h/d"))


PARTS = Login(host="db", database="shop", user="app", password="hunter2")


@pytest.mark.parametrize(
    ("login", "target"),
    [
        (PARTS, PostgresTarget(
            hosts=(("db", 5432),), database="shop", user="app", password="hunter2")),
        (replace(PARTS, host="a,b:1,::1", port="7"), PostgresTarget(
            hosts=(("a", 7), ("b", 1), ("::1", 7)), database="shop", user="app",
            password="hunter2")),
        # What a URL leaves out.
        (replace(PARTS, url="postgresql://web@/"), PostgresTarget(
            hosts=(("db", 5432),), database="shop", user="web", password="hunter2")),
        # What a URL says wins, except over TLS by reference.
        (replace(PARTS, url="postgresql://w:p@h:1/d?sslmode=disable", tls_mode="verify-full",
                 ca_pem="ca"),
         PostgresTarget(hosts=(("h", 1),), database="d", user="w", password="p",
                        sslmode="verify-full", ca_pem="ca")),
        (replace(PARTS, url="postgresql://w:p@h:1/d?sslmode=require", ca_pem="ca"),
         PostgresTarget(hosts=(("h", 1),), database="d", user="w", password="p",
                        sslmode="require", ca_pem="ca")),
    ],
)  # fmt: skip
def test_a_login_in_parts(login: Login, target: PostgresTarget) -> None:
    assert resolve(login) == target
    assert "hunter2" not in repr(login)


@pytest.mark.parametrize(
    ("login", "problem"),
    [
        (replace(PARTS, user=None), "^the login names no user; add it to the Secret"),
        (replace(PARTS, database=None), "^the login names no database; .* name beside"),
        (replace(PARTS, host=None), "^the login names no host; .* host, port"),
        (replace(PARTS, host=None, url="postgresql:///"), "the connection URL .* names no host"),
        (replace(PARTS, host="/tmp"), "a socket"),
        (replace(PARTS, port="x"), "port"),
        (replace(PARTS, cert_pem="c"), "belong together"),
    ],
)
def test_parts_that_make_no_login(login: Login, problem: str) -> None:
    with pytest.raises(CredentialsError, match=problem):
        resolve(login)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["url", "uri", "host"], ["url"]),
        (["jdbc-uri", "uri", "username", "password", "host"], ["uri"]),
        (["username", "password", "pgpass"], ["username", "password"]),
        (["other"], []),
    ],
)
def test_keys_as_database_operators_write_them(names: list[str], chosen: list[str]) -> None:
    assert chosen_keys(names) == chosen


def test_a_bare_name_is_a_service_of_the_namespace() -> None:
    target = parse_url("postgresql://u@db,db.other,10.0.0.1,[::1],localhost/d").within("shop")
    assert [host for host, _ in target.hosts] == [
        "db.shop.svc", "db.other", "10.0.0.1", "::1", "localhost",
    ]  # fmt: skip


def test_a_login_comes_from_its_files(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://a:b@c/d\n")
    config = DatabaseConfig(url_file=str(file))
    assert Login.from_files(config).url == "postgresql://a:b@c/d"
    file.unlink()
    with pytest.raises(CredentialsError, match=str(file)):
        Login.from_files(config)
    directory = DatabaseConfig(login_directory=str(tmp_path), host="h", name="d")
    (tmp_path / "username").write_text("u")
    assert Login.from_files(directory) == Login(host="h", database="d", user="u")
