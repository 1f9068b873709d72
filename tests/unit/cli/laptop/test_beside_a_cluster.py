"""Who asks a cluster in a folder of `outbox dev`, and gets no answer, is told how the laptop is
asked."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from outbox_operator.cli import main as cli
from support.cli import CommandLine
from support.ports import free_port
from support.waiting import SECONDS

_STATUS = "; `outbox dev status` asks what `outbox dev` runs in this folder\n"


class NothingOfOurs(http.server.BaseHTTPRequestHandler):
    """An API server without our resources."""

    def do_GET(self) -> None:
        self.send_error(404, "404 page not found")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def another_cluster() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NothingOfOurs)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join(SECONDS)
    server.server_close()


def kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "kubeconfig"
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "work",
        "clusters": [{"name": "work", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("status", _STATUS),
        ("emit orders order.created {} --yes", _STATUS.replace("status", "emit")),
        ("dlq list orders", _STATUS.replace("status", "dlq")),
        ("archive verify audit", _STATUS.replace("status", "archive")),
        ("reconcile orders", _STATUS),
        ("pause orders", _STATUS),
    ],
)
def test_the_laptops_verb_is_named(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, another_cluster: int
) -> None:
    monkeypatch.chdir(tmp_path)
    absent = tmp_path / "none"
    for login in (
        absent, kubeconfig(tmp_path, free_port()), kubeconfig(tmp_path, another_cluster)
    ):  # fmt: skip
        outbox = CommandLine(login)
        (tmp_path / ".outbox-dev").mkdir()
        answer = outbox.run(*line.split(), columns=None)
        assert answer.code in (1, 2), answer.out
        assert answer.err.endswith(said), answer.err
        (tmp_path / ".outbox-dev").rmdir()
        assert "outbox dev" not in outbox.run(*line.split(), columns=None).err


def test_what_is_wrong_with_the_command_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".outbox-dev").mkdir()
    answer = CommandLine(tmp_path / "none").run("reset", "orders", columns=None)
    assert answer.code == 2
    assert "outbox dev" not in answer.err


@pytest.mark.parametrize("verb", ["status", "doctor", "version"])
def test_where_there_is_neither_all_that_was_looked_for_is_named(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert cli.main([verb]) == 1
    assert capsys.readouterr().err == (
        f"outbox {verb}: no access to a Kubernetes cluster: neither --kubeconfig nor KUBECONFIG "
        "names a kubeconfig, and there is no ~/.kube/config; without a cluster `outbox dev status` "
        "asks what `outbox dev -f FILE` runs: in the folder where that was started (this one has "
        "no .outbox-dev), or with its --data FOLDER\n"
    )
