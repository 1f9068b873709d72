"""The CRDs as files: plain ones in crds/, and Helm templates in the chart."""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

HEADER = "# Generated from operator/outbox_operator/api by `make generate`. Do not edit.\n"
CHART = Path("charts/outbox-operator/templates/crds")


class _Dumper(yaml.SafeDumper):
    """Block style without anchors; a CRD repeats the schema of Secret references often."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def files(crds: Iterable[dict[str, Any]]) -> dict[Path, str]:
    """Path to text, for crds/ and for the chart."""
    result = {}
    for crd in crds:
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        explained = _with_defaults(crd)
        result[Path("crds") / f"{group}_{plural}.yaml"] = HEADER + _yaml(explained)
        result[CHART / f"{plural}.yaml"] = _template(explained)
    return result


def _with_defaults(crd: dict[str, Any]) -> dict[str, Any]:
    """A copy whose descriptions tell defaults: `kubectl explain` shows nothing else of them."""
    copy = deepcopy(crd)
    for version in copy["spec"]["versions"]:
        _tell_defaults(version["schema"]["openAPIV3Schema"])
    return copy


def _tell_defaults(node: dict[str, Any]) -> None:
    value = node.get("default")
    if value not in (None, "", [], {}):
        told = value if isinstance(value, str) else json.dumps(value)
        node["description"] = f"{node['description']} Default: {told}."
    for child in node.get("properties", {}).values():
        _tell_defaults(child)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            _tell_defaults(node[key])


def _yaml(document: dict[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return text


def _template(crd: dict[str, Any]) -> str:
    """The CRD as a Helm template: installed when wanted, kept on uninstall when wanted."""
    metadata = (
        "metadata:\n"
        f"  name: {crd['metadata']['name']}\n"
        "  labels:\n"
        '    {{- include "outbox-operator.labels" . | nindent 4 }}\n'
        "  {{- if .Values.crds.keep }}\n"
        "  annotations:\n"
        "    helm.sh/resource-policy: keep\n"
        "  {{- end }}\n"
    )
    # A description may hold `{{`, which Helm would take for its own.
    spec = _yaml({"spec": crd["spec"]}).replace("{{", '{{ "{{" }}')
    head = f"apiVersion: {crd['apiVersion']}\nkind: {crd['kind']}\n"
    return f"{HEADER}{{{{- if .Values.crds.enabled }}}}\n{head}{metadata}{spec}{{{{- end }}}}\n"
