"""Take an order, and tell everybody if and only if it is taken."""

import json

from django import forms
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_POST

from outbox_operator.client import Event, SyncOutbox
from shop import events
from shop.models import Order

CREDIT = 100_000
outbox = SyncOutbox(catalog=events)


class NewOrder(forms.ModelForm):
    """What a customer sends."""

    total = forms.IntegerField(min_value=1, max_value=2**31 - 1)

    class Meta:
        model = Order
        fields = ("customer", "total")


@require_POST
def orders(request: HttpRequest) -> JsonResponse:
    """One transaction holds the order and its event."""
    try:
        new = json.loads(request.body)
    except (ValueError, RecursionError):
        new = None
    if not isinstance(new, dict):
        return JsonResponse({"error": "wanted a JSON object"}, status=400)
    form = NewOrder(new)
    if not form.is_valid():  # by field, what is wrong with it
        return JsonResponse({"errors": form.errors}, status=400)
    with transaction.atomic():
        order = form.save()
        created = events.OrderCreated(order.pk, order.customer, order.total)
        outbox.add(connection, Event.of(created))
        if order.total > CREDIT:
            transaction.set_rollback(True)
            return JsonResponse({"error": "more than the customer's credit"}, status=402)
    return JsonResponse({"id": order.pk}, status=201)
