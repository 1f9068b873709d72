"""What OpenAPI says of each address. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, get_args

from outbox_operator.adapters.postgres.archive_reports import Interval
from outbox_operator.archive.api import asking, places, reporting
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
_TEXT: Final = {
    "type": "string", "maxLength": asking.MOST_CHARACTERS, "pattern": r"^[^\x00]*$",
}  # fmt: skip
_MOMENT: Final = {"type": "string", "format": "date-time"}
_SECONDS: Final = {"type": "string", "pattern": "^[0-9]+$"}
_HEADERS: Final = {
    401: {"WWW-Authenticate": ("`Bearer`.", {"type": "string"})},
    403: {"WWW-Authenticate": ("`Bearer`, with what is lacking.", {"type": "string"})},
    429: {"Retry-After": ("Seconds after which to ask again.", _SECONDS)},
    503: {"Retry-After": ("Seconds after which to ask again.", _SECONDS)},
}
ID: Final = {"format": "uuid"}
"""What is known of an id in a path."""
KEY: Final = {**_TEXT, "minLength": 1}
"""Of the key of an entity."""
REPORT: Final = {"enum": list(reporting.NAMES)}
"""Of the name of a report."""
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
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        },
    }
    said["responses"][413] = _answer("The body is too large.", _PROBLEM, MEDIA_TYPE)
    said["responses"][200]["headers"] = _headers({
        "Location": ("Where its manifest is, once it has ended.", {"type": "string"}),
        "Outbox-Export-Moment": ("Of when it is; to go on with it.", _MOMENT),
    })  # fmt: skip
    properties: dict[str, Any] = {
        one.name: {"description": one.about, **_one_or_more(one, vocabulary)}
        for one in (*vocabulary.filters(), *asking.OF_EXPORTS)
    }
    properties |= {
        "format": {
            "type": "string", "enum": ["ndjson", "csv", "parquet"], "default": "ndjson",
            "description": "Of the file.",
        },
        "moment": {
            **_MOMENT,
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
        *replace(vocabulary, searched=False).filters(),
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
            **{code: _problem(code, said) for code, said in _PROBLEMS.items()},
        },
        "openapi_extra": {
            "parameters": [_parameter(one, vocabulary) for one in parameters if vocabulary],
            "security": [{"token": []}],
        },
    }


def _answer(said: str, schema: dict[str, Any], media_type: str) -> dict[str, Any]:
    return {"description": said, "content": {media_type: {"schema": schema}}}


def _problem(code: int, said: str) -> dict[str, Any]:
    found = _answer(said, _PROBLEM, MEDIA_TYPE)
    return {**found, "headers": _headers(_HEADERS[code])} if code in _HEADERS else found


def _headers(some: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    return {name: {"description": said, "schema": schema} for name, (said, schema) in some.items()}


def _parameter(parameter: Parameter, vocabulary: Vocabulary) -> dict[str, Any]:
    schema = _value(parameter.name, vocabulary)
    if parameter.repeated:
        schema = {"type": "array", "items": schema, "maxItems": asking.MOST_TYPES}
    return {
        "name": parameter.name, "in": "query", "required": False,
        "description": parameter.about, "schema": schema,
    }  # fmt: skip


def _one_or_more(parameter: Parameter, vocabulary: Vocabulary) -> dict[str, Any]:
    """In a body, where what may be there several times is a list."""
    one = _value(parameter.name, vocabulary)
    if parameter.name == "fields":
        name = {"type": "string", "enum": list(vocabulary.columns)}
        return _either(one, {"type": "array", "items": name, "minItems": 1})
    if parameter.repeated:
        return _either(one, {"type": "array", "items": one, "maxItems": asking.MOST_TYPES})
    return one


def _either(*some: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": list(some)}


def _value(name: str, vocabulary: Vocabulary) -> dict[str, Any]:
    """The schema of a value."""
    match name:
        case "from" | "to":
            return _MOMENT
        case "id":
            return {"type": "string", **ID}
        case "order":
            return {"type": "string", "enum": ["newest", "oldest"]}
        case "interval":
            return {"type": "string", "enum": list(get_args(Interval)), "default": "day"}
        case "format":
            return {"type": "string", "enum": ["json", "csv"], "default": "json"}
        case "after":
            return {"type": "string", "pattern": f"^{places.PATTERN}$"}
        case "fields":
            some = "|".join(vocabulary.columns)
            return {"type": "string", "pattern": f"^({some})(,({some}))*$", "maxLength": 1024}
        case "limit":
            return {
                "type": "integer", "minimum": 1, "maximum": vocabulary.page,
                "default": min(asking.PAGE, vocabulary.page),
            }  # fmt: skip
    return dict(_TEXT)


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
