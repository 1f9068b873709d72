"""Take an order, and tell everybody if and only if it is taken."""

import json

from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_POST

from outbox_operator.client import Event, SyncOutbox
from shop import events
from shop.models import Order

CREDIT = 100_000
outbox = SyncOutbox(catalog=events)


@require_POST
def orders(request: HttpRequest) -> JsonResponse:
    """One transaction holds the order and its event."""
    new = json.loads(request.body)
    with transaction.atomic():
        order = Order.objects.create(customer=new["customer"], total=new["total"])
        created = events.OrderCreated(order.pk, order.customer, order.total)
        outbox.add(connection, Event.of(created))
        if order.total > CREDIT:
            transaction.set_rollback(True)
            return JsonResponse({"error": "more than the customer's credit"}, status=402)
    return JsonResponse({"id": order.pk}, status=201)
