"""Names are stable, valid everywhere they are used, and never meet by accident."""

from __future__ import annotations

import re

import pytest

from outbox_operator.errors import SpecError
from outbox_operator.plan import names
from support import resources

DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
LABEL_VALUE = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")


def test_short_names_stay_as_they_are() -> None:
    assert names.child_name("orders", "relay") == "orders-relay"


@pytest.mark.parametrize(
    "parts",
    [
        ("a" * 63, "relay"),
        ("shop.orders", "relay"),
        ("a" * 54 + "-" + "b" * 30,),
        ("x." * 120, "y"),
    ],
)
def test_any_name_becomes_a_dns_label(parts: tuple[str, ...]) -> None:
    name = names.child_name(*parts)
    assert DNS_LABEL.match(name)
    assert len(name) <= 63
    assert name == names.child_name(*parts)


def test_changed_names_do_not_meet() -> None:
    long = "a" * 70
    made = {
        names.child_name(text)
        for text in ("shop.orders", "shop-orders", "shop..orders", long + "1", long + "2")
    }
    assert len(made) == 5


def test_a_consumer_called_relay_keeps_clear_of_the_relay() -> None:
    child = names.event_consumer_name("orders", "relay")
    assert names.workload_name(child) != names.relay_name("orders")


def test_selector_labels_are_part_of_all_labels_and_fit() -> None:
    owner = "orders." + "x" * 100
    labels = names.common_labels("relay", owner, pipeline=owner)
    assert names.selector_labels("relay", owner).items() <= labels.items()
    assert all(LABEL_VALUE.match(value) and len(value) <= 63 for value in labels.values())


def test_selector_text_is_what_a_list_call_takes() -> None:
    assert names.selector_text({"b": "2", "a": "1"}) == "a=1,b=2"


def test_durable_name_is_the_resources_unless_set() -> None:
    assert names.durable_name(resources.consumer()) == "billing"
    assert names.durable_name(resources.consumer(durableName="BILLING_v2")) == "BILLING_v2"


def test_durable_name_refuses_what_nats_refuses() -> None:
    with pytest.raises(SpecError, match=r"billing\.v2.*durableName"):
        names.durable_name(resources.consumer(name="billing.v2"))
