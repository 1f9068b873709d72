"""The order service: every order and its event are written in one transaction, or not at all.

Some orders fail on purpose after everything was written, so that the transaction is rolled back:
nobody may ever hear of them.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid

import asyncpg

from outbox_operator.client import Event, Outbox

DATABASE_URL = os.environ["DATABASE_URL"]
SECONDS_BETWEEN_ORDERS = 1 / float(os.environ.get("ORDERS_PER_SECOND", "20"))
DECLINE_EVERY = 7

outbox = Outbox()


class PaymentDeclinedError(Exception):
    """The order cannot be accepted after all."""


async def place_order(connection: asyncpg.Connection, *, declined: bool) -> None:
    """Write one order and the event that tells of it."""
    order_id = uuid.uuid4()
    order = {
        "id": order_id,
        "customer": f"customer-{random.randrange(1000)}@example.com",
        "amount_cents": random.randrange(100, 100_000),
    }
    try:
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO public.orders (id, customer, amount_cents) VALUES ($1, $2, $3)",
                *order.values(),
            )
            await outbox.add(
                connection, Event(type="order.created", key=str(order_id), payload=order)
            )
            if declined:
                raise PaymentDeclinedError
    except PaymentDeclinedError:
        await connection.execute("INSERT INTO public.declined (order_id) VALUES ($1)", order_id)


async def take_orders(stop: asyncio.Event) -> None:
    """Place orders at a steady pace until told to stop."""
    connection = await asyncpg.connect(DATABASE_URL, timeout=5)
    try:
        number = 0
        while not stop.is_set():
            number += 1
            await place_order(connection, declined=number % DECLINE_EVERY == 0)
            if number % 100 == 0:
                print(f"{number} orders taken, every {DECLINE_EVERY}th declined", flush=True)
            await asyncio.sleep(SECONDS_BETWEEN_ORDERS)
    finally:
        await connection.close(timeout=5)


async def main() -> None:
    """Take orders; when the database or the outbox is not there, try again every second."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        try:
            await take_orders(stop)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            print(f"no orders for now: {error}", flush=True)
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
