"""Tasks as they are remembered: without long lists. Pure.

A task may name a thousand ids of a quarter of a megabyte, and a cluster may have thousands of
tasks, most of which have ended or wait. Whoever carries one out reads it whole from the API server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from outbox_operator.api import meta

_LEFT_OUT: Final = "leftOut"
_LONGEST: Final = 20
"""Entries of a list that is remembered."""


def lean(body: dict[str, Any]) -> dict[str, Any]:
    """A raw object without the long lists of a task; the same object where there are none.

    What is left of a list is its first entry: such a task still says what kind of work it is, and
    must not be carried out (`is_lean`).
    """
    if body.get("kind") != meta.TASK or not isinstance(body.get("spec"), Mapping):
        return body
    spec = _cut(body["spec"])
    return body if spec is body["spec"] else {**body, "spec": spec, _LEFT_OUT: True}


def is_lean(body: Mapping[str, Any]) -> bool:
    """Whether something of a task was left out."""
    return _LEFT_OUT in body


def _cut(found: Any) -> Any:
    if isinstance(found, list):
        return found[:1] if len(found) > _LONGEST else found
    if not isinstance(found, Mapping):
        return found
    cut = {name: _cut(value) for name, value in found.items()}
    return cut if any(cut[name] is not found[name] for name in found) else found
