"""What an API server refuses, told with what to do; nothing it says ends in a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from support.answering import answering, kubeconfig
from support.cli import CommandLine

FORBIDDEN = {
    "kind": "Status",
    "message": 'outboxpipelines.outbox.dev is forbidden: User "ann" cannot list resource '
    '"outboxpipelines" in API group "outbox.dev" in the namespace "shop"',
    "reason": "Forbidden",
    "code": 403,
}
NOT_THERE = {
    "kind": "Status",
    "message": "the server could not find the requested resource",
    "reason": "NotFound",
    "code": 404,
}
UNKNOWN = {"kind": "Status", "message": "Unauthorized", "reason": "Unauthorized", "code": 401}
EMPTY = {"kind": "OutboxPipelineList", "apiVersion": "outbox.dev/v1alpha1", "metadata": {}}


def says(code: int, body: bytes, *, of: int | None = None) -> Callable[..., None]:
    """An answer; `of`: of so many bytes, the rest of which never come."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body) if of is None else of))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (
            says(403, json.dumps(FORBIDDEN).encode()),
            1,
            "ann may not list outboxpipelines.outbox.dev in namespace shop; `kubectl auth can-i "
            "list outboxpipelines.outbox.dev -n shop`",
        ),
        (
            says(404, json.dumps(NOT_THERE).encode()),
            2,
            "outboxpipelines of outbox.dev are not installed in the",
        ),
        (says(404, b"404 page not found\n"), 2, "outboxpipelines of outbox.dev are not installed"),
        (says(401, json.dumps(UNKNOWN).encode()), 1, "does not accept the login of context 'test'"),
        (
            says(200, b"<html>please log in</html>"),
            1,
            "the answer is no object: '<html>please log in</html>'",
        ),
        (says(200, b"[]"), 1, "the answer is no object: '[]'"),
        (says(502, b"bad gateway"), 1, "bad gateway"),
        (says(200, b'{"kind": "OutboxPi', of=100_000), 1, "Kubernetes API at http://127.0.0.1"),
        (says(200, json.dumps(EMPTY).encode()), 1, ""),
    ],
    ids=[
        "forbidden",
        "no CRDs",
        "no group",
        "no login",
        "a portal",
        "no object",
        "gateway",
        "cut off",
        "nothing there",
    ],
)
def test_an_answer_becomes_a_sentence(
    answer: Callable[[BaseHTTPRequestHandler], None], code: int, said: str, tmp_path: Path
) -> None:
    with answering(answer) as server:
        found = CommandLine(kubeconfig(tmp_path, server), "shop").run("status")
    assert found.code == code, found.err
    assert said in found.err
    assert "hidden" not in found.err + found.out


def test_nothing_that_others_say_is_obeyed_by_a_terminal(tmp_path: Path) -> None:
    evil = {**FORBIDDEN, "message": "no \x1b]0;owned\x07\x1b[2J \u202e here"}
    with answering(says(403, json.dumps(evil).encode())) as server:
        found = CommandLine(kubeconfig(tmp_path, server), "shop").run("status")
    assert found.code == 1
    assert found.err.replace("\n", "").isprintable()
    assert "\\x1b]0;owned" in found.err


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    found = CommandLine(kubeconfig(tmp_path, "https://127.0.0.1:1")).run("status", "-A")
    assert found.code == 1
    assert "Kubernetes API at https://127.0.0.1:1" in found.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no kubeconfig"),
        ("{", "while parsing"),
        ("", "it is no complete kubeconfig"),
        ("a: b", "current-context"),
        (
            "{current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], "
            "users: [{name: a, user: {}}], clusters: [{name: a, cluster: {}}]}",
            "has no `server`",
        ),
        ("- a", "it is no complete kubeconfig"),
    ],
)
def test_a_broken_kubeconfig_is_named(text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    found = CommandLine(path).run("status")
    assert found.code == 1
    assert str(path) in found.err
    assert said in found.err


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = CommandLine(kubeconfig(tmp_path, "https://127.0.0.1:1")).run("status", "--context=prod")
    assert found.code == 1
    assert "prod" in found.err


def test_a_credential_plugin_that_fails_is_quoted(tmp_path: Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", "echo log in first >&2; exit 3"],
    }
    path = kubeconfig(tmp_path, "https://127.0.0.1:1", {"exec": plugin})
    found = CommandLine(path).run("status")
    assert found.code == 1
    first, rest = found.err.split("\n", 1)
    assert first == "log in first"
    assert "credential plugin sh: it ended with exit code 3" in rest


@pytest.mark.parametrize(
    "arguments",
    [["status", "-n", "a", "-A"], ["status", "-o", "wide"], ["status", "a", "b"]],
)
def test_wrong_usage(arguments: list[str], tmp_path: Path) -> None:
    assert CommandLine(tmp_path / "none").run(*arguments).code == 2


def test_a_terminal_of_another_encoding(tmp_path: Path) -> None:
    body = json.dumps(
        {**FORBIDDEN, "message": "the quota of gr\u00f6\u00dfe \u2026 is used up"}
    ).encode()
    with answering(says(403, body)) as server:
        done = subprocess.run(
            [sys.executable, "-m", "outbox_operator.cli.main", "status",
             f"--kubeconfig={kubeconfig(tmp_path, server)}"],
            env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert "gr\\xf6\\xdfe" in done.stderr
