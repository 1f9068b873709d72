"""Declared events whose names in code are easily taken, or that have no fields."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, RootModel

from outbox_operator.client import event


class Events(BaseModel):
    count: int


@event("order.created")
class OrderCreated(BaseModel):
    type: Literal["order.created"] = "order.created"
    events: Events


@event("order")
class Order(BaseModel):
    x: int


@event("type.order")
class TypeOrder(BaseModel):
    y: int


@event("cache.cleared")
class CacheCleared(BaseModel):
    """Nothing more to say."""


@event("cache.filled")
class CacheFilled(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Line(BaseModel):
    sku: str


@event("lines.put")
class LinesPut(RootModel[list[Line]]):
    pass


@event("note.put")
class NotePut(RootModel[str]):
    pass


@event("counts.put")
class CountsPut(RootModel[dict[str, int]]):
    pass


class Shop:
    """Events may be written inside of what they belong to."""

    @event("shop.opened")
    class Opened(BaseModel):
        id: int
