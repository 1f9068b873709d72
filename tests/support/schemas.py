"""JSON schemas of Kubernetes' kinds, from the OpenAPI document of the API server that tests run."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.chart import find_program
from support.kube import Kubectl, control_plane, kubectl_program, unique_cluster

Schema = dict[str, Any]
_PREFIX = "#/definitions/"
_INT_OR_STRING: Schema = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
_QUANTITY: Schema = {"oneOf": [{"type": "string"}, {"type": "number"}]}


def write_schemas(folder: Path, kinds: set[str]) -> None:
    """A file for each kind, named as kubeconform looks for it: `deployment-apps-v1.json`."""
    definitions = json.loads(_openapi().read_text())["definitions"]
    strict = {name: _strict(name, schema) for name, schema in definitions.items()}
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            if kind["kind"] not in kinds:
                continue
            group = kind["group"].partition(".")[0]
            parts = [kind["kind"], *([group] if group else []), kind["version"]]
            document = {
                "$ref": f"{_PREFIX}{name}",
                "definitions": {one: strict[one] for one in _needed(name, definitions)},
            }
            (folder / f"{'-'.join(parts).lower()}.json").write_text(json.dumps(document))


def _openapi() -> Path:
    """The document, asked for once and kept beside the API server that gave it."""
    server = find_program("kube-apiserver")
    kept = server.with_name("openapi.json")
    with server.with_name(".openapi.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers want it at once
        if not kept.exists():
            with control_plane(unique_cluster("openapi")) as cluster:
                text = Kubectl(kubectl_program(), cluster.kubeconfig)("get", "--raw", "/openapi/v2")
            written = kept.with_suffix(".new")
            written.write_text(text)
            written.replace(kept)
    return kept


def _strict(name: str, schema: Schema) -> Schema:
    """What the document says, and nothing beside it."""
    if name.endswith(".util.intstr.IntOrString"):
        return _INT_OR_STRING
    if name.endswith(".api.resource.Quantity"):
        return _QUANTITY
    return {**schema, "additionalProperties": False} if "properties" in schema else schema


def _needed(name: str, definitions: dict[str, Schema]) -> set[str]:
    """A definition and all that it refers to."""
    found, todo = set(), [name]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += _references(definitions[one])
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref" and isinstance(inner, str):
                yield inner.removeprefix(_PREFIX)
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
