"""docs/reference/archive-api.md: what an archive's API answers, from its OpenAPI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from outbox_operator.adapters.postgres.archive_export import ArchiveExporter
from outbox_operator.adapters.postgres.archive_reader import ArchiveReader
from outbox_operator.archive.api.keys import IssuerKeys
from outbox_operator.archive.api.metrics import ApiMetrics
from outbox_operator.archive.api.routes import document, make_app
from outbox_operator.archive.api.service import ArchiveApi
from outbox_operator.archive.api.tokens import SCOPES
from outbox_operator.telemetry.readiness import ServerState
from outbox_operator.wire.archive import COLUMNS, ArchiveDatabase
from outbox_operator.wire.archive_api import ArchiveApiConfig, JwtConfig

PAGE: Final = Path("docs/reference/archive-api.md")
HEADER: Final = "<!-- Generated from the API's OpenAPI by `make generate`. Do not edit. -->\n"
EXTRACTED: Final = ("actor", "correlation", "tenant")
"""Columns of the archive that is described; another one has its own."""
OK: Final = "200"


def files() -> dict[Path, str]:
    """Path to text of the page."""
    return {PAGE: "\n".join(_page(_described()))}


def _described() -> dict[str, Any]:
    """OpenAPI of an archive that extracts `EXTRACTED` and has words."""
    config = ArchiveApiConfig(
        namespace="shop",
        consumer="audit",
        database=ArchiveDatabase(url_file="/nowhere"),
        jwt=JwtConfig(issuer="i", audience="a", jwks_file="/nowhere"),
        extracted=EXTRACTED,
        tenant_column="tenant",
        text_search=True,
    )
    reader = ArchiveReader(
        _nowhere, schema="archive", columns=(), tenants=True, size=1, application_name=""
    )
    api = ArchiveApi(
        config,
        reader,
        ArchiveExporter(reader, reader, "archive"),
        IssuerKeys(config.jwt, ServerState()),
        ApiMetrics("shop", "audit"),
    )
    return document(make_app(api))


def _nowhere() -> NoReturn:
    raise RuntimeError("no database is asked for what an API says of itself")


def _page(described: dict[str, Any]) -> Iterator[str]:
    yield HEADER
    yield "# The archive's API\n"
    yield (
        "What `outbox archive serve` answers; [how to ask](../how-to/query-the-archive.md). Each "
        "archive says the same of itself at `/openapi.json`, with its own columns: this one "
        f"extracts {_listed(EXTRACTED)}, and is searched by words.\n"
    )
    yield "## Tokens\n"
    yield "`Authorization: Bearer …`, a JWT with scopes:\n"
    yield from _table("Scope", "May", [(f"`{name}`", said) for name, said in SCOPES.items()])
    yield "## Problems\n"
    yield (
        "What is not answered is `application/problem+json`: `type`, `title`, `status`, `detail`, "
        "and `errors`, of each field `field`, `wanted` and `found`. Every address says:\n"
    )
    operations = [
        (f"{method.upper()} {path}", one)
        for path, methods in described["paths"].items()
        for method, one in methods.items()
    ]
    common = set.intersection(*({*one["responses"]} - {OK} for _, one in operations))
    some = operations[0][1]["responses"]
    yield from _table(
        "Status", "Means", [(f"`{code}`", _answer(some[code])) for code in sorted(common)]
    )
    for name, one in operations:
        yield from _operation(name, one, common)
    yield "## An event\n"
    yield (
        "The columns of an event, all of them unless `fields` names some. `payload`, `raw` and "
        "`payload_sha256` are there with the scope `payload:read` alone.\n"
    )
    rows = [(f"`{name}`", kind) for name, kind in COLUMNS.items()]
    yield from _table("Column", "Of PostgreSQL's type", rows)


def _operation(name: str, one: dict[str, Any], common: set[str]) -> Iterator[str]:
    yield f"## `{name}`\n"
    yield f"{one['summary']} {one['description']}\n"
    fields = [
        (f"`{each['name']}`{_place(each)}", _type(each["schema"]), each.get("description", ""))
        for each in one.get("parameters", ())
    ]
    yield from _fields("Parameter", fields)
    if "requestBody" in one:
        [content] = one["requestBody"]["content"].values()
        body = [
            (f"`{field}`", _type(schema), schema.get("description", ""))
            for field, schema in content["schema"]["properties"].items()
        ]
        yield from _fields("Field of the body", body)
    answers = [
        (f"`{code}`", _answer(answer))
        for code, answer in one["responses"].items()
        if code == OK or code not in common
    ]
    yield from _table("Status", "Answer", answers)


def _place(parameter: dict[str, Any]) -> str:
    return ", in the path" if parameter["in"] == "path" else ""


def _fields(head: str, rows: list[tuple[str, str, str]]) -> Iterator[str]:
    if rows:
        lines = [f"| {' | '.join(_cell(part) for part in row)} |" for row in rows]
        yield "\n".join([f"| {head} | Type | Meaning |", "| --- | --- | --- |", *lines]) + "\n"


def _table(first: str, second: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    lines = [f"| {' | '.join(_cell(part) for part in row)} |" for row in rows]
    yield "\n".join([f"| {first} | {second} |", "| --- | --- |", *lines]) + "\n"


def _answer(answer: dict[str, Any]) -> str:
    parts = [answer["description"].rstrip(".")]
    kinds = [kind for kind in answer.get("content", {}) if kind != "application/problem+json"]
    if kinds:
        parts.append(f"; {_listed(kinds)}")
    headers = list(answer.get("headers", {}))
    return f"{''.join(parts)}.{f' Headers: {_listed(headers)}.' if headers else ''}"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema and len(schema["enum"]) <= len(SCOPES) + 1:
        words = ", ".join(f"`{one}`" for one in schema["enum"])
    elif schema.get("type") == "array":
        words = f"list: {_type(schema['items'])}"
    else:
        words = str(schema.get("format", schema.get("type", "any")))
    if "minimum" in schema and "maximum" in schema:
        words += f", {schema['minimum']} to {schema['maximum']}"
    return words + (f"; default `{schema['default']}`" if "default" in schema else "")


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
