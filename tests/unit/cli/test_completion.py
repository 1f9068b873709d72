"""What a shell offers at a place of the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from outbox_operator.cli import main as cli
from outbox_operator.cli.completion import candidates
from support.answering import answering, kubeconfig, pipelines
from support.kube import ROOT


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([""], {"status", "dlq", "relay", "--help"}),
        (["st"], {"status", "start", "stop"}),
        (["dlq", ""], {"list", "show", "replay", "purge"}),
        (["dlq", "-o", ""], {"list", "replay"}),
        (["status", "-o", ""], {"text", "json", "yaml", "name"}),
        (["status", "-o", "j"], {"json"}),
        (["restart", "orders", "--only", ""], {"relay", "consumers"}),
        (["dlq", "replay", "--dry"], {"--dry-run"}),
        (["dlq", "replay", "orders", "--"], {"--consumer", "--rate"}),
        (["nonsense", ""], set()),
        (["logs", "orders", "--since", ""], set()),
    ],
)
def test_what_is_offered(words: list[str], offered: set[str]) -> None:
    found = set(candidates(words))
    assert offered <= found
    assert found if offered else not found


def test_names_come_from_the_cluster(tmp_path: Path) -> None:
    with answering(pipelines) as address:
        where = f"{kubeconfig(tmp_path, address)}"
        assert candidates(["status", "--kubeconfig", where, "o"]) == ["orders"]
        assert candidates(["pause", "--kubeconfig", where, "evc/"]) == ["evc/orders", "evc/returns"]
        assert candidates(["dlq", "replay", "--kubeconfig", where, ""]) == ["orders", "returns"]
        assert candidates(["lag", "--kubeconfig", where, "-n", ""]) == ["orders", "returns"]


def test_names_of_what_runs_on_a_laptop(tmp_path: Path) -> None:
    pipeline = yaml.safe_load((ROOT / "examples/smallest/pipeline.yaml").read_text())
    (tmp_path / "resources.json").write_text(json.dumps([pipeline]))
    for name in ("database-url", "nats-url"):
        (tmp_path / name).write_text("nobody-asks")
    assert {"status", "emit", "--file"} <= set(candidates(["dev", ""]))
    assert not {"pause", "relay"} & set(candidates(["dev", ""]))
    for data in (["--data", str(tmp_path)], [f"--data={tmp_path}"]):
        assert candidates(["dev", *data, "status", "o"]) == ["orders"]
        assert candidates(["dev", *data, "reset", "evc/"]) == ["evc/orders-billing"]
    assert candidates(["dev", "status", ""]) == []
    assert "--nats-url" in candidates(["dev", "-f", "pipeline.yaml", "--n"])


def test_without_a_cluster_nothing_is_offered_or_said(tmp_path: Path) -> None:
    assert candidates(["status", "--kubeconfig", str(tmp_path / "none"), ""]) == []


def test_a_login_that_asks_says_nothing_into_the_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = "echo sign in at https://example.com >&2; cat; exit 1"
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh"}
    path = kubeconfig(tmp_path, "http://127.0.0.1:1", {"exec": {**plugin, "args": ["-c", script]}})
    assert candidates(["status", "--kubeconfig", str(path), ""]) == []
    assert capfd.readouterr() == ("", "")


def test_every_verb_can_be_completed() -> None:
    for verb in cli.verbs():
        assert "--help" in candidates([verb, "--h"])


def test_bash_and_kubectl(tmp_path: Path) -> None:
    program = tmp_path / "outbox"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m outbox_operator.cli.main "$@"\n')
    program.chmod(0o755)
    script = (
        "source <(outbox completion bash); COMP_WORDS=(outbox dlq re); COMP_CWORD=2; _outbox; "
        'echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("replay\n", "")
    code = "import sys; from outbox_operator.cli import completion; completion.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "dlq", "p"], capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    assert done.stdout == "purge\n:4\n"
