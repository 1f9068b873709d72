"""Tests without servers of ours: `python manage.py test`. Django makes a database for them."""

import asyncio
import json
from unittest import mock

from django.test import TestCase, TransactionTestCase

from outbox_operator.django.management.commands.outbox_consume import in_a_request_of_its_own
from outbox_operator.testing import RecordingSyncOutbox, RunningHandlers
from shop import events, handlers, views
from shop.models import Invoice, Order


class Orders(TestCase):
    """What an order leads to."""

    def setUp(self) -> None:
        self.outbox = RecordingSyncOutbox(catalog=events)
        patch = mock.patch.object(views, "outbox", self.outbox)
        patch.start()
        self.addCleanup(patch.stop)

    def order(self, total: int) -> int:
        body = json.dumps({"customer": "ada", "total": total})
        return self.client.post("/orders", body, content_type="application/json").status_code

    def test_an_order_is_announced(self) -> None:
        self.assertEqual(self.order(1999), 201)
        [event] = self.outbox.events
        order = Order.objects.get()
        self.assertEqual((event.type, event.key), ("order.created", str(order.pk)))
        self.assertEqual(event.payload, {"id": order.pk, "customer": "ada", "total": 1999})

    def test_an_order_beyond_the_credit_is_not_kept(self) -> None:
        self.assertEqual(self.order(100_001), 402)
        self.assertEqual(Order.objects.count(), 0)

    def test_what_is_no_order_is_refused_with_its_field(self) -> None:
        for total in ("many", None, 0, -1, 1.5, True, 2**31, [], 10**400):
            answer = self.client.post(
                "/orders", {"customer": "ada", "total": total}, content_type="application/json"
            )
            self.assertEqual((answer.status_code, list(answer.json()["errors"])), (400, ["total"]))
        for body in ("", "[1]", "7", '{"total": 1', "[" * 100_000):
            answer = self.client.post("/orders", body, content_type="application/json")
            self.assertEqual(answer.status_code, 400)
        answer = self.client.post("/orders", {"customer": "\0"}, content_type="application/json")
        self.assertEqual(set(answer.json()["errors"]), {"total", "customer"})
        self.assertEqual(self.outbox.events, [])


class Invoices(TransactionTestCase):
    """Handlers run in threads of their own, which see what is committed."""

    def test_an_event_makes_one_invoice_however_often_it_comes(self) -> None:
        async def deliver() -> None:
            app = handlers.app.around(in_a_request_of_its_own)
            async with RunningHandlers(app) as running:
                for _ in range(2):
                    created = events.OrderCreated(7, "ada", 1999)
                    handled = await running.settle("order.created", created)
                    assert handled.end == "ack", handled

        asyncio.run(deliver())
        self.assertEqual(list(Invoice.objects.values_list()), [(7, 1999)])
