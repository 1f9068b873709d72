"""How to log in to a PostgreSQL database: what pipelines, inboxes and archives share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from outbox_operator.api import patterns
from outbox_operator.api.fields import (
    ApiModel,
    SecretKey,
    SecretKeyRef,
    SecretName,
    cel,
    model_rules,
)

PostgresTlsMode = Literal["Disable", "Prefer", "Require", "VerifyCa", "VerifyFull"]


class LoginSecretRef(ApiModel):
    """A Secret that holds a connection URL, or the parts of a login.

    Without `key` it is read as database operators write it: `url`, else `uri`, else the parts.
    """

    name: SecretName = Field(description="Name of the Secret, in the namespace of this resource.")
    key: SecretKey | None = Field(
        default=None,
        description="Key in the Secret's data that holds a URL such as "
        "postgresql://user:password@host:5432/database?sslmode=verify-full. Default: url, else "
        "uri, else the parts host, port, dbname, username and password, each as far as it is "
        "there; what is missing is taken from host, port and name beside this reference.",
    )


class PostgresTls(ApiModel):
    """TLS towards PostgreSQL. Wins over `sslmode` in the URL."""

    model_config = model_rules(
        cel(
            "has(self.certSecretRef) == has(self.keySecretRef)",
            "set certSecretRef and keySecretRef together",
        ),
        cel(
            "self.mode != 'Disable' || !(has(self.caSecretRef) || has(self.certSecretRef))",
            "mode Disable uses no certificates; remove them, or use VerifyFull",
        ),
    )

    mode: PostgresTlsMode = Field(
        default="VerifyFull",
        description="As sslmode of libpq: VerifyFull proves the server and its name.",
    )
    caSecretRef: SecretKeyRef | None = Field(
        default=None,
        description="PEM bundle of the authorities that sign the server; default: the system's.",
    )
    certSecretRef: SecretKeyRef | None = Field(
        default=None, description="PEM client certificate, for login by certificate."
    )
    keySecretRef: SecretKeyRef | None = Field(
        default=None, description="PEM private key of the client certificate, not encrypted."
    )


class PostgresConnection(ApiModel):
    """Where a database is and how to log in."""

    connectionSecretRef: LoginSecretRef = Field(description="The login.")
    host: str | None = Field(
        default=None, min_length=1, max_length=1024, pattern=patterns.DATABASE_HOSTS,
        description="Host name or address, or several separated by commas, where the Secret names "
        "none.",
    )  # fmt: skip
    port: int | None = Field(
        default=None, ge=1, le=65535, description="Port, where the Secret names none; else 5432."
    )
    name: str | None = Field(
        default=None, min_length=1, max_length=63,
        description="Name of the database, where the Secret names none.",
    )  # fmt: skip
    tls: PostgresTls | None = Field(
        default=None, description="TLS by reference to Secrets; default: what the URL says."
    )


class MigratedConnection(PostgresConnection):
    """A database with a role that uses our tables and perhaps another that makes them."""

    migrationSecretRef: LoginSecretRef | None = Field(
        default=None,
        description="The login that may run DDL; default: connectionSecretRef.",
    )
    migrationTls: PostgresTls | None = Field(
        default=None,
        description="TLS of that login, for one by another client certificate; default: tls.",
    )
