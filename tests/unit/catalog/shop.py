"""Declared events with what such classes hold, for the tests beside this file."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from outbox_operator.client import event


class Currency(enum.Enum):
    EUR = "EUR"
    USD = "USD"


class Line(BaseModel):
    sku: str
    quantity: int = Field(gt=0)


class Card(BaseModel):
    kind: Literal["card"]
    last: str


class Transfer(BaseModel):
    kind: Literal["transfer"]
    iban: str


@event("order.created", key="id")
class OrderCreated(BaseModel):
    """An order was taken.

    Not yet paid.
    """

    id: uuid.UUID
    total: Decimal
    currency: Currency = Currency.EUR
    lines: list[Line] = []
    placed_at: dt.datetime
    note: str | None = None
    payment: Annotated[Card | Transfer, Field(discriminator="kind")]
    tags: dict[str, int] = Field(default_factory=dict)
    size: tuple[int, str] = (1, "m")


@event("order.created", version=2, key="id")
@dataclass(slots=True)
class OrderCreatedAgain:
    id: int
    before: OrderCreatedAgain | None = None
    tags: list[str] = field(default_factory=list)


@event("order.lost", deprecated=True)
@dataclass
class OrderLost:
    """Nobody knows where it is."""

    id: int
