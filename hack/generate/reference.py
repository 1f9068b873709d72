"""docs/reference/resources/*.md: one page per kind, a table line per field, from the CRDs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from outbox_operator.api.patterns import DURATION, SIZE

HEADER = "<!-- Generated from operator/outbox_operator/api by `make generate`. Do not edit. -->\n"
PAGES = Path("docs/reference/resources")
TYPE_OF_PATTERN = {DURATION: "duration", SIZE: "size"}


def files(crds: Iterable[dict[str, Any]]) -> dict[Path, str]:
    """Path to text of every page."""
    return {PAGES / f"{crd['spec']['names']['singular']}.md": _page(crd) for crd in crds}


def _page(crd: dict[str, Any]) -> str:
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    parts = [
        HEADER,
        f"# {names['kind']}\n",
        schema["description"] + "\n",
        f"`apiVersion: {crd['spec']['group']}/{version['name']}`, short name "
        f"`{names['shortNames'][0]}`: `kubectl get {names['shortNames'][0]}`, "
        f"`kubectl explain {names['shortNames'][0]}.spec`.\n",
        "## Spec\n",
        "A duration is text such as `500ms`, `30s`, `1h30m` or `30d`; a size such as `512Ki` "
        "or `1Gi`. Fields without a default are optional unless marked *required*.\n",
        _table(schema["properties"]["spec"], "spec", with_default=True),
        "## Rules\n",
        "The API server refuses an object that breaks one of these.\n",
        "\n".join(f"- `{path}`: {message}" for path, message in _rules(schema, "")) + "\n",
        "## Status\n",
        _table(schema["properties"]["status"], "status", with_default=False),
    ]
    return "\n".join(parts)


def _table(schema: dict[str, Any], path: str, *, with_default: bool) -> str:
    head = ["Field", "Type", "Default", "Meaning"] if with_default else ["Field", "Type", "Meaning"]
    rows = [head, ["---"] * len(head)]
    for field, node, required in _fields(schema, path):
        default = "*required*" if required else _default(node)
        meaning = _cell(node.get("description", ""))
        rows.append(
            [f"`{field}`", _type(node), default, meaning]
            if with_default
            else [f"`{field}`", _type(node), meaning]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    required = schema.get("required", ())
    properties = schema.get("properties", {}).items()
    for name, node in sorted(properties, key=lambda item: item[0] not in required):
        field = f"{path}.{name}"
        yield field, node, name in required
        yield from _fields(node, field)
        if "items" in node:
            yield from _fields(node["items"], f"{field}[]")


def _rules(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path.lstrip(".") or ".", rule["message"]
    for name, node in schema.get("properties", {}).items():
        yield from _rules(node, f"{path}.{name}")
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def _type(node: dict[str, Any]) -> str:
    if "enum" in node:
        return " \\| ".join(f"`{value}`" for value in node["enum"])
    if node["type"] == "array":
        return f"list of {_type(node['items'])}"
    if "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}"
    if node.get("pattern") in TYPE_OF_PATTERN:
        return TYPE_OF_PATTERN[node["pattern"]]
    limits = [
        f"{sign} {node[key]}"
        for key, sign in (("minimum", "≥"), ("maximum", "≤"))
        if key in node and node["type"] in ("integer", "number")
    ]
    return " ".join([node.get("format", node["type"]), *limits])


def _default(node: dict[str, Any]) -> str:
    if "default" not in node or node["type"] == "object":
        return ""
    value = node["default"]
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
