"""What a tenant may write that is too much to read: their object says so, nobody else notices."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from support.kube import Kubectl
from support.waiting import wait_until
from support.world import World

READY = 'jsonpath={.status.conditions[?(@.type=="Ready")].reason}'


def write(world: World, path: str, document: dict[str, Any], file: Path, junk: str) -> None:
    """Create an object with a text of JSON in the place of the word "junk"."""
    file.write_text(json.dumps(document).replace('"junk"', junk))
    world.kubectl("create", "--raw", path.format(world.namespace), "-f", str(file))


def _is(kubectl: Kubectl, command: tuple[str, ...], wanted: str) -> bool:
    return kubectl(*command) == wanted


def test_one_object_that_is_too_much_ends_no_operator(world: World, tmp_path: Path) -> None:
    before = world.operator.process
    assert before is not None
    file = tmp_path / "object.json"
    ours = "/apis/outbox.dev/v1alpha1/namespaces/{}/eventconsumers"
    texts = {"deep": '{"a":' * 1_200 + "1" + "}" * 1_200, "dense": f"[{'[],' * 60_000}[]]"}
    for name, junk in texts.items():
        document = world.consumer(name, podTemplate={"a": "junk"})
        write(world, ours, document, file, junk)
    labels = {"app.kubernetes.io/managed-by": "outbox-operator"}
    long = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "long", "labels": labels},
        "data": {"a": "junk"},
    }  # over 4 MiB as the API server writes it
    write(world, "/api/v1/namespaces/{}/configmaps", long, file, json.dumps("<" * 720_000))
    world.apply(*world.whole())
    world.wait_ready("OutboxPipeline", "orders")
    for name in texts:
        says = ("get", "eventconsumer", name, "-n", world.namespace, "-o", READY)
        wait_until(partial(_is, world.kubectl, says, "InvalidSpec"), f"{name} says so")
    assert world.operator.process is before
    assert before.poll() is None
    # It leaves no object behind that the next test's operator would have to read.
    world.kubectl("delete", "eventconsumer", *texts, "-n", world.namespace)
