"""The mark on a schema: a comment in JSON that says which resource its tables belong to.

Written by the operator, read by it and by the relay, which works on no other pipeline's tables.
"""

from __future__ import annotations

import json
from typing import Any, Final

MANAGED_BY: Final = "outbox-operator"


def document(comment: str | None) -> dict[str, Any] | None:
    """What a comment says; None for one that is not ours."""
    try:
        found = json.loads(comment or "")
        return found if found["managed-by"] == MANAGED_BY else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def owner_uid(comment: str | None) -> str | None:
    """UID of the resource whose mark a comment is; None for one that is not ours."""
    return _of_owner(comment, "uid")


def owner_key(comment: str | None) -> str | None:
    """`Kind/namespace/name` of the resource whose mark a comment is; None for one not ours."""
    return _of_owner(comment, "key")


def _of_owner(comment: str | None, name: str) -> str | None:
    found = document(comment)
    owner = None if found is None else found.get("owner")
    text = owner.get(name) if isinstance(owner, dict) else None
    return text if isinstance(text, str) else None
