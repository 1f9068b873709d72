"""Where NATS is and how to log in, as a value; and what becomes of it for the driver.

Made by the controller from Secrets and by the pods from the files of their configuration.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

import nkeys

from outbox_operator.adapters.login_files import read_login_file
from outbox_operator.adapters.network import as_seen_in, can_be_host
from outbox_operator.adapters.tls import login_context, system_context
from outbox_operator.errors import CredentialsError, SpecError
from outbox_operator.wire.config import NatsConfig

_SCHEMES: Final = ("nats", "tls", "ws", "wss")
_CREDS_MARKS: Final = ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsAuth:
    """Where NATS is and how to log in; equal values may share a connection.

    Attributes:
        url: One or more server URLs, comma-separated, without credentials.
        creds: Text of a `.creds` file.
        nkey_seed: NKey seed.
        ca_pem: Authorities that sign the server; None trusts the system's.
        cert_pem: Client certificate; needs `key_pem`.
        domain: JetStream domain, or None.
    """

    url: str
    creds: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    nkey_seed: str | None = field(default=None, repr=False)
    ca_pem: str | None = field(default=None, repr=False)
    cert_pem: str | None = field(default=None, repr=False)
    key_pem: str | None = field(default=None, repr=False)
    tls_handshake_first: bool = False
    domain: str | None = None

    @classmethod
    def from_files(cls, config: NatsConfig) -> NatsAuth:
        """Read the files a pod's configuration names.

        Raises:
            CredentialsError: A file is missing or unreadable; names the file, not its content.
        """
        return cls(
            url=config.url,
            creds=_read(config.creds_file),
            username=_read(config.username_file),
            password=_read(config.password_file),
            token=_read(config.token_file),
            nkey_seed=_read(config.nkey_file),
            ca_pem=_read(config.ca_file),
            cert_pem=_read(config.cert_file),
            key_pem=_read(config.key_file),
            tls_handshake_first=config.tls_handshake_first,
            domain=config.domain,
        )

    @property
    def servers(self) -> list[str]:
        """The URLs one by one."""
        return [url.strip() for url in self.url.split(",") if url.strip()]

    @property
    def address(self) -> str:
        """The URLs without anything secret; for messages and logs."""
        return ",".join(_without_userinfo(url) for url in self.servers)

    def within(self, namespace: str) -> NatsAuth:
        """As pods of a namespace see it, see `as_seen_in`.

        Raises:
            SpecError: A URL is malformed.
        """
        self.check_servers()
        return replace(self, url=",".join(_within(namespace, url) for url in self.servers))

    def is_same_user(self, other: NatsAuth) -> bool:
        """Whether another login is of the same user, as far as logins tell."""
        return replace(self, url="", password=None) == replace(other, url="", password=None)

    @property
    def wants_tls(self) -> bool:
        """Whether a connection in clear text would betray what was asked for."""
        return (
            self.ca_pem is not None
            or self.cert_pem is not None
            or self.tls_handshake_first
            or any(url.startswith("tls://") for url in self.servers)
        )

    @property
    def kind(self) -> str:
        """What we log in with, for messages."""
        if self.creds:
            return "credentials file (JWT and seed)"
        if self.nkey_seed:
            return "NKey seed"
        if self.token:
            return "token"
        if self.username or self.password:
            return "user name and password"
        if self.cert_pem:
            return "client certificate"
        return "login without credentials"

    def check(self) -> None:
        """Refuse what the driver cannot parse; on a malformed file it would loop for ever.

        Raises:
            CredentialsError: See above.
            SpecError: A URL is malformed.
        """
        self.check_servers()
        malformed = CredentialsError(f"NATS at {self.address}: the {self.kind} is malformed")
        if self.creds and not all(mark in self.creds for mark in _CREDS_MARKS):
            raise malformed
        if self.nkey_seed:
            try:
                nkeys.from_seed(bytearray(self.nkey_seed.encode())).wipe()  # type: ignore[no-untyped-call]
            except (nkeys.NkeysError, ValueError) as error:
                raise malformed from error

    def check_servers(self) -> None:
        """Refuse what is not the URL of a server.

        Raises:
            SpecError: One is malformed.
        """
        for url in self.servers or [""]:
            try:
                parts = urlsplit(url)
                # The port is looked at when it is read.
                is_one = (
                    parts.scheme in _SCHEMES and parts.port != 0 and can_be_host(parts.hostname)
                )
            except ValueError:
                is_one = False
            if not is_one:
                raise SpecError(
                    f"NATS at {_without_userinfo(url)}: not the URL of a server; "
                    "wanted nats://host:port, for example nats://nats.nats:4222"
                )

    def tls_context(self) -> ssl.SSLContext | None:
        """What a connection is secured with; None: it may be in clear text.

        Raises:
            CredentialsError: Certificate, key or authority is malformed.
        """
        if not self.wants_tls:
            return None
        if self.ca_pem is None and self.cert_pem is None:
            return system_context()
        return login_context(
            f"NATS at {self.address}",
            ca_pem=self.ca_pem, cert_pem=self.cert_pem, key_pem=self.key_pem,
        )  # fmt: skip


def _read(path: str | None) -> str | None:
    return None if path is None else read_login_file(path, "NATS")


def _without_userinfo(url: str) -> str:
    scheme = f"{url.partition('://')[0]}://" if "://" in url else ""
    return f"{scheme}{_place(url.removeprefix(scheme).rpartition('@')[2])}"


def _place(rest: str) -> str:
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _within(namespace: str, url: str) -> str:
    scheme, _, rest = url.partition("://")
    login, at, place = _place(rest).rpartition("@")
    if place.startswith("["):
        return url
    host, colon, port = place.partition(":")
    return f"{scheme}://{login}{at}{as_seen_in(namespace, host)}{colon}{port}"
