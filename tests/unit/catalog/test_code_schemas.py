"""What of a schema is changed for quicktype, and of which it makes no type."""

from __future__ import annotations

from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel, RootModel

from outbox_operator.catalog.code import write
from outbox_operator.catalog.code_schemas import Language, endless, is_held, prepared
from outbox_operator.catalog.entries import entries
from outbox_operator.client import event
from outbox_operator.errors import SpecError

X: Final = {"$ref": "#/$defs/X"}
Y: Final = {"$ref": "#/$defs/Y"}
TEXT: Final = {"type": "string"}
NULL: Final = {"type": "null"}
MOMENT: Final = {"type": "string", "format": "date-time"}


def items(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of}


def values(of: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of}


def fields(**of: Any) -> dict[str, Any]:
    return {"type": "object", "properties": of}


def either(*of: Any) -> dict[str, Any]:
    return {"anyOf": list(of)}


ONE: Final = fields(a=TEXT)
SEVERAL: Final = {"type": "object", "patternProperties": {"a": X, "b": Y}}

# A type X, and in which languages a field of it has no end.
RECURSIVE: list[tuple[dict[str, Any], set[Language]]] = [
    ({"X": items(X)}, {"typescript", "go"}),
    ({"X": values(X)}, {"typescript", "go"}),
    ({"X": items(Y), "Y": values(X)}, {"typescript", "go"}),
    ({"X": values(either(X, NULL))}, {"typescript", "go"}),
    ({"X": {"type": "array", "prefixItems": [TEXT, X]}}, {"typescript", "go"}),
    ({"X": {**values(X), "properties": {}}}, {"typescript", "go"}),
    ({"X": either(X, NULL)}, {"typescript", "go"}),
    ({"X": either(values(X), items(X), TEXT, NULL)}, {"typescript"}),
    ({"X": items(Y), "Y": either(X, TEXT)}, {"typescript"}),
    ({"X": either(Y, NULL), "Y": either(TEXT, items(X))}, {"typescript"}),
    ({"X": fields(a=X)}, set()),
    ({"X": fields(a=items(values(X)))}, set()),
    ({"X": fields(a=Y), "Y": items(X)}, set()),
    ({"X": {**fields(a=TEXT), "additionalProperties": X}}, set()),
    ({"X": either(fields(a=items(X)), fields(b=TEXT))}, set()),
    ({"X": items(TEXT)}, set()),
]


@pytest.mark.parametrize(("named", "wanted"), RECURSIVE)
@pytest.mark.parametrize("language", ["typescript", "go"])
def test_where_a_type_has_no_end(
    named: dict[str, Any], wanted: set[Language], language: Language
) -> None:
    schema = prepared({**fields(id=TEXT, x=fields(y=items(X))), "$defs": named})
    assert endless(schema, language) == ("x.y[]" if language in wanted else None)


class Tree(RootModel[list["Tree"]]):
    """Nothing but more of it."""


class Node(BaseModel):
    kids: list[Node] = []
    by_name: dict[str, Node] = {}


class One(BaseModel):
    others: list[Other] = []


class Other(BaseModel):
    one: One | None = None


@pytest.mark.parametrize("language", ["typescript", "go"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Tree, r"event 'made': its payload: what holds itself has no type in"),
        (make_dataclass("Of", [("tree", Tree)]), r"event 'made': tree: what holds itself"),
        (Node, None),
        (One, None),
        (make_dataclass("Of", [("nodes", dict[str, Node], field(default_factory=dict))]), None),
    ],
)
def test_it_is_said_before_anything_is_run(
    kind: Any, said: str | None, language: Language, tmp_path: Path
) -> None:
    [entry] = entries([event("made")(kind)])
    schema = entry.document()
    if said is None:
        assert endless(prepared(schema), language) is None
        return
    with pytest.raises(SpecError, match=said):
        write({"made": schema}, language, tmp_path / "out", package="a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({**ONE, "additionalProperties": X}, {**ONE, "additionalProperties": True}),
        ({**ONE, "additionalProperties": False}, {**ONE, "additionalProperties": False}),
        (values(X), values(X)),
        ({"type": "object", "patternProperties": {"^a": X}}, values(X)),
        (SEVERAL, SEVERAL),
    ],
)
def test_values_of_a_dictionary(schema: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert prepared(schema) == wanted


@pytest.mark.parametrize(
    ("schema", "typescript", "go"),
    [
        (fields(a=TEXT), False, False),
        ({**X, "$defs": {"X": fields(a=TEXT)}}, False, False),
        (fields(), True, False),
        (items(TEXT), True, False),
        (either(TEXT, {"type": "integer"}), True, False),
        ({"enum": ["a", 1]}, True, False),
        ({"enum": ["a", None]}, True, True),
        (either(fields(a=TEXT), NULL), True, True),
        (either(TEXT, {"type": "integer"}, NULL), True, True),
        ({**X, "$defs": {"X": either(TEXT, Y), "Y": NULL}}, True, True),
        ({}, True, True),
        (MOMENT, True, True),
    ],
)
def test_which_payloads_something_has_to_hold(
    schema: dict[str, Any], typescript: bool, go: bool
) -> None:
    assert (is_held(schema, "typescript"), is_held(schema, "go")) == (typescript, go)
