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
        relay_role: Role that was given the rights of a relay.
        comment: What the comment said before, to be put back one day.
    """

    owner: Owner
    writers: tuple[str, ...] = ()
    relay_role: str | None = None
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
        if self.comment is not None:
            document["comment"] = self.comment
        return json.dumps(document, sort_keys=True)


def parse_mark(comment: str | None) -> Mark | None:
    """The mark in a comment; None for a comment that is not ours."""
    document = schema_mark.document(comment)
    if document is None:
        return None
    try:
        return Mark(
            owner=Owner(
                uid=str(document["owner"]["uid"]),
                key=str(document["owner"]["key"]),
                cluster=str(document["owner"].get("cluster", "")),
            ),
            writers=tuple(document.get("writers", ())),
            relay_role=document.get("relay"),
            comment=document.get("comment"),
        )
    except (KeyError, TypeError, AttributeError):
        return None
