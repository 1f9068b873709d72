"""Events declared once: what is refused when they are declared, made and written."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, field_serializer

from outbox_operator.client import Event, EventError, SpecError, event
from outbox_operator.client.rows import RowMaker
from outbox_operator.consumer import Handlers
from outbox_operator.consumer.handlers.python import PythonHandler
from outbox_operator.testing import RecordingOutbox, RunningHandlers


@event("order.created", key="id")
class OrderCreated(BaseModel):
    id: int
    total: int = Field(ge=0)


@event("order.paid", version=2, key="id")
@dataclass(slots=True)
class OrderPaid:
    id: uuid.UUID


class Line(BaseModel):
    count: int

    @field_serializer("count")
    def as_text(self, count: int) -> str:
        return str(count)


@event("order.packed")
class OrderPacked(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float")

    took: dt.timedelta
    lines: list[Line]
    weight: Annotated[int, PlainSerializer(str)]


class Inherits(OrderCreated):
    """Of a declared class, and declared as nothing itself."""


class Plain:
    """Neither a dataclass nor a model."""


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: event("order created"), "wanted a dotted name"),
        (lambda: event(Plain), 'event Plain: write @event("order.created") above it'),  # type: ignore[arg-type]
        (lambda: event("order.created.v2"), "without a version at its end"),
        (lambda: event("order.created", version=0), "version: wanted 1, 2, …, found 0"),
        (lambda: event("order.created")(Plain), "@event stands above @dataclass"),
        (lambda: event("order.created")(print), "neither a dataclass nor a pydantic model"),  # type: ignore[arg-type]
        (lambda: event("order.created", key="idd")(OrderPaid), "did you mean 'id'?"),
        (lambda: RecordingOutbox(catalog=[Inherits]), "Inherits is not declared"),
        (lambda: RecordingOutbox(catalog="shop.events"), "found 'shop.events'"),  # type: ignore[arg-type]
        (lambda: RecordingOutbox(catalog=OrderPaid), "wanted a module, as it is imported, or a"),  # type: ignore[arg-type]
        (lambda: RecordingOutbox(catalog=sys), "sys has no class that is declared"),
        (lambda: RecordingOutbox(catalog=[OrderPaid], payload_type="bytea"), "payload_type bytea"),
        (lambda: Handlers().handler(Inherits), "Inherits is not declared"),
        (
            lambda: RecordingOutbox(
                catalog=[OrderCreated, event("order.created")(dataclass(type("Other", (), {})))]
            ),
            "is declared by",
        ),
    ],
)
def test_what_cannot_be_declared(declare: Callable[[], object], said: str) -> None:
    with pytest.raises(SpecError) as error:
        declare()
    assert said in error.value.message


def test_type_and_key_come_from_the_class() -> None:
    name = uuid.uuid4()
    made = Event.of(OrderPaid(name), headers={"tenant": "a"})
    assert (made.type, made.key, made.headers) == ("order.paid.v2", str(name), {"tenant": "a"})
    assert Event.of(OrderCreated(id=1, total=2), key="other", id=name).id == name


CATALOG: Any = (OrderCreated, OrderPaid)


@pytest.mark.parametrize(
    ("made", "catalog", "said"),
    [
        (lambda: Event.of(Plain()), None, "Plain is not declared"),
        (lambda: Event.of(Inherits(id=1, total=1)), None, "Inherits is not declared"),
        (
            lambda: Event.of(OrderCreated.model_construct(id=True, total=1)), None,
            "key field 'id': wanted text, an integer or a UUID, found bool",
        ),
        (lambda: Event(type="x", payload=OrderCreated(id=1, total=1)), None, "use Event.of"),
        (
            lambda: Event(type="order.created", payload=OrderCreated(id=1, total=1)), None,
            "has no key, and OrderCreated is declared with that of its field 'id'; use Event.of",
        ),
        (
            lambda: Event.of(OrderCreated.model_construct(id=1, total=-1)), None,
            "payload is no OrderCreated as readers get it: total: Input should be greater",
        ),
        (
            lambda: Event.of(OrderPaid("no UUID")), None,  # type: ignore[arg-type]
            "payload is no OrderPaid as readers get it: id: Input should be a valid UUID",
        ),
        (lambda: Event(type="order.creatd", payload={}), CATALOG, "mean 'order.created'?"),
        (
            lambda: Event(type="order.created", payload={"id": "1", "total": 1}), CATALOG,
            "id: Input should be a valid integer",
        ),
    ],
)  # fmt: skip
def test_what_is_not_as_declared_is_not_written(
    made: Callable[[], Event], catalog: Any, said: str
) -> None:
    with pytest.raises(EventError) as error:
        RowMaker("jsonb", 1000, catalog).one(made())
    assert said in error.value.message


def test_what_readers_take_is_written_in_whatever_form_a_class_has() -> None:
    made = OrderPacked(took=dt.timedelta(seconds=1.5), lines=[Line(count=2)], weight=3)
    row = RowMaker("jsonb", 1000).one(Event.of(made))
    assert json.loads(row.payload) == {"took": 1.5, "lines": [{"count": "2"}], "weight": "3"}
    assert OrderPacked.model_validate_json(row.payload) == made


async def test_what_is_declared_goes_from_the_outbox_to_its_handler() -> None:
    outbox, app, seen = RecordingOutbox(catalog=CATALOG), Handlers(), list[Any]()

    @app.handler(OrderCreated)
    async def created(order: OrderCreated) -> None:
        seen.append(order)

    @app.batch(OrderPaid, size=5)
    async def paid(orders: list[OrderPaid]) -> None:
        seen.extend(orders)

    payloads = [OrderCreated(id=1, total=2), OrderPaid(uuid.uuid4())]
    for payload in payloads:
        await outbox.add(object(), Event.of(payload))
    await outbox.add(object(), Event(type="order.created", payload={"id": 1, "total": 2}))
    async with RunningHandlers(app) as handlers:
        for one in outbox.events:
            assert (await handlers.settle(one.type, one.payload)).end == "ack"
    assert seen == [*payloads, payloads[0]]


@pytest.mark.parametrize("bound", [OrderPaid, "order.paid.v2", "order.paid.*"])
def test_a_handler_of_another_event_is_refused_with_its_place(bound: Any) -> None:
    app = Handlers()

    @app.handler(bound)
    async def created(order: OrderCreated) -> None: ...

    with pytest.raises(SpecError) as error:
        PythonHandler("shop:app", app, timeout=1, threads=1)
    assert "parameter 'order' is OrderCreated, which is declared as 'order.created'" in str(error)
    assert "test_declaring.py:" in error.value.message


def test_a_dataclass_needs_nothing_but_the_standard_library() -> None:
    """As in an application without pydantic: it is written as it is."""
    script = """
import sys
from dataclasses import dataclass
sys.modules["pydantic"] = None
from outbox_operator.client import Event, event
from outbox_operator.client.rows import RowMaker

@event("order.paid", key="id")
@dataclass
class OrderPaid:
    id: int

print(RowMaker("jsonb", 1000, [OrderPaid]).one(Event.of(OrderPaid(7))).payload)
known = {name.partition(".")[0] for name in sys.modules} - {"pydantic"}
print(sorted(known - sys.stdlib_module_names - {"__main__", "outbox_operator"}))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{script}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == '{"id":7}\n[]\n'
