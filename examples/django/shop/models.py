"""Orders, and the invoices that follow from their events."""

from django.db import models


class Order(models.Model):
    """What a customer wants."""

    customer = models.TextField()
    total = models.IntegerField()


class Invoice(models.Model):
    """Made by the consumer, once for each order."""

    order_id = models.BigIntegerField(primary_key=True)
    total = models.IntegerField()
