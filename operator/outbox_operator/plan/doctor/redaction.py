"""What of a cluster may be shown to strangers: no secret, no payload, no key of an event. Pure.

What is not known to be harmless is left out: of objects what people write freely (environment,
arguments, headers, annotations of others), of logs the lines of other programs, of the lines about
an event what came of its handler. Names, addresses, numbers, conditions and reasons stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.telemetry.logging import redact

HIDDEN: Final = "***"
LONGEST_LINE: Final = 4000
_HTTP: Final = re.compile(r"(?i)\b(https?://)(?:[^/\s@\"']*@)?([^/\s\"'?#,;]+)[^\s\"',;]*")
"""Tokens stand in queries and, of webhooks, in paths."""
_FREE: Final = frozenset(
    {
        "args", "binaryData", "command", "data", "env", "envFrom", "headers", "httpHeaders", "keys",
        "managedFields", "parameters", "stringData", "volumeAttributes",
    }
)  # fmt: skip
"""Fields that hold what people write freely."""
_OURS: Final = (f"{meta.GROUP}/", "deployment.kubernetes.io/")
_LOGGER: Final = "outbox_operator"
_LINE: Final = ("time", "level", "logger", "role", "message", "reason", "object", "reconcile_id",
                "event_id", "deliveries", "sequence", "stream", "durable", "shard", "position",
                "address", "trigger", "seconds", "health_port", "server", "namespaces")  # fmt: skip
"""Fields of a log line that are kept."""


def text(found: str) -> str:
    """A text without logins, and without paths and queries of web addresses."""
    return redact(_HTTP.sub(rf"\1\2/{HIDDEN}", found))


def body(found: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what may hold a secret; the shape stays."""
    shown = _mapping(found)
    metadata = shown.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("annotations"), dict):
        metadata["annotations"] = {
            name: value if name.startswith(_OURS) else HIDDEN
            for name, value in metadata["annotations"].items()
        }
    return shown


def _mapping(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(key): _hidden(value) if key in _FREE else _any(value) for key, value in found.items()
    }


def _any(found: Any) -> Any:
    if isinstance(found, Mapping):
        return _mapping(found)
    if isinstance(found, list | tuple):
        return [_any(one) for one in found]
    return text(found) if isinstance(found, str) else found


def _hidden(found: Any) -> Any:
    """Names stay; what they stand for does not. References to Secrets are names, too."""
    if isinstance(found, Mapping):
        return dict.fromkeys(map(str, found), HIDDEN)
    if not isinstance(found, list | tuple):
        return HIDDEN
    return [
        {"name": str(one["name"]), "value": HIDDEN}
        if isinstance(one, Mapping) and "name" in one
        else HIDDEN
        for one in found
    ]


def log_lines(lines: Iterable[str]) -> tuple[list[str], int]:
    """Lines of our own programs, and how many others there were."""
    kept, others = [], 0
    for line in lines:
        shown = _line(line)
        if shown is None:
            others += 1
        else:
            kept.append(shown)
    return kept, others


def _line(line: str) -> str | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not str(found.get("logger", "")).startswith(_LOGGER):
        return None
    shown = {name: _any(found[name]) for name in _LINE if name in found}
    if "event_id" in found and "message" in shown:
        # Behind the first colon stands what a handler or a server said about it.
        shown["message"] = str(shown["message"]).partition(": ")[0]
    whole = json.dumps(shown, ensure_ascii=False)
    return whole if len(whole) <= LONGEST_LINE else None
