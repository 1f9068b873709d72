"""Rules in CEL, as resource definitions have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def rules_in(node: Any) -> Iterator[dict[str, str]]:
    """Every rule in a resource definition, or in a part of it: `rule` and `message`."""
    if isinstance(node, dict):
        yield from node.get("x-kubernetes-validations", ())
        for value in node.values():
            yield from rules_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from rules_in(value)
