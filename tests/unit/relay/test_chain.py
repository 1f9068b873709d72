"""What messages name as the number before theirs, through doubts that end and that do not."""

from __future__ import annotations

import pytest

from outbox_operator.adapters.sink import Message
from outbox_operator.relay.chain import Chain, Naming
from outbox_operator.relay.message import name_predecessor
from outbox_operator.relay.recovery import WINDOWS


def doubting(last: int = 7) -> Chain:
    chain = Chain()
    chain.doubted(last)
    return chain


def read_all(chain: Chain) -> Chain:
    for _ in range(WINDOWS):
        chain.window_read()
    return chain


def published(chain: Chain, messages: int) -> Chain:
    chain.opened()
    chain.stored(messages)
    return chain


@pytest.mark.parametrize(
    ("chain", "first", "second"),
    [
        pytest.param(Chain(), None, None, id="ordinary"),
        pytest.param(Chain(5), Naming(5, True), Naming(5, True), id="the owner before had doubts"),
        pytest.param(doubting(), Naming(7, True), Naming(7, True), id="what was published?"),
        pytest.param(read_all(doubting()), Naming(7, False), None, id="nothing was published"),
        pytest.param(
            published(doubting(), 3), Naming(7, True), Naming(7, True),
            id="these may have been dropped",
        ),
        pytest.param(
            read_all(published(doubting(), 3)), Naming(7, False), None,
            id="those after them are new",
        ),
        pytest.param(
            published(read_all(doubting()), 0), Naming(7, False), None, id="refused",
        ),
        pytest.param(published(read_all(doubting()), 1), None, None, id="stored"),
    ],
)  # fmt: skip
def test_what_is_named(chain: Chain, first: Naming | None, second: Naming | None) -> None:
    assert chain.naming(0) == first
    assert chain.naming(1) == second


def test_a_run_that_began_in_doubt_ends_in_doubt() -> None:
    """The window that was open may end within it."""
    chain = doubting()
    chain.opened()
    read_all(chain)
    chain.stored(5)
    assert chain.naming(0) == Naming(7, False)


def test_a_doubt_in_a_doubt_names_what_was_known_before_the_first() -> None:
    chain = doubting(7)
    chain.doubted(1_000_009)
    assert chain.held == 7
    chain.seen(1_000_008)  # the stream shows one of those sent meanwhile
    chain.seen(3)
    assert chain.held == 1_000_008


def test_what_the_stream_shows_means_nothing_without_doubt() -> None:
    chain = Chain()
    chain.seen(9)
    assert chain.held is None


@pytest.mark.parametrize(("every", "named"), [(True, [True, True]), (False, [True, False])])
def test_messages_name_it_in_their_last_header(every: bool, named: list[bool]) -> None:
    head = "NATS/1.0\r\nOutbox-Emission: 9\r\n\r\n"
    messages = name_predecessor([Message("a", head, b"x")] * 2, Naming(7, every))
    with_it = "NATS/1.0\r\nOutbox-Emission: 9\r\nOutbox-Predecessor: 7\r\n\r\n"
    assert messages == [Message("a", with_it if yes else head, b"x") for yes in named]
    assert name_predecessor([], Naming(7, every)) == []
