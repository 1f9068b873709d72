"""Where a database is and how to log in: what a connection URL says.

Used by `adapters.postgres` to connect, and by everybody who is given a URL.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from outbox_operator.errors import CredentialsError

_SCHEMES: Final = ("postgresql", "postgres")
SslMode: TypeAlias = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
_SSL_MODES: Final[tuple[SslMode, ...]] = get_args(SslMode)
_FILES: Final = ("sslrootcert", "sslcert", "sslkey")
_WITHOUT_EFFECT: Final = ("application_name", "connect_timeout")
"""Ours are better; harmless to find in a URL."""
_EXAMPLE: Final = "postgresql://user:password@host:5432/database?sslmode=verify-full"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresTarget:
    """Where a database is and how to log in. Its `repr` is safe to print.

    Attributes:
        hosts: Host and port, tried in order until one is a primary.
        sslmode: As in libpq.
        sslrootcert: File of authorities; None trusts the system's.
        sslcert: File of a client certificate; with `sslkey`.
    """

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    sslmode: SslMode = "prefer"
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None

    @property
    def address(self) -> str:
        """`host:port/database`: for messages and logs."""
        hosts = ",".join(f"{f'[{h}]' if ':' in h else h}:{port}" for h, port in self.hosts)
        return f"{hosts}/{self.database}"


def parse_url(text: str) -> PostgresTarget:
    """Read a connection URL.

    Raises:
        CredentialsError: Says what is wrong with it, and shows nothing of it.
    """
    try:
        parts = urlsplit(text.strip())
        query = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
        login, _, places = parts.netloc.rpartition("@")
        hosts = tuple(_host(place) for place in places.split(","))
    except ValueError:
        # The message of a ValueError may quote the URL, password and all.
        raise _malformed("it cannot be parsed") from None
    if parts.scheme not in _SCHEMES:
        raise _malformed("it must start with postgresql://")
    user, has_password, password = login.partition(":")
    database = unquote(parts.path.removeprefix("/"))
    for value, what in ((user, "user"), (database, "database"), (hosts[0][0], "host")):
        if not value:
            raise _malformed(f"it names no {what}")
    unknown = sorted(query.keys() - {"sslmode", *_FILES, *_WITHOUT_EFFECT})
    if unknown:
        raise _malformed(f"parameter {', '.join(unknown)} is not supported; remove it")
    wanted = query.get("sslmode", "prefer")
    sslmode = next((mode for mode in _SSL_MODES if mode == wanted), None)
    if sslmode is None:
        raise _malformed(f"sslmode must be one of {', '.join(_SSL_MODES)}")
    return PostgresTarget(
        hosts=hosts,
        database=database,
        user=unquote(user),
        password=unquote(password) if has_password else None,
        sslmode=sslmode,
        **{name: query[name] for name in _FILES if query.get(name)},
    )


def _host(place: str) -> tuple[str, int]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("bracket")
        port = rest[1:]
    else:
        host, _, port = place.partition(":")
    number = int(port) if port else 5432
    if not 0 < number < 65536:
        raise ValueError("port")
    return unquote(host), number


def _malformed(problem: str) -> CredentialsError:
    return CredentialsError(
        f"the connection URL is malformed: {problem}; wanted for example {_EXAMPLE}"
    )


def tls(target: PostgresTarget) -> ssl.SSLContext | SslMode:
    """What the driver is to make of `sslmode` and the files beside it.

    Raises:
        CredentialsError: A file cannot be used.
    """
    if target.sslmode in ("disable", "allow", "prefer") and not target.sslcert:
        return target.sslmode
    try:
        if target.sslmode.startswith("verify") or target.sslrootcert:
            context = ssl.create_default_context(cafile=target.sslrootcert)
            context.check_hostname = target.sslmode == "verify-full"
        else:
            # `require` asks for encryption, not for proof of who is there; so says libpq too.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if target.sslcert:
            context.load_cert_chain(target.sslcert, target.sslkey)
    except OSError as error:
        names = ", ".join(name for name in _FILES if getattr(target, name))
        raise CredentialsError(
            f"PostgreSQL at {target.address}: the files of {names} in the connection URL "
            f"cannot be used: {error.strerror or type(error).__name__}"
        ) from error
    return context
