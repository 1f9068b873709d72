"""Declared events that quicktype alone makes no right code of, or none at all."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, RootModel

from outbox_operator.client import event


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Date(BaseModel):
    """A class may have the name of a type of the language."""

    day: dt.date


class Item(BaseModel):
    sku: str
    parts: list[Item] = []
    by_name: dict[str, Item] = {}
    parent: Item | None = None


@event("date")
class DateChosen(BaseModel):
    date: Date
    either: list[int | str]


@event("array")
class ArrayFilled(BaseModel):
    many: list[int | str]


@event("error")
class ErrorSeen(BaseModel):
    type: Literal["error"]
    func: str
    string: str


@event("type")
class TypeMade(BaseModel):
    range: int


@event("item.put")
class ItemPut(RootModel[Item]):
    pass


@event("items.put")
class ItemsPut(RootModel[list[Item]]):
    pass


@event("note.set")
class NoteSet(RootModel[str | None]):
    pass


@event("item.set")
class ItemSet(RootModel[Item | None]):
    pass


@event("either.set")
class EitherSet(RootModel[int | str | None]):
    pass


@event("any.set")
class AnySet(RootModel[Any]):
    pass


@event("moment.set")
class MomentSet(RootModel[AwareDatetime]):
    pass


@event("moments.set")
class MomentsSet(RootModel[list[AwareDatetime]]):
    pass


class Started(BaseModel):
    kind: Literal["started"]
    at: AwareDatetime


class Counted(BaseModel):
    kind: Literal["counted"]
    at: int


@event("moment.told")
class MomentTold(BaseModel):
    at: AwareDatetime | int
    ended: AwareDatetime | None = Field(default=None, description="When it was over.\nOr not.")
    pair: tuple[AwareDatetime, int]
    what: Annotated[Started | Counted, Field(discriminator="kind")]


@event("a.b")
class AB(BaseModel):
    """Of which quicktype makes `Ab`."""

    größe: Sequence[int]
    名前: str


@event("more.told")
class MoreTold(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str]
    id: int


@event("keys.told")
class KeysTold(BaseModel):
    sizes: dict[Size, int]
    prices: dict[Annotated[str, Field(pattern="^[A-Z]+$")], Decimal]
    moments: dict[dt.date, int]
