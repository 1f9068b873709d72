"""What is sent, and when: debounced nudges, refused settings, figures without prometheus-client."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from outbox_operator.client import NatsLink, Nudge, Outbox, Publish, SpecError
from outbox_operator.client.metrics import SendMetrics
from outbox_operator.client.nats_link import Job, _Gathered
from outbox_operator.reasons import Reason
from support.waiting import SECONDS


def job(number: int) -> Job:
    return Job("shop", "orders", "outbox.nudge.shop.orders", b"", None, float(number))


async def test_the_first_nudge_goes_at_once_and_close_ones_go_together() -> None:
    sent: list[list[Job]] = []
    complete = asyncio.Event()

    def send(jobs: list[Job]) -> None:
        sent.append(jobs)
        if sum(map(len, sent)) == 100:
            complete.set()

    nudges = _Gathered()
    # All in one step of the loop: no time passes in between but that of the code.
    for number in range(100):
        nudges.add(job(number), send)
    assert sent[0] == [job(0)]
    await asyncio.wait_for(complete.wait(), SECONDS)
    assert [one for jobs in sent for one in jobs] == [job(number) for number in range(100)]
    assert len(sent) < 10


def test_settings_that_cannot_work_are_refused() -> None:
    link = NatsLink("nats://nats:4222")
    with pytest.raises(SpecError, match="which only the relay knows; use Nudge"):
        Publish(link=link, namespace="shop", pipeline="orders", subject="orders.{shard}.x")
    with pytest.raises(SpecError, match="unknown placeholder"):
        Publish(link=link, namespace="shop", pipeline="orders", subject="orders.{type}")
    for wrong in ("nats://orders:S3cr3t@nats:4222", None):
        with pytest.raises(SpecError, match="Nudge: link: wanted a NatsLink, found") as caught:
            Nudge(link=wrong, namespace="shop", pipeline="orders")  # type: ignore[arg-type]
        assert "S3cr3t" not in str(caught.value)
    nothing: Any
    for nothing in (5, None):
        with pytest.raises(SpecError, match="nats: wanted a URL, an open connection of nats"):
            NatsLink(nothing)
    with pytest.raises(SpecError, match="begins with nats://, found http://"):
        NatsLink("nats://a:4222,http://orders:S3cr3t@b")
    with pytest.raises(SpecError, match="Publish: pipeline: wanted a str, found an empty one"):
        Publish(link=link, namespace="shop", pipeline="", subject="orders.x")
    with pytest.raises(SpecError, match=r"send is NatsLink, wanted Nudge\(…\) or Publish\(…\)"):
        Outbox(send=link)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="nats is empty"):
        NatsLink(" ")
    with pytest.raises(SpecError, match="timeout_seconds is 0, wanted more"):
        NatsLink("nats://nats:4222", timeout_seconds=0)


def test_without_prometheus_client_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    metrics = SendMetrics()
    metrics.attempt("shop", "orders")
    metrics.success("shop", "orders", 0.1)
    metrics.failure("shop", "orders", Reason.NATS_UNREACHABLE)


def test_a_url_without_nats_py_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    with pytest.raises(SpecError, match=r"outbox-operator\[client-nats\]"):
        NatsLink("nats://nats:4222")
    NatsLink("nats://nats:4222", enabled=False)
