"""The probe server answers fast, truly, and survives bad clients."""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import time

from outbox_operator.telemetry.health import HealthServer
from outbox_operator.telemetry.metrics import Metrics


async def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    data = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def good() -> tuple[bool, str]:
    return True, "connected to db:5432"


def bad() -> tuple[bool, str]:
    return False, "nats://nats:4222: connection refused"


async def test_ready_only_when_every_check_holds_and_each_reason_is_told() -> None:
    async with HealthServer(0, {"postgres": good, "nats": bad}, host="127.0.0.1") as server:
        status, body = await get(server, "/readyz")
    assert status == 503
    assert json.loads(body) == {
        "status": "failing",
        "checks": {
            "postgres": {"ok": True, "reason": "connected to db:5432"},
            "nats": {"ok": False, "reason": "nats://nats:4222: connection refused"},
        },
    }


async def test_liveness_does_not_depend_on_readiness() -> None:
    async with HealthServer(0, {"nats": bad}, host="127.0.0.1") as server:
        assert (await get(server, "/healthz"))[0] == 200
        assert (await get(server, "/readyz?verbose"))[0] == 503


async def test_live_checks_count() -> None:
    async with HealthServer(0, {}, live={"watch": bad}, host="127.0.0.1") as server:
        assert (await get(server, "/healthz"))[0] == 503
        assert (await get(server, "/readyz"))[0] == 200


async def test_metrics_come_from_the_given_registry() -> None:
    metrics = Metrics("outbox_relay", {"pipeline": "orders"})
    metrics.counter("published_total", "Events.").inc(7)
    async with HealthServer(0, {}, registry=metrics.registry, host="127.0.0.1") as server:
        status, body = await get(server, "/metrics")
    assert status == 200
    assert b'outbox_relay_published_total{pipeline="orders"} 7.0' in body


async def test_unknown_paths_and_methods_are_refused() -> None:
    async with HealthServer(0, {}, host="127.0.0.1") as server:
        assert (await get(server, "/"))[0] == 404
        assert (await get(server, "/metrics"))[0] == 404
        assert (await get(server, "/healthz", "POST"))[0] == 405
        assert await get(server, "/healthz", "HEAD") == (200, b"")


async def test_rubbish_and_silent_clients_do_not_disturb_others() -> None:
    async with HealthServer(0, {"x": good}, host="127.0.0.1") as server:
        reader, silent = await asyncio.open_connection("127.0.0.1", server.port)
        flood_reader, flood = await asyncio.open_connection("127.0.0.1", server.port)
        flood.write(b"x" * 100_000)
        assert (await get(server, "/readyz"))[0] == 200
        assert await asyncio.wait_for(flood_reader.read(), 5) == b""
        silent.close()
        flood.close()
        del reader


async def test_answers_stay_under_100_ms_while_the_loop_is_busy() -> None:
    async def busy() -> None:
        while True:
            time.sleep(0.005)  # noqa: ASYNC251  a batch of CPU work between two awaits
            await asyncio.sleep(0)

    def ask(port: int) -> tuple[int, float]:
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            response.read()
            return response.status, time.monotonic() - started
        finally:
            connection.close()

    async with HealthServer(0, {"x": good}, host="127.0.0.1") as server:
        load = asyncio.create_task(busy())
        try:
            answers = [await asyncio.to_thread(ask, server.port) for _ in range(5)]
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
    assert {status for status, _ in answers} == {200}
    assert statistics.median(elapsed for _, elapsed in answers) < 0.1
