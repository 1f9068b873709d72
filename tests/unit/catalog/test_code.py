"""What `outbox catalog code` adds to what quicktype makes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from outbox_operator.catalog.code import complete, write
from outbox_operator.catalog.code_schemas import Language
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
        ("typescript", TS.replace("A", "a"), FIELDS, "\nexport type A = a;\n"),
        ("typescript", TS + "export interface a {\n}\n", FIELDS, '"a": A;\n'),
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


@pytest.mark.parametrize("first", ["date", "array"])
def test_names_that_are_those_of_the_language(first: str, tmp_path: Path) -> None:
    """quicktype gives nothing the name of what TypeScript itself has."""
    schemas = {first: FIELDS, f"{first}.event": FIELDS}
    wanted = f"'{first}.event' and '{first}' are both {first.capitalize()}Event in code"
    with pytest.raises(SpecError, match=wanted):
        write(schemas, "typescript", tmp_path / "a.ts", package="a")


def test_names_that_differ_in_case_alone_are_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"'ab\.c' and 'a\.bc' are both AbC in code"):
        write({"ab.c": FIELDS, "a.bc": FIELDS}, "typescript", tmp_path / "a.ts", package="a")


def test_a_payload_that_may_be_null_has_a_name_in_go() -> None:
    types = 'type AIDHolder struct {\n\tPayload *string `json:"payload"`\n}\n'
    done = complete(types, {"a.id": {"enum": ["b", None]}}, {"AId": "a.id"}, "go")
    assert "\ntype AId = *string\n" in done


def test_what_is_held_takes_the_name_of_no_value_in_go() -> None:
    types = (
        'type AHolder struct {\n\tPayload *string `json:"payload"`\n}\n\n'
        'type What string\n\nconst (\n\tA What = "a"\n)\n'
    )
    with pytest.raises(SpecError, match="A is the type of 'a' and the name of a class or value in"):
        complete(types, {"a": {"enum": ["b", None]}}, {"A": "a"}, "go")
