"""Of which events nobody takes any, as far as consumers are declared."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.cli.cluster.takers import untaken
from support import resources

HANDLER = {"http": {"url": "http://billing/"}}


def _other(stream: str = "orders", labels: dict[str, str] | None = None, **spec: Any) -> Any:
    return {"metadata": {"labels": labels}, "spec": {"streamRef": {"name": stream}, **spec}}


@pytest.mark.parametrize(
    ("filters", "others", "taken"),
    [
        ([["order.created", "user.>"]], [], ("order.created", "user.>")),
        ([["order.*"]], [], ()),
        ([["order.creatd"]], [], ()),
        ([["order.created"], []], [], ()),
        ([], [], ()),
        ([["order.created"]], [_other()], ()),
        ([["order.created"]], [_other("else")], ("order.created",)),
        ([["a"]], [_other(labels={meta.PIPELINE_LABEL: "orders"})], ("a",)),
        ([["a"]], [_other(filterSubjects=["orders.order.>"])], ()),
        ([["a"]], [_other(filterSubjects=["orders.b"])], ("a", "orders.b")),
        ([], [_other(filterEventTypes=["b"])], ("b",)),
        ([], [_other(filterEventTypes=["order.>"])], ()),
        ([["a", "b"], ["b"]], [], ("a", "b")),
    ],
)
def test_who_takes_a_type(filters: list[list[str]], others: list[Any], taken: Any) -> None:
    consumers = [
        {"name": f"c{number}", "filterEventTypes": kinds, "handler": HANDLER}
        for number, kinds in enumerate(filters)
    ]
    assert untaken("order.creatd", resources.pipeline(consumers=consumers), others) == taken
