"""JSON Schema, checked by the library that others use for it."""

from __future__ import annotations

from typing import Any


def validate(document: Any, schema: dict[str, Any], *, formats: bool = False) -> None:
    """Raise what says how a document differs from its schema, or a schema from its dialect's.

    Args:
        document: What is told by the schema.
        schema: Its dialect is the one that it names, else the newest.
        formats: Whether texts have to be of the formats that it names, which few readers ask.
    """
    # Its import takes a second for grammars of formats, which each worker that collects would pay.
    import jsonschema

    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER if formats else None
    jsonschema.validate(document, schema, format_checker=checker)
