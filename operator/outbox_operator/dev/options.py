"""What a person asks `outbox dev` for, and what it calls the files of its folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

RUN_FOLDER: Final = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person asked for.

    Attributes:
        folder: Where servers keep their data, and logs and configurations go.
        database_url: Of a database to use instead of an embedded one.
        nats_url: Of a server to use instead of an embedded one.
        redis_url: The same, where a pipeline publishes to Redis.
        endpoints: URLs that replace those of HTTP handlers, by the name of the consumer.
        printed: Whether all other HTTP handlers are replaced by one that prints the events.
        sources: Folder of the code of Python handlers, which begin anew when a file in it is saved;
            None: they do not.
        manifests: Files that are applied anew when they are saved.
    """

    folder: Path
    database_url: str | None = None
    nats_url: str | None = None
    redis_url: str | None = None
    endpoints: dict[str, str] = field(default_factory=dict)
    printed: bool = False
    sources: Path | None = None
    manifests: tuple[Path, ...] = ()
