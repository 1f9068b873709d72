"""What OpenAPI says of each address. Pure."""

from __future__ import annotations

from typing import Any, Final

from outbox_operator.archive.api import asking, reporting
from outbox_operator.archive.api.asking import Parameter, Vocabulary
from outbox_operator.archive.api.problems import MEDIA_TYPE
from outbox_operator.archive.api.tokens import EVENTS_EXPORT, EVENTS_READ, REPORTS_READ
from outbox_operator.wire.archive import COLUMNS

_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "wanted", "found"],
                "properties": {
                    "field": {"type": "string"},
                    "wanted": {"type": "string"},
                    "found": {"type": "string"},
                },
            },
        },
    },
}
_PROBLEMS: Final = {
    400: "The question cannot be answered as it is: field, what was wanted, what was found.",
    401: "No token, or one that is not believed.",
    403: "The token does not allow it.",
    422: "It took too long.",
    429: "The caller asks too often.",
    503: "A server is away; ask again.",
}
_NULLABLE_TYPES: Final = {
    "bigint": "integer",
    "integer": "integer",
}
_ALWAYS: Final = ("class", "id", "type", "source", "subject", "stored_at", "occurred_at")


def events(vocabulary: Vocabulary) -> dict[str, Any]:
    """Of the list of events."""
    return _described(
        "Events, a page at a time.",
        (*vocabulary.filters(), *asking.PAGING),
        vocabulary,
        _page(vocabulary),
    )


def history(vocabulary: Vocabulary) -> dict[str, Any]:
    """Of the life of an entity."""
    parameters = (one for one in (*vocabulary.filters(), *asking.PAGING) if one.name != "key")
    return _described(
        "The life of an entity: all events of a key, in order.",
        tuple(parameters),
        vocabulary,
        _page(vocabulary),
    )


def event(vocabulary: Vocabulary) -> dict[str, Any]:
    """Of one event."""
    found = _described(
        "One event; of several with this id, the newest.",
        asking.PAGING[-1:],
        vocabulary,
        _event(vocabulary),
    )
    found["responses"][404] = _answer("There is no such event.", _PROBLEM, MEDIA_TYPE)
    return found


def export(vocabulary: Vocabulary) -> dict[str, Any]:
    """Of an export."""
    said = _described(
        "All events that are asked for, as a stream; the manifest is at `Location` once it ended.",
        (),
        vocabulary,
        {},
        scope=EVENTS_EXPORT,
    )
    said["responses"][200] = {
        "description": "The events, the oldest first unless `order` says otherwise.",
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        },
    }
    said["responses"][413] = _answer("The body is too large.", _PROBLEM, MEDIA_TYPE)
    names = (one.name for one in vocabulary.filters())
    texts = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    properties: dict[str, Any] = dict.fromkeys((*names, "order", "fields"), texts)
    properties |= {
        "format": {"type": "string", "enum": ["ndjson", "csv"], "default": "ndjson"},
        "moment": {
            "type": "string", "format": "date-time",
            "description": "`Outbox-Export-Moment` of an export to go on with, or to do again.",
        },
        "skip": {
            "type": "integer", "minimum": 0,
            "description": "Events of it that are there already; needs `moment`.",
        },
    }  # fmt: skip
    body = {"type": "object", "properties": properties, "additionalProperties": False}
    said["openapi_extra"]["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return said


def manifest() -> dict[str, Any]:
    """Of the manifest of an export."""
    texts = ("id", "began_at", "ended_at", "moment", "format", "sha256")
    properties: dict[str, Any] = {name: {"type": "string"} for name in texts}
    properties |= {name: {"type": "integer"} for name in ("skipped", "events", "bytes")}
    answer = {"type": "object", "properties": {**properties, "question": {"type": "object"}}}
    said = _described("What an export came to.", (), None, answer, scope=EVENTS_EXPORT)
    said["responses"][404] = _answer("No such export has ended.", _PROBLEM, MEDIA_TYPE)
    return said


def report(vocabulary: Vocabulary) -> dict[str, Any]:
    """Of a report."""
    parameters = (
        Parameter("interval", "Stretches of time that are counted by: hour, day, week, month."),
        Parameter("format", "json or csv."),
        *vocabulary.filters(),
    )
    row = {"type": "object"}
    answer = {
        "type": "object",
        "properties": {"report": {"type": "string"}, "rows": {"type": "array", "items": row}},
    }
    said = _described(
        f"A report: {', '.join(reporting.NAMES)}.", parameters, vocabulary, answer,
        scope=REPORTS_READ,
    )  # fmt: skip
    said["responses"][200]["content"]["text/csv"] = {"schema": {"type": "string"}}
    said["responses"][404] = _answer("There is no such report.", _PROBLEM, MEDIA_TYPE)
    return said


def _described(
    summary: str,
    parameters: tuple[Parameter, ...],
    vocabulary: Vocabulary | None,
    answer: dict[str, Any],
    *,
    scope: str = EVENTS_READ,
) -> dict[str, Any]:
    return {
        "summary": summary,
        "description": f"Needs the scope `{scope}`.",
        "responses": {
            200: _answer("As asked.", answer, "application/json"),
            **{code: _answer(said, _PROBLEM, MEDIA_TYPE) for code, said in _PROBLEMS.items()},
        },
        "openapi_extra": {
            "parameters": [_parameter(one, vocabulary) for one in parameters if vocabulary],
            "security": [{"token": []}],
        },
    }


def _answer(said: str, schema: dict[str, Any], media_type: str) -> dict[str, Any]:
    return {"description": said, "content": {media_type: {"schema": schema}}}


def _parameter(parameter: Parameter, vocabulary: Vocabulary) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string", "maxLength": asking.MOST_CHARACTERS}
    match parameter.name:
        case "from" | "to":
            text = {"type": "string", "format": "date-time"}
        case "id":
            text = {"type": "string", "format": "uuid"}
        case "order":
            text = {"type": "string", "enum": ["newest", "oldest"]}
        case "limit":
            text = {
                "type": "integer", "minimum": 1, "maximum": vocabulary.page,
                "default": min(asking.PAGE, vocabulary.page),
            }  # fmt: skip
    schema: dict[str, Any] = text
    if parameter.repeated:
        schema = {"type": "array", "items": text, "maxItems": asking.MOST_TYPES}
    return {
        "name": parameter.name, "in": "query", "required": False,
        "description": parameter.about, "schema": schema,
    }  # fmt: skip


def _page(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["events", "next"],
        "properties": {
            "events": {"type": "array", "items": _event(vocabulary)},
            "next": {
                "type": ["string", "null"],
                "description": "What to give as `after` for the next page; null: this is the last.",
            },
        },
    }


def _event(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _column(name) for name in vocabulary.columns},
        "additionalProperties": False,
    }


def _column(name: str) -> dict[str, Any]:
    match COLUMNS.get(name, "text"):
        case "jsonb":
            return {} if name == "payload" else {"type": "object"}
        case "timestamp with time zone":
            return {"type": "string", "format": "date-time"}
        case "uuid":
            return {"type": "string", "format": "uuid"}
        case kind:
            plain = _NULLABLE_TYPES.get(kind, "string")
            return {"type": plain if name in _ALWAYS else [plain, "null"]}
