"""Where a database is and how to log in: what a Secret and a resource say about it.

Used by `adapters.postgres` to connect, and by everybody who is given a URL. What a URL holds may
come from anybody who can write a Secret: it never names a file, a socket or a setting of this
process, and nothing is taken from the environment in its place.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from outbox_operator.adapters.login_files import read_login_file
from outbox_operator.adapters.network import as_seen_in
from outbox_operator.adapters.postgres.url_parameters import malformed, read_parameters
from outbox_operator.adapters.tls import login_context, system_context
from outbox_operator.errors import CredentialsError
from outbox_operator.reasons import Reason
from outbox_operator.wire.config import DatabaseConfig, SslMode

_SCHEME: Final = re.compile(r"postgres(ql)?(\+[a-z0-9_]{1,32})?")
"""With the driver that SQLAlchemy's URLs name."""
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9._-]{1,32})?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
MOST_BYTES: Final = 8192
"""Of a URL or one part of a login."""
MOST_HOSTS: Final = 16
_MOST_HOST: Final = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What is said about a database, as texts that nobody has looked at yet.

    Attributes:
        url: Connection URL; what it leaves out is taken from the rest.
        host: One or more, comma-separated, each with an optional port.
        tls_mode: Wins over `sslmode` in the URL.
        ca_pem: Authorities that sign the server; None trusts the system's.
        cert_pem: Client certificate; needs `key_pem`.
    """

    url: str | None = field(default=None, repr=False)
    host: str | None = None
    port: str | None = None
    database: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_mode: SslMode | None = None
    ca_pem: str | None = field(default=None, repr=False)
    cert_pem: str | None = field(default=None, repr=False)
    key_pem: str | None = field(default=None, repr=False)

    @classmethod
    def from_files(cls, config: DatabaseConfig) -> Login:
        """Read the files that a pod's configuration names.

        Raises:
            CredentialsError: A file is missing or unreadable; names the file, not its content.
        """
        found: dict[str, str] = {}
        if config.url_file is not None:
            found["url"] = _read(Path(config.url_file))
        elif config.login_directory is not None:
            place = Path(config.login_directory)
            names = chosen_keys([name for name in LOGIN_KEYS if (place / name).exists()])
            found = from_keys({name: _read(place / name) for name in names})
        tls = {"ca_pem": config.ca_file, "cert_pem": config.cert_file, "key_pem": config.key_file}
        found |= {name: _read(Path(path)) for name, path in tls.items() if path is not None}
        return cls(
            **{"host": config.host, "port": config.port, "database": config.name, **found},
            tls_mode=config.tls_mode,
        )


LOGIN_KEYS: Final = {
    "url": "url",
    "uri": "url",
    "host": "host",
    "port": "port",
    "dbname": "database",
    "username": "user",
    "password": "password",
}
"""Keys of a Secret, as database operators name them, and what of a `Login` they hold."""


def chosen_keys(names: Collection[str]) -> list[str]:
    """Which keys of a Secret make a login: `url` wins over `uri`, a URL over parts."""
    urls = [key for key in ("url", "uri") if key in names]
    return urls[:1] or [key for key in LOGIN_KEYS if key in names]


def from_keys(texts: Mapping[str, str]) -> dict[str, str]:
    """Arguments of a `Login` from the texts of chosen keys."""
    return {LOGIN_KEYS[key]: text for key, text in texts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresTarget:
    """Where a database is and how to log in. Its `repr` is safe to print.

    Attributes:
        hosts: Host and port, tried in order until one is a primary.
        sslmode: As in libpq.
        ca_pem: Authorities that sign the server; None trusts the system's.
        cert_pem: Client certificate; with `key_pem`.
        settings: Of the session, from `options` of the URL.
    """

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    sslmode: SslMode = "prefer"
    ca_pem: str | None = field(default=None, repr=False)
    cert_pem: str | None = field(default=None, repr=False)
    key_pem: str | None = field(default=None, repr=False)
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> str:
        """`host:port/database`: for messages and logs."""
        hosts = ",".join(f"{f'[{h}]' if ':' in h else h}:{port}" for h, port in self.hosts)
        return f"{hosts}/{self.database}"

    def within(self, namespace: str) -> PostgresTarget:
        """As pods of a namespace see it, see `as_seen_in`."""
        hosts = tuple((as_seen_in(namespace, host), port) for host, port in self.hosts)
        return replace(self, hosts=hosts)


def parse_url(text: str) -> PostgresTarget:
    """Read a connection URL. Raises CredentialsError, see `resolve`."""
    return resolve(Login(url=text))


def resolve(login: Login) -> PostgresTarget:
    """Make a target of what is said about a database.

    Raises:
        CredentialsError: Says what is wrong with it, and shows nothing of it (InvalidSecret).
    """
    url = _Url() if login.url is None else _split(login.url)
    user, database = url.user or login.user, url.database or login.database
    hosts = url.hosts or _hosts(login.host or "", login.port)
    for value, what in ((user, "user"), (database, "database"), (hosts, "host")):
        if not value and login.url is not None:
            _refuse(f"it names no {what}")
        elif not value:
            raise CredentialsError(
                f"the login names no {what}; add it to the Secret, or host, port and name beside "
                "the reference to it",
                reason=Reason.INVALID_SECRET,
            )
    password = login.password if url.password is None else url.password
    for value, what in ((user, "user"), (database, "database"), (password, "password")):
        if value and (_CONTROL.search(value) or len(value) > MOST_BYTES):
            _refuse(f"the {what} holds control characters or is over {MOST_BYTES} bytes")
    if (login.cert_pem is None) != (login.key_pem is None):
        _refuse("a client certificate and its key belong together")
    by_reference: SslMode | None = "verify-full" if login.ca_pem or login.cert_pem else None
    return PostgresTarget(
        hosts=hosts,
        database=database or "",
        user=user or "",
        password=password,
        sslmode=login.tls_mode or url.sslmode or by_reference or "prefer",
        ca_pem=login.ca_pem,
        cert_pem=login.cert_pem,
        key_pem=login.key_pem,
        settings=url.settings,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Url:
    """The parts of a URL; what it leaves out is empty or None."""

    hosts: tuple[tuple[str, int], ...] = ()
    database: str = ""
    user: str = ""
    password: str | None = None
    sslmode: SslMode | None = None
    settings: tuple[tuple[str, str], ...] = ()


def _split(text: str) -> _Url:
    if len(text) > MOST_BYTES:
        _refuse(f"it is over {MOST_BYTES} bytes")
    try:
        parts = urlsplit(text.strip())
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        login, _, places = parts.netloc.rpartition("@")
    except ValueError:
        # The message of a ValueError may quote the URL, password and all.
        raise malformed("it cannot be parsed") from None
    if not _SCHEME.fullmatch(parts.scheme):
        _refuse("it must start with postgresql://")
    sslmode, settings = read_parameters(query)
    user, has_password, password = login.partition(":")
    return _Url(
        hosts=_hosts(places, None),
        database=unquote(parts.path.removeprefix("/")),
        user=unquote(user),
        password=unquote(password) if has_password else None,
        sslmode=sslmode,
        settings=settings,
    )


def _hosts(places: str, port: str | None) -> tuple[tuple[str, int], ...]:
    if not places:
        return ()
    found = places.split(",")
    if len(found) > MOST_HOSTS:
        _refuse(f"it names over {MOST_HOSTS} hosts")
    return tuple(_host(place.strip(), port) for place in found)


def _host(place: str, default_port: str | None) -> tuple[str, int]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            _refuse("it cannot be parsed")
        port = rest[1:]
    elif place.count(":") > 1:
        host, port = place, ""
    else:
        host, _, port = place.partition(":")
    host = unquote(host)
    if not host:
        _refuse("it names no host")
    if host.startswith(("/", "@")):
        _refuse("it names a socket in the file system; a host name or an address is wanted")
    if not _is_host(host):
        _refuse("its host is no host name and no address")
    port = port or (default_port or "").strip() or "5432"
    if not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
        _refuse("its port is not a number from 1 to 65535")
    return host, int(port)


def _is_host(host: str) -> bool:
    if ":" in host:
        return _IPV6.fullmatch(host) is not None
    labels = host.removesuffix(".").split(".")
    return len(host) <= _MOST_HOST and all(_LABEL.fullmatch(label) for label in labels)


def _refuse(problem: str) -> NoReturn:
    raise malformed(problem)


def tls(target: PostgresTarget) -> ssl.SSLContext | SslMode:
    """What the driver is to make of `sslmode`, certificates and key.

    Raises:
        CredentialsError: A certificate, key or authority cannot be used (InvalidSecret).
    """
    if target.sslmode in ("disable", "allow", "prefer") and target.cert_pem is None:
        return target.sslmode
    verify_name = target.sslmode == "verify-full"
    # `require` asks for encryption, not for proof of who is there; so says libpq too.
    verify = target.sslmode.startswith("verify") or target.ca_pem is not None
    if target.ca_pem is None and target.cert_pem is None:
        return system_context(verify=verify, verify_name=verify_name)
    context = login_context(
        f"PostgreSQL at {target.address}",
        ca_pem=target.ca_pem, cert_pem=target.cert_pem, key_pem=target.key_pem,
    )  # fmt: skip
    context.check_hostname = verify_name
    if not verify:
        context.verify_mode = ssl.CERT_NONE
    return context


def _read(path: Path) -> str:
    return read_login_file(path, "database")
