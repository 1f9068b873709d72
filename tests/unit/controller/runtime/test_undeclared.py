"""Fields of a status that a resource definition of before does not declare."""

from __future__ import annotations

from outbox_operator.controller.runtime.undeclared import REMEMBERED_SECONDS, Undeclared
from outbox_operator.errors import SpecError

REFUSED = SpecError(
    "PATCH eventstreams shop/orders status: failed to create typed patch object: errors:\n  "
    ".status.stream.place: field not declared in schema\n  "
    '.status.consumers[name="a"].oldest: field not declared in schema'
)
STATUS = {
    "stream": {"name": "ORDERS", "place": {"url": "nats://n:4222"}},
    "consumers": [{"name": "a", "oldest": 1}, {"name": "b"}],
}


def test_what_was_refused_is_left_out_for_a_while() -> None:
    now = 100.0
    undeclared = Undeclared(lambda: now)
    manifest = {"kind": "EventStream", "status": STATUS}
    assert undeclared.left_out(manifest) == manifest
    assert not undeclared.learn("EventStream", SpecError("spec.nats.url: malformed"))
    assert undeclared.learn("EventStream", REFUSED)
    assert not undeclared.learn("EventStream", REFUSED)  # it is no help to try again
    assert undeclared.left_out(manifest)["status"] == {
        "stream": {"name": "ORDERS"},
        "consumers": [{"name": "a"}, {"name": "b"}],
    }
    assert undeclared.left_out({**manifest, "kind": "EventConsumer"})["status"] == STATUS
    assert manifest["status"] == STATUS
    now += REMEMBERED_SECONDS
    assert undeclared.left_out(manifest) == manifest
