"""The configuration document of the process that answers questions about an archive, over HTTP.

As with the other roles: secrets never appear in it, each `*_file` is the path of a file that a
volume provides. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from outbox_operator.wire.archive import ArchiveDatabase
from outbox_operator.wire.config import HEALTH_PORT

_STRICT: Final[dict[str, Any]] = {"extra": "forbid"}

SEARCHED: Final = "searched"
"""View that events are found by words through."""
TEXTS: Final = "#texts"
"""Its column of words; no extracted one is called so."""
API_PORT: Final = 8090
"""Serves /v1/… and the page."""
TENANT_SETTING: Final = "outbox.tenant"
"""Of a transaction: whose events it may see."""
ALL_TENANTS_SETTING: Final = "outbox.all_tenants"
"""Of a transaction: `on`, it may see those of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtConfig:
    """Which tokens are believed. One of `jwks_url`, `jwks_file`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    issuer: str
    """What `iss` has to be."""
    audience: str
    """What `aud` has to be, or to hold."""
    jwks_url: str | None = None
    """Where the issuer publishes its keys: https, or http on this machine."""
    jwks_file: str | None = None
    """Holds the keys; read anew when it changes."""
    ca_file: str | None = None
    """Authorities that sign the server of `jwks_url`. None: the system's."""
    tenant_claim: str = "tenant"
    """Holds the tenant, where the archive has several."""
    leeway_seconds: float = 30.0
    """By how much clocks may differ."""

    def __post_init__(self) -> None:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("set exactly one of jwks_url and jwks_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """How much one question, one caller and all together may take."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    page: int = 1000
    """Events of one answer."""
    statement_seconds: float = 5.0
    """A question that takes longer is given up."""
    report_seconds: float = 30.0
    """The same for a report."""
    unindexed_days: float = 31.0
    """Of time that a question without a column that has an index may be about."""
    requests_per_second: float = 50.0
    """Of one caller, of one process."""
    burst: int = 100
    """That one caller may make at once."""
    connections: int = 8
    """To the database."""
    exports: int = 2
    """At a time; each has a connection of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveApiConfig:
    """Everything the process needs to know that answers questions about an archive."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    namespace: str
    consumer: str
    """Name of the EventConsumer, or what else the archive is called."""
    database: ArchiveDatabase
    """Login of a role that may read the archive and nothing else."""
    jwt: JwtConfig
    extracted: tuple[str, ...] = ()
    """Columns that the archive's rules extract."""
    tenant_column: str | None = None
    """One of them, which says whose an event is. None: every caller sees all events."""
    text_search: bool = False
    """Whether events may be asked for by words (`q`), as the archive's own `text_search` has it."""
    page: bool = True
    """Whether there is a page at `/`, for people. It asks for a token, as every question does."""
    limits: ApiLimits = field(default_factory=ApiLimits)
    drain_seconds: float = 25.0
    port: int = API_PORT
    health_port: int = HEALTH_PORT
