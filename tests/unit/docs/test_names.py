"""Names in shell fences that are ours or Kubernetes' own: kinds of resources, fields and conditions
of ours, labels, targets of make, extras, and files of this repository. A shell takes any word, and
at three in the morning nobody wants to find out that a page has another one."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.plan.advice import SHORT
from support.kube import ROOT
from unit.docs.test_commands import pages
from unit.docs.test_shell import shown

OURS: Final = frozenset(
    word for kind, plural in meta.PLURALS.items() for word in (SHORT[kind], kind.lower(), plural)
)
FOREIGN: Final = frozenset((
    "clusterrole", "clusterrolebinding", "configmap", "crd", "deploy", "deployment", "deployments",
    "endpointslices", "events", "generic", "job", "lease", "leases", "namespace", "networkpolicy",
    "nodes", "pod", "pods", "rolebinding", "rolebindings", "secret", "secrets", "statefulset",
    "svc", "customresourcedefinitions",
))  # fmt: skip
"""Of Kubernetes, as far as pages name them."""
VERBS: Final = "annotate|create|delete|describe|edit|get|label|patch|scale|wait"
_OPTIONS: Final = r"(?: +-(?:[nfkl]|-namespace|-context) +\S+| +--?[\w-]+(?:=\S+)?)*"
_KINDS: Final = re.compile(
    rf"\bkubectl{_OPTIONS} +(?:{VERBS}){_OPTIONS} +([a-z][a-z,]*)(?=[\s/]|$)"
)
_VERBS: Final = re.compile(rf"(?:^|[(;&|]) *kubectl{_OPTIONS} +([a-z]\S*)", re.M)
KUBECTL: Final = frozenset((
    *VERBS.split("|"), "api-resources", "apply", "auth", "config", "events", "exec", "explain",
    "krew", "logs", "outbox", "port-forward", "rollout", "run", "set", "version",
))  # fmt: skip
_SELECTED: Final = re.compile(r"kubectl[^|]* -l +(\S+)")
_LABELS: Final = re.compile(
    r"\b((?:outbox\.dev|app\.kubernetes\.io)/[a-z-]+?)(?==|-$|-\s|\s|$|,)", re.M
)
_PATHS: Final = re.compile(r"\{(\.(?:status|spec)\.[\w.]+?)\}")
_LISTS: Final = re.compile(r"\{range (\.(?:status|spec)\.\w+)\[\*\]\}(.*?)\{end\}")
_CONDITIONS: Final = re.compile(r"--for=condition=(\w+)")
_TARGETS: Final = re.compile(r"^\s*make ([a-z][\w-]*)", re.M)
_EXTRAS: Final = re.compile(r"(?:^|[\s'\"/])([\w-]+|\.)\[([\w,-]+)\]", re.M)
_FILES: Final = re.compile(
    r"(?:^|[\s=])((?:examples|charts|alerts|docs|hack|tests|crds)/[\w./-]*)", re.M
)
LABELS: Final = frozenset(
    value for value in vars(meta).values() if isinstance(value, str) and "/" in value
)
EXTRAS: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
MAKE: Final = frozenset(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M))


@functools.cache
def schemas() -> list[dict[str, Any]]:
    """Of our kinds, in each of their versions."""
    return [
        version["schema"]["openAPIV3Schema"]
        for path in sorted((ROOT / "crds").glob("*.yaml"))
        for version in yaml.safe_load(path.read_text())["spec"]["versions"]
    ]


def has(schema: dict[str, Any], path: str) -> bool:
    """Whether objects of a schema may have a field."""
    for name in path.strip(".").split("."):
        schema = schema.get("items", schema)
        if name not in schema.get("properties", {}):
            return "properties" not in schema and schema.get("type") == "object"
        schema = schema["properties"][name]
    return True


def is_field(path: str) -> bool:
    """Whether one of our kinds has it; those of others are not looked at."""
    return any(has(schema, path) for schema in schemas())


def unknown(text: str) -> Iterator[str]:
    """Names in a fence that there are not."""
    text = text.replace("\\\n", " ")
    yield from (f"verb {one}" for one in _VERBS.findall(text) if one not in KUBECTL)
    for found in _KINDS.findall(text):
        yield from (f"kind {one}" for one in found.split(",") if one not in OURS | FOREIGN)
    yield from (f"label {one}" for one in _LABELS.findall(text) if one not in LABELS)
    for selector in _SELECTED.findall(text):
        keys = [one.partition("=")[0] for one in selector.strip("'\"").split(",")]
        found = [one for one in keys if "/" in one and not _LABELS.match(f"{one}=")]
        yield from (f"label {one}" for one in found)
    ours = any(re.search(rf"\b{word}\b", text) for word in OURS)
    if ours:
        yield from (f"field {one}" for one in _PATHS.findall(text) if not is_field(one))
        for list_, inner in _LISTS.findall(text):
            names = re.findall(r"\{\.([\w.]+)\}", inner)
            yield from (f"field {list_}.{n}" for n in names if not is_field(f"{list_}.{n}"))
        known = {str(one) for one in ConditionType} | {"Available"}
        yield from (f"condition {one}" for one in _CONDITIONS.findall(text) if one not in known)
    yield from (f"target {one}" for one in _TARGETS.findall(text) if one not in MAKE)
    for package, extras in _EXTRAS.findall(text):
        if package not in ("outbox-operator", "."):
            continue
        yield from (f"extra {one}" for one in extras.split(",") if one not in EXTRAS)
    yield from (f"file {one}" for one in _FILES.findall(text) if not (ROOT / one).exists())


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_named_is_there(page: Path) -> None:
    found = [f"line {line}: {name}" for line, text in shown(page) for name in unknown(text)]
    assert not found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("kubectl -n shop get obx,evs -o wide", "kind obx"),
        ("kubectl get evc orders -o jsonpath='{.status.archives}'", "field .status.archives"),
        (
            "kubectl get obp a -o jsonpath='{range .status.conditions[*]}{.typ}{end}'",
            "field .status.conditions.typ",
        ),
        ("kubectl logs -l outbox.dev/pipelin=orders", "label outbox.dev/pipelin"),
        ("kubectl gex obp orders", "verb gex"),
        ("kubectl logs -l outbox.dex/pipeline=orders", "label outbox.dex/pipeline"),
        ("kubectl annotate obp/orders outbox.dev/pause-", "label outbox.dev/pause"),
        ("kubectl wait obp/orders --for=condition=Redy", "condition Redy"),
        ("make demoo", "target demoo"),
        ("pip install 'outbox-operator[devv]'", "extra devv"),
        ("kubectl apply -f examples/smalest/pipeline.yaml", "file examples/smalest/pipeline.yaml"),
    ],
)
def test_what_is_not_there_is_found(text: str, name: str) -> None:
    assert list(unknown(text)) == [name]


@pytest.mark.parametrize("example", ["consumer.go", "consumer.mjs", "consumer.py"])
def test_examples_of_containers_know_every_login(example: str) -> None:
    page = (ROOT / "docs/reference/container-environment.md").read_text()
    variables = set(re.findall(r"^\| `(NATS_\w+)`", page, re.M))
    assert len(variables) > 8
    text = (ROOT / "examples/plain-container" / example).read_text()
    assert variables - set(re.findall(r"NATS_\w+", text)) == set()
