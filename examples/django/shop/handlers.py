"""What follows from orders, run by `manage.py outbox_consume`."""

from outbox_operator.consumer import Handlers
from shop.events import OrderCreated
from shop.models import Invoice

app = Handlers()


@app.handler(OrderCreated)
def invoice(order: OrderCreated) -> None:
    """Safe to repeat: the same event may come twice."""
    Invoice.objects.get_or_create(order_id=order.id, defaults={"total": order.total})
