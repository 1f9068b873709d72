"""Credential plugins of a kubeconfig: people who sign in, and plugins that misbehave."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import shlex
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from outbox_operator.adapters.kubernetes import login
from outbox_operator.errors import KubernetesError
from support.answering import kubeconfig
from support.waiting import eventually

V1 = "client.authentication.k8s.io/v1"
GOOD = json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"token": "t"}})


def plugin(folder: Path, script: str, **fields: Any) -> Path:
    """A kubeconfig whose plugin is a script of `sh`."""
    run = {"apiVersion": V1, "command": "sh", "args": ["-c", script], **fields}
    return kubeconfig(folder, "https://127.0.0.1:1", {"exec": run})


def answer(text: str = GOOD) -> str:
    return f"echo {shlex.quote(text)}"


def is_alive(number: str) -> bool:
    """Whether there is a process of that number."""
    return Path("/proc", number).exists()


async def token(path: Path) -> str:
    """That the plugin brings."""
    found = await login.find(str(path))
    return str(found.configuration.api_key["BearerToken"])


async def test_how_to_sign_in_is_read_while_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, signed_in = io.StringIO(), tmp_path / "signed-in"
    os.mkfifo(signed_in)
    script = f"echo enter ABCD-EFGH at https://example.com >&2; cat {signed_in}; {answer()}"
    path = plugin(tmp_path, script)
    monkeypatch.setattr(sys, "stderr", said)
    asked = asyncio.create_task(token(path))
    await eventually(lambda: "ABCD-EFGH" in said.getvalue(), "how to sign in")
    assert not asked.done()
    await asyncio.to_thread(signed_in.write_bytes, b"")
    assert await asked == "Bearer t"


async def test_one_that_says_much_is_not_held_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    script = f"head -c 300000 /dev/zero | tr '\\0' x >&2; {answer()}"
    assert await token(plugin(tmp_path, script)) == "Bearer t"
    assert len(said.getvalue()) == 300_000


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "credential plugin sh: it ended with exit code 3"),
        ("echo {", "credential plugin sh: its answer is not JSON"),
        ("head -c 100000 /dev/zero | tr '\\0' '['", "plugin sh: its answer is not JSON"),
        ("echo []", "credential plugin sh: its answer has no status"),
        (answer(GOOD.replace("/v1", "/v1beta1")), f"wanted an answer of {V1}, found"),
        ("head -c 3000000 /dev/zero", "credential plugin sh: its answer has over 1048576 bytes"),
    ],
)
async def test_what_is_wrong_with_one(script: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(KubernetesError) as refused:
        await login.find(str(plugin(tmp_path, script)))
    assert said in refused.value.message


async def test_one_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(KubernetesError, match="credential plugin none-of-that-name: No such file"):
        await login.find(str(plugin(tmp_path, "", command="none-of-that-name")))


@pytest.mark.parametrize(
    ("mode", "terminal", "interactive"),
    [
        (None, True, True),
        (None, False, False),
        ("IfAvailable", True, True),
        ("Always", True, True),
        ("Never", True, False),
        ("Always", False, None),
    ],
)
async def test_who_can_be_asked(
    mode: str | None, terminal: bool, interactive: bool | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told = tmp_path / "told"
    script = f'printf %s "$KUBERNETES_EXEC_INFO" > {told}; {answer()}'
    path = plugin(tmp_path, script, **({} if mode is None else {"interactiveMode": mode}))
    ours, theirs = pty.openpty() if terminal else os.pipe()
    try:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: theirs))
        if interactive is None:
            with pytest.raises(KubernetesError, match="interactiveMode: Always"):
                await login.find(str(path))
            return
        await login.find(str(path))
    finally:
        os.close(ours)
        os.close(theirs)
    assert json.loads(told.read_text())["spec"] == {"interactive": interactive}


async def test_one_that_leaves_a_process_behind_has_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that it starts has its output open, and goes on."""
    number, said = tmp_path / "number", io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    script = f"sleep 600 & echo $! > {number}; echo so it is >&2; {answer()}"
    try:
        async with asyncio.timeout(60):
            assert await token(plugin(tmp_path, script)) == "Bearer t"
        assert said.getvalue() == "so it is\n"
        assert is_alive(number.read_text().strip())
    finally:
        os.kill(int(number.read_text()), signal.SIGKILL)


async def test_one_that_nobody_waits_for_any_more_ends(tmp_path: Path) -> None:
    number = tmp_path / "number"
    script = f"echo $$ > {number}.new; mv {number}.new {number}; exec sleep 600"
    asked = asyncio.create_task(login.find(str(plugin(tmp_path, script))))
    await eventually(number.exists, "a plugin that runs")
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not is_alive(number.read_text().strip())
