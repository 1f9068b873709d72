"""Load and check the configuration of an archive.

Called by `outbox archive`. Reads one file and nothing else.
"""

from __future__ import annotations

from outbox_operator import documents
from outbox_operator.errors import SpecError
from outbox_operator.wire.archive import SHORTEST_LOG_KEEP_SECONDS, ArchiveConfig


def load(path: str | None = None) -> ArchiveConfig:
    """Read the configuration in a file.

    Args:
        path: Default: the environment variable `OUTBOX_CONFIG`.

    Raises:
        SpecError: The variable is not set, the file cannot be read, or it is not a
            configuration; names each field with what is wrong.
    """
    text, name = documents.read(path, "archive")
    return parse(text, where=name)


def parse(text: bytes | str, *, where: str) -> ArchiveConfig:
    """Read the configuration in a JSON document; `where` is its name, for messages.

    Raises:
        SpecError: It is not a configuration; names each field with what is wrong.
    """
    config = documents.parse(ArchiveConfig, text, where)
    for name, lowest, highest in (
        ("batch_events", 1, 20_000),
        ("batch_bytes", 64 * 1024, 256 * 1024 * 1024),
        ("batch_seconds", 0.0, 10.0),
        ("duplicate_window_seconds", 0.0, 30 * 86_400.0),
        ("drain_seconds", 0.0, 3600.0),
        ("log_keep_seconds", SHORTEST_LOG_KEEP_SECONDS, 100 * 366 * 86_400.0),
    ):
        value = getattr(config, name)
        if not lowest <= value <= highest:
            raise SpecError(
                f"configuration {where}: {name}: wanted {lowest} to {highest}, found {value}"
            )
    for name, lowest, highest in (("every_seconds", 1.0, 86_400.0), ("after_seconds", 0.0, 3600.0)):
        value = lowest if config.sealing is None else getattr(config.sealing, name)
        if not lowest <= value <= highest:
            raise SpecError(
                f"configuration {where}: sealing.{name}: wanted {lowest} to {highest}, "
                f"found {value}"
            )
    if config.migration is not None and config.migration.schema != config.database.schema:
        raise SpecError(
            f"configuration {where}: migration.schema: wanted that of database, "
            f"{config.database.schema!r}, found {config.migration.schema!r}"
        )
    return config
