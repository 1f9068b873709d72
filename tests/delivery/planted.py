"""A relay with a bug planted into it: `python planted.py <plant> relay`.

Each takes away one thing that the guarantees rest on. A checker that does not catch them proves
nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final


def _id_cursor() -> None:
    """The popular cursor: what is not newer than the newest seen is taken as seen."""
    from outbox_operator.adapters.postgres.rows import Bound
    from outbox_operator.relay.paging import Snapshot

    def bound(self: Snapshot) -> Bound:
        return Bound(str(self.xmax), ())

    Snapshot.bound = bound  # type: ignore[method-assign]


def _drop_ack() -> None:
    """What was handed to the connection is taken as stored."""
    from outbox_operator.adapters.nats.publish_run import Run
    from outbox_operator.adapters.nats.publisher import Sent

    async def finish(self: Run) -> Sent:
        self._close()
        before = self._fence.sequence if self._fence is not None else 0
        return Sent(self._sent, None, before + self._sent)

    Run.finish = finish  # type: ignore[method-assign]


def _skip_fence() -> None:
    """Nobody asks whether somebody else has published in between."""
    from outbox_operator.adapters.nats.publisher import Publisher

    real = Publisher.open_run

    def open_run(self: Publisher, *, fence: object, **options: Any) -> Any:
        return real(self, fence=None, **options)

    Publisher.open_run = open_run  # type: ignore[method-assign]


def _no_recovery() -> None:
    """The cursor is believed, however far the stream is ahead of it."""
    from outbox_operator.relay.recovery import Tail

    real = Tail.add

    def add(self: Tail, *message: Any) -> None:
        real(self, *message)
        self.published.clear()

    Tail.add = add  # type: ignore[method-assign,assignment]


def _order_by_id() -> None:
    """Events are sent in order of their ids, as a table without a sequence would give them."""
    _before_sending(lambda messages: sorted(messages, key=lambda message: message.head))


def _re_encode() -> None:
    """JSON goes through a parser on its way."""

    def parsed(payload: bytes) -> bytes:
        return json.dumps(json.loads(payload)).encode()

    _before_sending(
        lambda messages: [message._replace(payload=parsed(message.payload)) for message in messages]
    )


def _before_sending(change: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
    from outbox_operator.adapters.nats.publish_run import Run

    real = Run.send

    async def send(self: Run, messages: Sequence[Any], *, last: bool = False) -> None:
        await real(self, change(messages), last=last)

    Run.send = send  # type: ignore[method-assign]


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "id-cursor": _id_cursor,
    "drop-ack": _drop_ack,
    "skip-fence": _skip_fence,
    "no-recovery": _no_recovery,
    "order-by-id": _order_by_id,
    "re-encode": _re_encode,
}


def main() -> int:
    """Plant, then be `outbox`."""
    from outbox_operator.cli.main import main as outbox

    PLANTS[sys.argv[1]]()
    return outbox(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
