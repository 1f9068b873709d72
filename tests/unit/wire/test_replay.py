"""Names of replays, and the ids that inboxes remember of what they send again."""

from __future__ import annotations

import uuid

import pytest

from outbox_operator.errors import SpecError
from outbox_operator.wire.replay import (
    MAX_NAME_CHARACTERS,
    check_name,
    check_target,
    replayed_id,
)

EVENT = uuid.UUID("0191f0c5-0000-7000-8000-000000000001")


def test_an_event_has_another_id_in_each_replay() -> None:
    """As the documentation says for other languages; it must stay so for ever."""
    assert replayed_id(EVENT, "last-week.1a2b3c4d") == uuid.uuid5(EVENT, "last-week.1a2b3c4d")
    assert str(replayed_id(EVENT, "last-week.1a2b3c4d")) == "77f0cd2e-4b30-50bc-a72e-9234599a502c"
    assert replayed_id(EVENT, "a") != replayed_id(EVENT, "b")


@pytest.mark.parametrize(
    "name", ["", "a b", ".a", "a:b", "a\n", "x" * (MAX_NAME_CHARACTERS + 1), "é"]
)
def test_names_that_no_message_id_holds_are_refused(name: str) -> None:
    with pytest.raises(SpecError):
        check_name(name)


@pytest.mark.parametrize("durable", ["", "a b", "a.b", "a*", "a>", "a/b", "a\r\nb", "é"])
def test_what_no_durable_consumer_is_called_is_refused(durable: str) -> None:
    with pytest.raises(SpecError):
        check_target(durable)


def test_ordinary_names_are_taken() -> None:
    assert check_name("last-week.1a2b3c4d") == "last-week.1a2b3c4d"
    assert check_target("orders-billing") == "orders-billing"
