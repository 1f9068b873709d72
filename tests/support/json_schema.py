"""JSON Schema, checked by the library that others use for it."""

from __future__ import annotations

from typing import Any


def validate(document: Any, schema: dict[str, Any]) -> None:
    """Raise what says how a document differs from its schema, or a schema from its dialect's.

    The dialect is the one that the schema names, else the newest.
    """
    # Its import takes a second for grammars of formats, which each worker that collects would pay.
    import jsonschema

    jsonschema.validate(document, schema)
