"""CRDs from models: structural, described, complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from outbox_operator.api import crdgen
from outbox_operator.api.patterns import DURATION

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in crdgen.all_crds()}


def schema(kind: str) -> dict[str, Any]:
    root: dict[str, Any] = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def nodes(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below a schema, with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key], f"{path}[]")


ALL = [(kind, path, node) for kind in CRDS for path, node in nodes(schema(kind), "")]


def test_every_field_has_a_description() -> None:
    bare = [
        f"{kind}{path}"
        for kind, path, node in ALL
        if not path.endswith("[]") and path != ".metadata" and not node.get("description")
    ]
    assert bare == []


def test_descriptions_end_as_sentences_do() -> None:
    loose = [
        f"{kind}{path}: {node['description']}"
        for kind, path, node in ALL
        if not node.get("description", ".").endswith((".", "…"))
    ]
    assert loose == []


def test_no_bound_is_beyond_what_the_api_server_counts() -> None:
    """The API server takes 2**63 for a negative number, and refuses every value."""
    beyond = [
        f"{kind}{path}"
        for kind, path, node in ALL
        if max(abs(node.get("maximum", 0)), abs(node.get("minimum", 0))) > 2**62
    ]
    assert beyond == []


def test_nothing_structural_schemas_forbid() -> None:
    for kind, path, node in ALL:
        assert not {"$ref", "$defs", "anyOf", "title", "const", "nullable"} & set(node), (
            f"{kind}{path}"
        )
        assert not ("properties" in node and "additionalProperties" in node), f"{kind}{path}"
        assert isinstance(node["type"], str), f"{kind}{path}"


def test_status_has_no_defaults_and_the_spec_has() -> None:
    for kind in CRDS:
        assert all(
            "default" not in node for _, node in nodes(schema(kind)["properties"]["status"], "")
        )
    spec = schema("OutboxPipeline")["properties"]["spec"]["properties"]
    assert spec["outbox"]["default"] == {}
    assert spec["outbox"]["properties"]["retention"]["default"] == "24h"
    assert spec["consumers"]["items"]["properties"]["ackWait"]["default"] == "30s"
    assert spec["stream"]["properties"]["subjects"]["default"] == []
    assert "default" not in spec["nats"]["properties"]["tls"]


def test_names_and_subresources() -> None:
    for kind, crd in CRDS.items():
        names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
        assert crd["metadata"]["name"] == f"{names['plural']}.outbox.dev"
        assert names["singular"] == kind.lower()
        assert names["categories"] == ["outbox"]
        assert "status" in version["subresources"]
        scalable = kind in ("OutboxPipeline", "EventConsumer")
        assert ("scale" in version["subresources"]) == scalable
        for path in version["subresources"].get("scale", {}).values():
            node = schema(kind)
            for name in path.strip(".").split("."):
                node = node["properties"][name]
    assert {kind: crd["spec"]["names"]["shortNames"] for kind, crd in CRDS.items()} == {
        "OutboxPipeline": ["obp"],
        "EventStream": ["evs"],
        "EventConsumer": ["evc"],
        "OutboxTask": ["obt"],
    }


def test_columns_point_at_fields_that_exist() -> None:
    for kind, crd in CRDS.items():
        known = {path for path, _ in nodes(schema(kind), "")}
        for column in crd["spec"]["versions"][0]["additionalPrinterColumns"]:
            path = column["jsonPath"]
            if path.startswith((".status.conditions[?", ".metadata")):
                continue
            assert path in known, f"{kind} {column['name']}: {path}"


def test_rules_speak_of_fields_that_exist() -> None:
    import re

    for kind, path, node in ALL:
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["message"]
            for name in re.findall(r"(?:self|oldSelf)\.([a-zA-Z]+)(?!\w*\()", rule["rule"]):
                assert name in node.get("properties", {}), f"{kind}{path}: {rule['rule']}"


class Inner(BaseModel):
    """Inner docstring
    over two lines.

    Second paragraph."""

    size: int = Field(default=3, ge=1, description="Size.")


class Outer(BaseModel):
    plain: Inner = Field(description="Wins.")
    bare: Inner
    made: Inner = Field(default_factory=Inner, description="Made.")
    many: list[Inner] = Field(default_factory=list, max_length=2, description="Many.")
    maybe: str | None = Field(default=None, pattern=DURATION, description="Maybe.")
    one: Literal["A"] = Field(default="A", description="One.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels.")


def test_conversion_of_each_shape() -> None:
    got = crdgen.structural_schema(Outer, defaults=True)
    size = {"type": "integer", "description": "Size.", "minimum": 1, "default": 3}
    inner = {"type": "object", "properties": {"size": size}}
    assert got == {
        "type": "object",
        "required": ["plain", "bare"],
        "properties": {
            "plain": {**inner, "description": "Wins."},
            "bare": {
                **inner,
                "description": "Inner docstring over two lines.\n\nSecond paragraph.",
            },
            "made": {**inner, "description": "Made.", "default": {}},
            "many": {
                "type": "array",
                "description": "Many.",
                "maxItems": 2,
                "items": {
                    **inner,
                    "description": "Inner docstring over two lines.\n\nSecond paragraph.",
                },
                "default": [],
            },
            "maybe": {"type": "string", "description": "Maybe.", "pattern": DURATION},
            "one": {"type": "string", "description": "One.", "enum": ["A"], "default": "A"},
            "labels": {
                "type": "object",
                "description": "Labels.",
                "additionalProperties": {"type": "string"},
                "default": {},
            },
        },
    }


def test_a_union_cannot_be_expressed() -> None:
    class Union(BaseModel):
        value: int | str = 1

    with pytest.raises(ValueError, match=r"Union\.value: a union of 2 types"):
        crdgen.structural_schema(Union, defaults=True)
