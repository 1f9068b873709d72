"""Every manifest and every part of one that a page shows has fields that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pydantic
import pytest
import yaml

from outbox_operator.api.meta import API_VERSION
from outbox_operator.api.v1alpha1.archive import ArchiveHandler
from outbox_operator.api.v1alpha1.consumer import EventConsumerSpec
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineSpec
from outbox_operator.api.v1alpha1.stream import EventStreamSpec
from outbox_operator.api.v1alpha1.task import OutboxTaskSpec
from support.kube import ROOT

SPECS: Final[dict[str, type[pydantic.BaseModel]]] = {
    "OutboxPipeline": OutboxPipelineSpec,
    "EventStream": EventStreamSpec,
    "EventConsumer": EventConsumerSpec,
    "OutboxTask": OutboxTaskSpec,
}
VALUES: Final = yaml.safe_load((ROOT / "charts/outbox-operator/values.yaml").read_text())
FOREIGN: Final = ("metadata", "inhibit_rules", "ignoreDifferences", "syncPolicy")
"""What parts of objects begin with that are not ours."""


def shown(page: Path) -> Iterator[dict[str, Any]]:
    """What stands in fences of YAML, document after document."""
    for found in re.findall(
        r"^(?P<indent> *)```yaml\b[^\n]*\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE
    ):
        for document in yaml.safe_load_all(found[1]):
            if isinstance(document, dict):
                yield document


def pages() -> list[str]:
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    return sorted(str(one.relative_to(ROOT)) for one in found if any(shown(one)))


def mistakes(kind: type[pydantic.BaseModel], spec: object) -> list[str]:
    """What is wrong with a specification, but for what is left out."""
    try:
        kind.model_validate(spec)
    except pydantic.ValidationError as error:
        return [f"{one['loc']}: {one['msg']}" for one in error.errors() if one["type"] != "missing"]
    return []


def wrong(document: dict[str, Any]) -> list[str]:
    """What is wrong with a manifest of ours, or with a part of one: then of the kind it fits best.

    A specification without its object, what stands in one, or values of the chart.
    """
    kind = document.get("kind")
    if kind is not None or "apiVersion" in document:
        version = str(document.get("apiVersion", ""))
        if not version.startswith("outbox.dev/") and kind not in SPECS:
            return []  # somebody else's
        if version != API_VERSION or kind not in SPECS:
            return [f"no {kind} of {version}"]
        return mistakes(SPECS[kind], document["spec"])
    spec = document.get("spec", document)
    if spec.keys() <= VALUES.keys() | {*FOREIGN}:
        return []
    kinds: tuple[type[pydantic.BaseModel], ...] = (*SPECS.values(), ArchiveHandler)
    return min((mistakes(one, spec) for one in kinds), key=len)


@pytest.mark.parametrize("page", pages())
def test_what_a_page_shows_of_a_resource_is_known(page: str) -> None:
    found = [one for document in shown(ROOT / page) for one in wrong(document)]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "{apiVersion: outbox.dev/v1alpha1, kind: EventStreams, spec: {}}",
        "{apiVersion: outbox.dev/v1alpha1, kinds: EventStream, spec: {}}",
        "{apiVersion: outbx.dev/v1alpha1, kind: EventStream, spec: {}}",
        "{apiVersion: outbox.dev/v1alpha1, kind: EventStream, spec: {nmae: A}}",
        "spec: {ordering: PerKeyy}",
        "consumers: [{name: a, hanlder: {}}]",
        "{maxDelivery: 3}",
    ],
)
def test_what_is_unknown_is_found(text: str) -> None:
    assert wrong(yaml.safe_load(text))
