"""What `outbox catalog code` adds to what quicktype makes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from outbox_operator.catalog.code import Language, complete, write
from outbox_operator.errors import DependencyError, SpecError

FIELDS: Final[dict[str, Any]] = {"type": "object", "properties": {"id": {"type": "integer"}}}
EMPTY: Final[dict[str, Any]] = {"type": "object", "properties": {}}
TS: Final = "export interface A {\n    id: number;\n}\n"
HOLDER: Final = "export interface AHolder {\n    payload: string[];\n}\n"
GO: Final = "type A struct {\n\tID int64\n}\n"


@pytest.mark.parametrize(
    ("language", "types", "schema", "wanted"),
    [
        ("typescript", TS, FIELDS, 'export interface Events {\n    "a": A;\n}'),
        ("typescript", TS + "export interface Events {\n}\n", FIELDS, "interface EventsByType {"),
        ("typescript", TS + 'export type Events = "x";\n', FIELDS, "interface EventsByType {"),
        ("typescript", TS + "export interface EventsOf {\n}\n", FIELDS, "interface Events {"),
        ("typescript", HOLDER, {"type": "string"}, 'export type A = AHolder["payload"];\n'),
        ("typescript", HOLDER, EMPTY, 'export type A = AHolder["payload"];\n'),
        ("go", GO, FIELDS, '\tTypeA = "a"\n'),
        ("go", GO + "type TypeA struct {\n}\n", FIELDS, '\tEventTypeA = "a"\n'),
        ("go", GO + 'const (\n\tB     X = 1\n\tTypeA X = 2\n)\n', FIELDS, '\tEventTypeA = "a"\n'),
        ("go", GO + "func TypeA() {\n}\n", FIELDS, '\tEventTypeA = "a"\n'),
        ("go", GO + "type B struct {\n\tTypeA string\n}\n", FIELDS, '\tTypeA = "a"\n'),
    ],
)  # fmt: skip
def test_what_is_added_takes_no_name_that_is_there(
    language: Language, types: str, schema: dict[str, Any], wanted: str
) -> None:
    done = complete(types, {"a": schema}, {"A": "a"}, language)
    assert done.startswith(types)
    assert wanted in done


def test_the_name_of_another_event_is_taken_too() -> None:
    types = GO + "type TypeA struct {\n}\n"
    names = {"A": "a", "TypeA": "type.a"}
    done = complete(types, {"a": FIELDS, "type.a": FIELDS}, names, "go")
    assert '\tEventTypeA = "a"\n\tTypeTypeA  = "type.a"\n' in done


@pytest.mark.parametrize(
    ("language", "types"),
    [
        ("typescript", TS + "export interface Events {\n}\nexport interface EventsByType {\n}\n"),
        ("go", GO + "type TypeA struct {\n}\ntype EventTypeA struct {\n}\n"),
    ],
)
def test_where_no_name_is_left_it_is_said(language: Language, types: str) -> None:
    with pytest.raises(SpecError, match=r"are both taken by types of payloads; rename one"):
        complete(types, {"a": FIELDS}, {"A": "a"}, language)


@pytest.mark.parametrize(
    ("language", "schema"),
    [
        ("typescript", FIELDS),
        ("go", EMPTY),
    ],
)
def test_a_type_that_is_not_made_is_said(language: Language, schema: dict[str, Any]) -> None:
    with pytest.raises(DependencyError, match=f"made no type A; wanted .* that {language} has not"):
        complete("", {"a": schema}, {"A": "a"}, language)


def test_what_holds_a_plain_payload_takes_no_name_of_an_event(tmp_path: Path) -> None:
    schemas = {"a": {"type": "string"}, "a.holder": FIELDS}
    with pytest.raises(SpecError, match=r"AHolder would be the type of 'a\.holder' and that which"):
        write(schemas, "typescript", tmp_path / "a.ts", package="a")
