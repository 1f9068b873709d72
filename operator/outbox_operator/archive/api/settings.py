"""Load and check the configuration of a process that answers questions about an archive.

Called by `outbox archive serve`. Reads one file and nothing else.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from outbox_operator import documents
from outbox_operator.errors import SpecError
from outbox_operator.wire.archive_api import ArchiveApiConfig

_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


def load(path: str | None = None) -> ArchiveApiConfig:
    """Read the configuration in a file.

    Args:
        path: Default: the environment variable `OUTBOX_CONFIG`.

    Raises:
        SpecError: The variable is not set, the file cannot be read, or it is not a
            configuration; names each field with what is wrong.
    """
    text, name = documents.read(path, "archive's API")
    return parse(text, where=name)


def parse(text: bytes | str, *, where: str) -> ArchiveApiConfig:
    """Read the configuration in a JSON document; `where` is its name, for messages.

    Raises:
        SpecError: It is not a configuration; names each field with what is wrong.
    """
    config = documents.parse(ArchiveApiConfig, text, where)
    limits = config.limits
    for name, value, lowest, highest in (
        ("limits.page", limits.page, 1, 10_000),
        ("limits.statement_seconds", limits.statement_seconds, 0.1, 600.0),
        ("limits.report_seconds", limits.report_seconds, 0.1, 3600.0),
        ("limits.unindexed_days", limits.unindexed_days, 0.0, 36_600.0),
        ("limits.requests_per_second", limits.requests_per_second, 0.1, 1e6),
        ("limits.burst", limits.burst, 1, 1_000_000),
        ("limits.connections", limits.connections, 1, 200),
        ("limits.exports", limits.exports, 1, 100),
        ("jwt.leeway_seconds", config.jwt.leeway_seconds, 0.0, 300.0),
        ("drain_seconds", config.drain_seconds, 0.0, 3600.0),
    ):
        if not lowest <= value <= highest:
            raise SpecError(
                f"configuration {where}: {name}: wanted {lowest} to {highest}, found {value}"
            )
    for name, text_value in (
        ("jwt.issuer", config.jwt.issuer),
        ("jwt.audience", config.jwt.audience),
    ):
        if not text_value:
            raise SpecError(f"configuration {where}: {name}: wanted a text, found an empty one")
    if config.jwt.jwks_url is not None:
        _check_url(config.jwt.jwks_url, f"configuration {where}: jwt.jwks_url")
    if config.tenant_column is not None and config.tenant_column not in config.extracted:
        raise SpecError(
            f"configuration {where}: tenant_column: wanted one of extracted "
            f"({', '.join(config.extracted) or 'none'}), found {config.tenant_column!r}"
        )
    return config


def _check_url(url: str, where: str) -> None:
    """Whoever can change the keys on their way can sign every token."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
        if good and parts.hostname and not parts.username:
            return
    except ValueError:
        pass
    raise SpecError(f"{where}: wanted https://…, found something else")
