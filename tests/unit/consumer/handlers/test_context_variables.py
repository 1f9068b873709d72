"""What a call does to context variables ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Annotated

import pytest

from outbox_operator.consumer import Call, Depends, Handlers, ReceivedEvent
from outbox_operator.consumer.handlers.middleware import Answers, Next
from outbox_operator.testing.handlers import RunningHandlers

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
found: list[str] = []


def take(name: str) -> None:
    found.append(tenant.get())
    tenant.set(name)


async def scope() -> AsyncIterator[str]:
    """A dependency that puts back what it has set."""
    token = tenant.set("dependency")
    yield tenant.get()
    await asyncio.sleep(0)
    tenant.reset(token)


async def around(call: Call, handle: Next) -> Answers:
    found.append(tenant.get())
    tenant.set("middleware")
    answers = await handle(call)
    found.append(tenant.get())
    return answers


app, wrapped = Handlers(), Handlers()
wrapped.middleware(around)


@app.handler("at-once")
async def at_once(event: ReceivedEvent) -> None:
    take(event.type)


@app.handler("waits", timeout=30)
async def waits(event: ReceivedEvent) -> None:
    await asyncio.sleep(0)
    take(event.type)
    await asyncio.create_task(asyncio.sleep(0))
    found.append(tenant.get())


@app.handler("fails")
async def fails(event: ReceivedEvent) -> None:
    take(event.type)
    await asyncio.sleep(0)
    raise ValueError


@app.handler("in-a-thread")
def in_a_thread(event: ReceivedEvent) -> None:
    take(event.type)


@app.handler("depends")
async def depends(event: ReceivedEvent, name: Annotated[str, Depends(scope)]) -> None:
    found.append(tenant.get())
    await asyncio.sleep(0)
    assert tenant.get() == name


@wrapped.handler("wrapped")
async def inside(event: ReceivedEvent) -> None:
    found.append(tenant.get())
    await asyncio.sleep(0)
    tenant.set("handler")


@pytest.mark.parametrize(
    ("event", "of_a_call"),
    [
        ("at-once", ["outside"]),
        ("waits", ["outside", "waits"]),
        ("fails", ["outside"]),
        ("in-a-thread", ["outside"]),
        ("depends", ["dependency"]),
        ("wrapped", ["outside", "middleware", "handler"]),
    ],
)
async def test_the_next_call_finds_them_as_they_were(event: str, of_a_call: list[str]) -> None:
    found.clear()
    token = tenant.set("outside")
    async with RunningHandlers(wrapped if event == "wrapped" else app) as running:
        ends = {(await running.deliver(event)).end for _ in range(2)}
    assert ends == {"retry" if event == "fails" else "ack"}
    assert found == 2 * of_a_call
    assert tenant.get() == "outside"
    tenant.reset(token)
