"""Where Redis is and how to log in, as a value; and what becomes of it for the driver."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from outbox_operator.adapters.login_files import read_login_file
from outbox_operator.adapters.network import as_seen_in, can_be_host
from outbox_operator.adapters.tls import login_context, system_context
from outbox_operator.errors import SpecError
from outbox_operator.wire.config import RedisConfig

_SCHEMES: Final = ("redis", "rediss")
_PORT: Final = 6379


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisLogin:
    """Where Redis is and how to log in; equal values may share a connection.

    Attributes:
        url: `redis://host[:port][/database]`, or `rediss://` for TLS, without credentials.
        ca_pem: Authorities that sign the server; None trusts the system's.
        cert_pem: Client certificate; needs `key_pem`.
    """

    url: str
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca_pem: str | None = field(default=None, repr=False)
    cert_pem: str | None = field(default=None, repr=False)
    key_pem: str | None = field(default=None, repr=False)

    @classmethod
    def from_files(cls, config: RedisConfig) -> RedisLogin:
        """Read the files a pod's configuration names.

        Raises:
            CredentialsError: A file is missing or unreadable; names the file, not its content.
        """
        return cls(
            url=config.url,
            username=_read(config.username_file),
            password=_read(config.password_file),
            ca_pem=_read(config.ca_file),
            cert_pem=_read(config.cert_file),
            key_pem=_read(config.key_file),
        )

    @property
    def address(self) -> str:
        """Where it is without anything secret; for messages and logs."""
        scheme = f"{self.url.partition('://')[0]}://" if "://" in self.url else ""
        return f"{scheme}{self.url.removeprefix(scheme).rpartition('@')[2]}"

    def within(self, namespace: str) -> RedisLogin:
        """As pods of a namespace see it, see `as_seen_in`.

        Raises:
            SpecError: The URL is malformed.
        """
        host, port, database = self.server()
        host = as_seen_in(namespace, host)
        scheme = self.url.partition("://")[0]
        place = f"[{host}]" if ":" in host else host
        return replace(
            self, url=f"{scheme}://{place}:{port}" + (f"/{database}" if database else "")
        )

    def server(self) -> tuple[str, int, int]:
        """Host, port and number of the database.

        Raises:
            SpecError: The URL is malformed, or holds a login.
        """
        wanted = "wanted redis://host:port, for example redis://redis.redis:6379/0"
        try:
            parts = urlsplit(self.url)
            host, path = parts.hostname or "", parts.path.strip("/")
            port = _PORT if parts.port is None else parts.port
            database = int(path or "0")
        except ValueError as error:
            raise SpecError(
                f"Redis at {self.address}: not the URL of a server; {wanted}"
            ) from error
        named = can_be_host(host) and port > 0
        if parts.scheme not in _SCHEMES or not named or parts.query or database < 0:
            raise SpecError(f"Redis at {self.address}: not the URL of a server; {wanted}")
        if parts.username is not None or parts.password is not None:
            raise SpecError(f"Redis at {self.address}: the URL holds a login; put it into a Secret")
        return host, port, database

    def tls_context(self) -> ssl.SSLContext | None:
        """What a connection is secured with; None: it is in clear text.

        Raises:
            CredentialsError: Certificate, key or authority is malformed.
            SpecError: There is one, and the URL asks for clear text.
        """
        if not self.url.startswith("rediss://"):
            if self.ca_pem is not None or self.cert_pem is not None:
                raise SpecError(
                    f"Redis at {self.address}: an authority or a certificate needs rediss://"
                )
            return None
        if self.ca_pem is None and self.cert_pem is None:
            return system_context()
        return login_context(
            f"Redis at {self.address}",
            ca_pem=self.ca_pem, cert_pem=self.cert_pem, key_pem=self.key_pem,
        )  # fmt: skip


def _read(path: str | None) -> str | None:
    return None if path is None else read_login_file(path, "Redis")
