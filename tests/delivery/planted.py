"""A relay with a bug planted into it: `python planted.py <plant> relay`.

Each takes away one thing that the guarantees rest on. A checker that does not catch them proves
nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final


def _id_cursor() -> None:
    """The popular cursor: what is not newer than the newest seen is taken as seen."""
    from outbox_operator.adapters.outbox_rows import Bound
    from outbox_operator.relay.paging import Snapshot

    def bound(self: Snapshot) -> Bound:
        return Bound(str(self.xmax), ())

    Snapshot.bound = bound  # type: ignore[method-assign]


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "id-cursor": _id_cursor,
}


def main() -> int:
    """Plant, then be `outbox`."""
    from outbox_operator.cli.main import main as outbox

    PLANTS[sys.argv[1]]()
    return outbox(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
