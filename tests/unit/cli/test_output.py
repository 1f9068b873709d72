"""What `outbox` prints, word by word: the help of every verb, and how it says what is wrong."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from outbox_operator.cli import main as cli
from outbox_operator.version import VERSION
from support.golden import assert_golden_text, without_layout
from support.kube import ROOT

GOLDEN: Final = Path(__file__).parent / "golden"
WIDTH: Final = "100"
_INVOCATION: Final = argparse.HelpFormatter._format_action_invocation
FILES: Final = {
    "short.json": '{"namespace": "shop"}',
    "cut.json": "{",
    "cut.yaml": "spec: [",
    "other.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: database}\n",
    "kind.yaml": (
        "apiVersion: outbox.dev/v1alpha1\nkind: OutboxPipelin\nmetadata: {name: orders}\n"
    ),
    "version.yaml": ("apiVersion: outbox.dev/v1\nkind: OutboxPipeline\nmetadata: {name: orders}\n"),
    "pipeline.yaml": (
        "apiVersion: outbox.dev/v1alpha1\nkind: OutboxPipeline\n"
        "metadata: {name: orders}\nspec: {maxDelivery: 3}\n"
    ),
    "good.yaml": (ROOT / "examples/smallest/pipeline.yaml").read_text(),
    "resources.json": json.dumps(
        [yaml.safe_load((ROOT / "examples/smallest/pipeline.yaml").read_text())]
    ),
    "nats-url": "nats://127.0.0.1:1",
    "database-url": "postgresql://nobody:secret@127.0.0.1:1/shop",
}
"""What the commands below read."""

LINES: Final = {
    "nothing": [""],
    "unknown": ["rely", "nonsense", "--nonsense"],
    "operator": ["operator", "operator --image shop:1 --workers many --log-level loud"],
    "relay": [
        "relay", "relay --nonsense", "relay --config none.json", "relay --config cut.json",
        "relay --config short.json",
    ],
    "consume": [
        "consume", "consume shop:handle", "consume shop:handle --durable billing",
        "consume shop:handle --durable billing --nats nats://127.0.0.1:1 --stream ORDERS",
    ],
    "dev": [
        "dev", "dev -f none.yaml", "dev -f https://forge.example/a.yaml",
        "dev -f cut.yaml", "dev -f other.yaml", "dev -f kind.yaml",
        "dev -f version.yaml", "dev -f pipeline.yaml", "dev -f good.yaml --nats-url 127.0.0.1",
        "dev -f good.yaml --nats-url shop:secret@nats:4222",
        "dev -f good.yaml --endpoint billing", "dev good.yaml",
    ],
    "emit": [
        "emit orders order.created", "emit orders order.created 1 --header tenant",
        "emit orders order.created 1 --id 1", "emit orders order.created 1 --kubeconfig none.yaml",
        "dev emit orders order.created 1", "dev --data=. emit orders order.created {",
        "dev --data . emit orders order.created 1 --context shop",
        "dev --data . emit shop order.created 1", "dev emit orders --nonsense",
    ],
    "laptop": [
        "dev status", "dev --data . dlq list orders", "dev --data . pause orders",
        "dev --data . doctor", "dev --data . plan show orders", "dev --data . lag --kubeconfig a",
        "dev --data . completion bash", "dev pause", "dev --data . task --nonsense",
        "dev --data . verify -n shop", "dev --data . dlq replay --all", "dev --data . rebase",
        "dev --data . replay --help", "dev nonsense", "dev statu",
        "dev --data . logs nonsense", "dev --data . logs --consumer nonsense",
        "dev --data . logs evs/orders", "dev --data . reset --to-start",
    ],
    "write-event": ["write-event", "write-event --config short.json"],
    "rebase": [
        "rebase", "rebase --all --none", "rebase --created-after yesterday",
        "rebase --created-after 2026-01-31", "rebase --url-file none",
        "rebase --url-file database-url", "rebase orders --url-file database-url",
        "rebase orders --from-position 0",
    ],
    "plan": [
        "plan", "plan approve orders", "plan approve orders yes", "plan show pod/orders",
        "plan show evs/orders --kubeconfig none.yaml",
    ],
    "archive": [
        "archive", "archive upkeep", "archive migrate --config short.json",
        "archive migrate --adoption-policy Take", "archive serve --config short.json",
        "archive export", "dev --data . archive export --into a.csv",
        "dev --data . archive export billing --into a.csv", "archive export audit --into a.csv",
    ],
    "catalog": [
        "catalog", "catalog export", "catalog export no.events", "catalog check no.events",
        "catalog check --against none",
    ],
    "dead-letters": ["dead-letters", "dead-letters --config short.json"],
    "login-files": ["login-files", "login-files psql . --config short.json"],
    "nats": [
        "nats", "nats orders stream ls", "dev --data . nats stream ls",
        "nats orders --kubeconfig none.yaml -- stream ls",
        "dev nats orders stream ls -a", "nats orders -n shop stream ls --names", "nats --trace rtt",
    ],
    "psql": [
        "psql orders --as owner", "psql orders -n shop -c 'select 1/2'",
        "dev --data . psql -c 'select 1/2'", "dev psql orders --command='select 1'",
        "psql orders --lifetime 0 -- -c 'select 1'", "psql -c 'select 1' orders",
        "dev psql -c 'select 1' orders", "dev psql orders -hlocalhost", "psql -At",
    ],
    "dlq": [
        "dlq", "dlq show orders", "dlq replay orders --limit 0", "dlq purge orders --since monday",
    ],
    "doctor": ["doctor orders --timeout soon", "doctor orders --watch"],
    "report": ["report --tail 0"],
    "verify": ["verify", "verify orders --since yesterday"],
    "replay": ["replay orders --since 2h --from-position 1"],
    "reset": ["reset evc/mailer", "reset evc/mailer --to-start --to-end"],
    "task": ["task"],
    "completion": [
        "completion bash", "completion zsh", "completion fish", "completion tcsh",
        "completion words -- dlq re",
    ],
    "version": ["version --kubeconfig none.yaml", "version -n a -A"],
    "lag": ["lag --over"],
    "logs": ["logs", "logs orders --since yesterday", "logs orders --only relay --consumer a"],
    "pause": ["pause", "pause pod/orders"],
    "reconcile": ["reconcile orders --timeout soon"],
    "restart": ["restart orders --only relays"],
    "resume": ["resume orders -o wide"],
    "start": ["start evc/"],
    "stop": ["stop orders --timeout 0"],
    "status": [
        "status -n shop -A", "status --kubeconfig none.yaml", "status --kubeconfig cut.json",
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One of a fixed width, without settings of ours; roles set logging up for their process."""
    monkeypatch.setenv("COLUMNS", WIDTH)
    for name in [name for name in os.environ if name.startswith(("OUTBOX_", "NATS_"))]:
        monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def outbox(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """A command line and all it printed; then its exit code."""
    try:
        code = cli.main(shlex.split(line))
    except SystemExit as exited:
        code = int(exited.code or 0)
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err
    return f"$ outbox {line}".rstrip() + f"\n{printed.out}{printed.err}exit code {code}\n"


@pytest.mark.parametrize("verb", cli.verbs())
def test_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([verb, "--help"])
    assert caught.value.code == 0
    assert_golden_text(GOLDEN / f"help-{verb}.txt", capsys.readouterr().out)


def _invocation_since_python_3_13(
    formatter: argparse.HelpFormatter, action: argparse.Action
) -> str:
    if not action.option_strings or action.nargs == 0:
        return _INVOCATION(formatter, action)
    value = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
    return f"{', '.join(action.option_strings)} {value}"


def test_newer_pythons_lay_help_out_differently(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        argparse.HelpFormatter, "_format_action_invocation", _invocation_since_python_3_13
    )
    with pytest.raises(SystemExit):
        cli.main(["dev", "--help"])  # the one with an option of two names that takes a value
    printed, golden = capsys.readouterr().out, (GOLDEN / "help-dev.txt").read_text()
    assert printed != golden
    assert without_layout(printed) == without_layout(golden)


@pytest.mark.parametrize("name", LINES)
def test_output(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, text in FILES.items():
        (tmp_path / file).write_text(text)
    found = "\n".join(outbox(line, capsys) for line in LINES[name])
    assert_golden_text(GOLDEN / f"{name}.txt", found.replace(str(tmp_path), "/work"))


def test_every_verb_is_among_them() -> None:
    assert set(cli.verbs()) <= set(LINES)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"outbox {VERSION}\n"


def test_without_a_verb_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("usage: outbox")
    assert all(f"    {name} " in shown.err for name in cli.verbs())
