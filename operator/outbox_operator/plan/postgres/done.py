"""What a plan has done once it has run, for people. Pure.

The reason of a step says what it does or what it repairs, which is read before it runs; afterwards
`role auditor lacks USAGE` would be a complaint about what is no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from outbox_operator.plan.postgres.state import Statement

_DID: Final = {
    "add": "added", "build": "built", "create": "created", "disable": "disabled",
    "drop": "dropped", "enable": "enabled", "grant": "granted", "make": "made",
    "mark": "marked", "note": "noted", "start": "started", "tie": "tied", "use": "used",
}  # fmt: skip
"""Of reasons that say what a step does, their first words."""
_CHANGED: Final = {"CREATE": "created", "DROP": "dropped"}
_OF_RIGHTS: Final = {"GRANT": "granted", "REVOKE": "revoked"}


def done(statements: Iterable[Statement]) -> Iterator[str]:
    """A line for each step that did something."""
    for step in statements:
        verb, _, rest = step.sql.partition(" ")
        first, _, more = step.reason.partition(" ")
        if "IF EXISTS" in step.sql.partition("\n")[0]:
            continue  # mostly nothing was there
        if verb in _OF_RIGHTS and first not in _DID:
            yield f"{_OF_RIGHTS[verb]} {rest.replace(chr(34), '')}"
        elif first in _DID:
            yield f"{_DID[first]} {more}"
        else:
            yield f"{step.reason}: {_CHANGED.get(verb, 'changed')}"
