"""Configuration of a relay process, checked before anything else happens.

Called by `relay.app`. Reads one JSON file; secrets are files that the configuration names and
are read where they are used, so that a rotated Secret is seen at the next connection.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from outbox_operator import documents
from outbox_operator.errors import SpecError
from outbox_operator.wire.config import RelayConfig
from outbox_operator.wire.headers import encode_value
from outbox_operator.wire.subjects import SubjectTemplate


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked configuration.

    Attributes:
        config: As the controller wrote it.
        template: The parsed `config.subject`.
        owner: How this process names itself in the cursor: host name and process id.
        application_name: How its connections name themselves to both servers.
        source: `Ce-Source` of every event.
    """

    config: RelayConfig
    template: SubjectTemplate
    owner: str
    application_name: str
    source: str


def load(path: str | None = None) -> Settings:
    """Read and check the configuration file.

    Args:
        path: Default: the environment variable `OUTBOX_CONFIG`.

    Raises:
        SpecError: Names the file, the field, what is wanted and found.
    """
    return parse(*documents.read(path, "relay"))


def parse(text: str | bytes, name: str = "configuration") -> Settings:
    """Check the text of a configuration. Raises SpecError; `name` is for its messages."""
    config = documents.parse(RelayConfig, text, name)
    _check(config, name)
    return Settings(
        config=config,
        template=SubjectTemplate.parse(config.subject),
        application_name=f"outbox-relay {config.namespace}/{config.pipeline}",
        owner=f"{socket.gethostname()}/{os.getpid()}",
        source=encode_value(f"/{config.namespace}/{config.pipeline}"),
    )


def _check(config: RelayConfig, name: str) -> None:
    for field, wanted, fine in (
        ("poll_min_seconds", "above 0", config.poll_min_seconds > 0),
        (
            "poll_max_seconds",
            "at least poll_min_seconds",
            config.poll_max_seconds >= config.poll_min_seconds,
        ),
        ("publish_window", "at least 1", config.publish_window >= 1),
        ("drain_seconds", "above 0", config.drain_seconds > 0),
        ("shards", "at least 1", config.shards >= 1),
    ):
        if not fine:
            raise SpecError(
                f"configuration {name}: {field}: wanted {wanted}, found {getattr(config, field)}"
            )
    template = SubjectTemplate.parse(config.subject)
    if config.shards > 1 and config.ordering == "PerKey" and not template.separates_shards():
        raise SpecError(
            f"configuration {name}: subject: with {config.shards} shards in order, {{shard}} must "
            f"be a token of its own before {{event_type}} and {{routing_key}}, found "
            f"{config.subject!r}"
        )
