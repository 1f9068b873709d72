"""Logs of several pods, merged, from an API server that has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from outbox_operator.cli.cluster.logs import Line, merge, parse
from support.answering import answering, kubeconfig
from support.cli import CommandLine

LOGS = {
    "orders-relay-a": "2026-01-31T12:00:00.5Z begun\n2026-01-31T12:00:02.5Z published\n",
    "orders-billing-b": "2026-01-31T12:00:01.5Z \x1b[2Jhandled\n2026-01-31T12:00:03Z done\n",
}


def pod(name: str, component: str, *containers: str) -> dict[str, Any]:
    """A pod as the API has it."""
    labels = {"app.kubernetes.io/component": component}
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {"containers": [{"name": one} for one in containers]},
        "status": {"phase": "Running"},
    }


def server(asked: list[dict[str, list[str]]]) -> Callable[[BaseHTTPRequestHandler], None]:
    """An API server with three pods, of which one has not started."""
    pods = [
        pod("orders-relay-a", "relay", "sidecar", "relay"),
        pod("orders-billing-b", "consumer", "consumer"),
        pod("orders-billing-c", "consumer", "handler"),
    ]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        asked.append(parse_qs(url.query))
        code, kind, body = 200, "application/json", b""
        if url.path.endswith("/pods"):
            listed = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}
            body = json.dumps(listed).encode()
        else:
            name = url.path.split("/")[-2]
            if name in LOGS:
                kind, body = "text/plain", LOGS[name].encode()
            else:
                code = 400
                body = b'{"kind": "Status", "message": "container is waiting to start"}'
        handler.send_response(code)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_logs_are_merged_by_time(tmp_path: Path) -> None:
    asked: list[dict[str, list[str]]] = []
    with answering(server(asked)) as address:
        outbox = CommandLine(kubeconfig(tmp_path, address), "shop")
        found = outbox.run("logs", "orders", "--tail", "7", "--since", "2h")
        lines = outbox.facts("logs", "orders", code=1)["lines"]
    assert found.out.splitlines() == [
        "orders-relay-a begun",
        "orders-billing-b \\x1b[2Jhandled",
        "orders-relay-a published",
        "orders-billing-b done",
    ]
    # One that cannot be had is said, and the others are shown.
    assert found.code == 1
    assert "orders-billing-c: " in found.err
    assert "container is waiting to start" in found.err
    assert [line["line"] for line in lines][1] == "\x1b[2Jhandled"
    selector, *queries = asked[:4]
    assert "outbox.dev/pipeline=orders" in selector["labelSelector"][0]
    containers = {one["container"][0] for one in queries}
    assert containers == {"relay", "consumer", "handler"}
    assert {one["tailLines"][0] for one in queries} == {"7"}
    assert {one["sinceSeconds"][0] for one in queries} == {"7200"}
    assert all(int(one["limitBytes"][0]) for one in queries)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["orders", "--only", "relay"], ["component=relay", "outbox.dev/pipeline=orders"]),
        (["orders", "--consumer", "billing"], ["outbox.dev/consumer=billing"]),
        (["evc/mailer"], ["app.kubernetes.io/instance=mailer", "component=consumer"]),
    ],
)
def test_which_pods(arguments: list[str], wanted: list[str], tmp_path: Path) -> None:
    asked: list[dict[str, list[str]]] = []
    with answering(server(asked)) as address:
        CommandLine(kubeconfig(tmp_path, address), "shop").run("logs", *arguments)
    assert all(one in asked[0]["labelSelector"][0] for one in wanted)


def test_lines_of_one_pod_stay_in_their_order() -> None:
    back = [Line(at="3", pod="a", line="first"), Line(at="1", pod="a", line="second")]
    other = [Line(at="2", pod="b", line="other"), Line(at="4", pod="b", line="last")]
    assert [line.line for line in merge([back, other])] == ["other", "first", "second", "last"]


def test_a_line_and_its_time() -> None:
    assert parse("a", "2026-01-31T12:00:00Z {} x") == Line(
        at="2026-01-31T12:00:00Z", pod="a", line="{} x"
    )
    assert parse("a", "2026-01-31T12:00:00Z").line == ""
