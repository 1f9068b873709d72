"""Pydantic models to CustomResourceDefinitions with structural schemas.

`hack/generate` writes the result to crds/ and into the chart; nothing calls this at run time.
Pure: takes `api.kinds.KINDS`, returns dictionaries, and reads or writes no file.

Defaults of a spec go into the schema, those of nested objects, lists and maps too. The API server
then fills them in before it evaluates CEL rules, so a rule may use every field with a default
without `has()`, and removing a field restores its default. Defaults of a status stay out: a number
that nobody observed is not a fact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from outbox_operator.api import meta
from outbox_operator.api.kinds import KINDS, Column, Kind

Schema = dict[str, Any]

_COPIED: Final = (
    "type", "description", "enum", "pattern", "format",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
    "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
)  # fmt: skip
_DROPPED: Final = frozenset({"title", "default", "required"})
_HANDLED: Final = frozenset({"properties", "items", "additionalProperties", "const"})


def all_crds() -> list[Schema]:
    """The CustomResourceDefinition of every kind."""
    return [crd(kind) for kind in KINDS]


def crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of one kind."""
    subresources: Schema = {"status": {}}
    if kind.scale is not None:
        subresources["scale"] = {
            "specReplicasPath": kind.scale.spec,
            "statusReplicasPath": kind.scale.status,
            "labelSelectorPath": kind.scale.selector,
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{meta.GROUP}"},
        "spec": {
            "group": meta.GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short_name],
                "categories": ["outbox"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": meta.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                    "schema": {"openAPIV3Schema": _root(kind)},
                }
            ],
        },
    }


def _column(column: Column) -> Schema:
    result: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        result["description"] = column.description
    if column.wide:
        result["priority"] = 1
    return result


def _root(kind: Kind) -> Schema:
    return {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {meta.API_VERSION}."},
            "kind": {"type": "string", "description": f"Always {kind.name}."},
            "metadata": {"type": "object"},
            "spec": structural_schema(kind.spec, defaults=True),
            "status": structural_schema(kind.status, defaults=False),
        },
    }


def structural_schema(model: type[BaseModel], *, defaults: bool) -> Schema:
    """The schema of a model as Kubernetes wants it: all references inlined, every object typed."""
    raw = model.model_json_schema(by_alias=True)
    schema = _convert(raw, raw.get("$defs", {}), model.__name__)
    if defaults:
        _add_defaults(schema, model)
    return schema


def _convert(node: Mapping[str, Any], defs: Mapping[str, Any], path: str) -> Schema:
    node = _resolve(node, defs, path)
    unknown = set(node) - set(_COPIED) - _DROPPED - _HANDLED
    if unknown:
        raise ValueError(f"{path}: cannot express {sorted(unknown)} in a structural schema")
    result: Schema = {key: node[key] for key in _COPIED if key in node}
    if "description" in result:
        result["description"] = _paragraphs(result["description"])
    if "const" in node:
        result["enum"] = [node["const"]]
    if "properties" in node:
        result["properties"] = {
            name: _convert(child, defs, f"{path}.{name}")
            for name, child in node["properties"].items()
        }
        if node.get("required"):
            result["required"] = list(node["required"])
    if "items" in node:
        result["items"] = _convert(node["items"], defs, f"{path}[]")
    values = node.get("additionalProperties")
    if isinstance(values, Mapping):
        result["additionalProperties"] = _convert(values, defs, f"{path}.*")
    if "type" not in result:
        raise ValueError(f"{path}: has no single type")
    return result


def _resolve(node: Mapping[str, Any], defs: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Follow `$ref` and drop the null of an optional; what stands beside them wins."""
    merged = {key: value for key, value in node.items() if key not in ("$ref", "anyOf", "$defs")}
    if "$ref" in node:
        target = _resolve(defs[node["$ref"].rpartition("/")[2]], defs, path)
        return {**target, **merged}
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option != {"type": "null"}]
        if len(options) != 1:
            raise ValueError(f"{path}: a union of {len(options)} types has no structural schema")
        return {**_resolve(options[0], defs, path), **merged}
    return merged


def _paragraphs(text: str) -> str:
    """A docstring as flowing text: lines of a paragraph are joined."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))


def _add_defaults(schema: Schema, model: type[BaseModel]) -> None:
    for name, info in _fields(model):
        child = schema["properties"][name]
        nested = _model_of(info)
        if nested is not None:
            _add_defaults(child["items"] if child["type"] == "array" else child, nested)
        default = _default(info)
        if default is not None:
            child["default"] = default


def _default(info: FieldInfo) -> Any:
    """The value to write into the schema; None: there is none.

    An object's default is `{}`: the API server then fills in the defaults of its fields.
    """
    if info.is_required():
        return None
    value = info.get_default(call_default_factory=True, validated_data={})
    return {} if isinstance(value, BaseModel) else value


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        yield info.alias or name, info


def _model_of(info: FieldInfo) -> type[BaseModel] | None:
    """The model inside `Model`, `Model | None` or `list[Model]`."""
    pending: list[Any] = [info.annotation]
    while pending:
        candidate = pending.pop()
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
        pending.extend(getattr(candidate, "__args__", ()))
    return None
