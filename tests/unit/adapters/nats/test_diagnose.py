"""A server that a tenant names may answer anything: the doctor says so, and takes so much of it."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.diagnose import JetStreamLook
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.errors import NatsError

NONSENSE: list[dict[str, Any]] = [
    {"config": "?"}, {"config": {"name": "X"}, "state": []}, {"config": {}, "state": {}},
    {"config": {"name": "X", "max_age": float("inf")}, "state": {"messages": 0}},
    {"config": {"name": "X"}, "state": {"messages": 1, "bytes": 1, "first_seq": 1, "last_seq": 1,
                                        "first_ts": "0001-01-01T00:00:00+14:00"}},
    {"limits": 7}, {"storage": "much"}, {"consumers": 7}, {"consumers": [7], "total": 1},
    {"streams": 7, "consumers": [], "limits": [], "storage": {}},
    {"total": "many", "streams": ["X"],
     "consumers": [{"config": {"durable_name": "d"}, "name": "d"}]},
]  # fmt: skip


class Api:
    """Gives one answer to everything."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.asked = 0

    async def find(self, *_: object) -> dict[str, Any]:
        self.asked += 1
        return self.answer

    request = find


def look(answer: dict[str, Any]) -> tuple[JetStreamLook, Api]:
    auth = NatsAuth(url="nats://n:4222")
    found, api = JetStreamLook(WireClient(address="n", wants_tls=False), auth), Api(answer)
    found._api = api  # type: ignore[assignment]
    return found, api


@pytest.mark.parametrize("answer", NONSENSE, ids=str)
async def test_nonsense_is_said_to_be_none_of_jetstream(answer: dict[str, Any]) -> None:
    found, _ = look(answer)
    refused = 0
    for asked in (found.account, found.stream_names, lambda: found.stream("X"),
                  lambda: found.durables("X"), lambda: found.durable("X", "d")):  # fmt: skip
        try:
            await asked()
        except NatsError as error:
            refused += "a program other than JetStream" in error.message
    assert refused


async def test_lists_without_end_are_taken_in_part() -> None:
    consumer = {"name": "d" * 9999, "stream_name": "X", "config": {
        "durable_name": "d", "filter_subjects": ["x"] * 9999}}  # fmt: skip
    found, api = look({"total": 10**9, "streams": ["X" * 9999], "consumers": [consumer]})

    names, durables = await found.stream_names(), await found.durables("X")

    assert api.asked == 8
    assert max(map(len, names)) == len(durables[0].facts.name) == 255
    assert len(durables[0].filters) == 8
