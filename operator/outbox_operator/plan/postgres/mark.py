"""The ownership mark: a comment on the schema that says which resource the tables belong to."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from outbox_operator.plan.state import Owner
from outbox_operator.wire import schema_mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What the comment on a schema says.

    Attributes:
        owner: The resource that the tables belong to.
        writers: Roles that were given the right to insert, sorted.
        relay_role: Role that was given the rights of a relay, or of what writes an archive.
        readers: Roles that were given the right to read an archive, sorted.
        api_role: Role that was given the rights of an archive's API.
        comment: What the comment said before, to be put back one day.
    """

    owner: Owner
    writers: tuple[str, ...] = ()
    relay_role: str | None = None
    readers: tuple[str, ...] = ()
    api_role: str | None = None
    comment: str | None = None

    def text(self) -> str:
        """The comment."""
        document: dict[str, Any] = {
            "managed-by": schema_mark.MANAGED_BY,
            "owner": {
                name: value for name, value in dataclasses.asdict(self.owner).items() if value
            },
            "writers": list(self.writers),
        }
        if self.relay_role is not None:
            document["relay"] = self.relay_role
        if self.readers:
            document["readers"] = list(self.readers)
        if self.api_role is not None:
            document["api"] = self.api_role
        if self.comment is not None:
            document["comment"] = self.comment
        return json.dumps(document, sort_keys=True)


def parse_mark(comment: str | None) -> Mark | None:
    """The mark in a comment; None for a comment that is not ours.

    Anybody who owns the schema may have changed it: what is no text there is left out.
    """
    document = schema_mark.document(comment)
    owner = None if document is None else document.get("owner")
    if document is None or not isinstance(owner, dict):
        return None
    uid, key = _text(owner.get("uid")), _text(owner.get("key"))
    if uid is None or key is None:
        return None
    return Mark(
        owner=Owner(uid=uid, key=key, cluster=_text(owner.get("cluster")) or ""),
        writers=_names(document.get("writers")),
        relay_role=_text(document.get("relay")),
        readers=_names(document.get("readers")),
        api_role=_text(document.get("api")),
        comment=_text(document.get("comment")),
    )


def _names(found: object) -> tuple[str, ...]:
    return tuple(name for name in (found if isinstance(found, list) else ()) if _text(name))


def _text(found: object) -> str | None:
    """A text as PostgreSQL may hold it."""
    if not isinstance(found, str) or "\0" in found:
        return None
    return found if found.isascii() or found == found.encode(errors="replace").decode() else None
