"""The command line finds verbs, imports one only, and turns errors into exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from outbox_operator.cli import main as cli


def test_every_command_module_is_a_verb_with_help() -> None:
    assert "relay" in cli.verbs()
    for name in cli.verbs():
        verb = cli.load(name)
        assert verb.help
        assert "\n" not in verb.help


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.verbs())


@pytest.mark.parametrize("arguments", [["nonsense"], ["relay", "--nonsense"]])
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: outbox" in capsys.readouterr().err


def test_a_wrong_configuration_is_exit_code_2_and_names_the_field(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"namespace": "shop"}')
    done = subprocess.run(
        [sys.executable, "-m", "outbox_operator.cli.main", "relay", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("outbox relay: configuration")
    assert "pipeline" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_verb_does_not_import_what_other_verbs_need() -> None:
    code = (
        "import sys; from outbox_operator.cli import main; main.load('relay');"
        "print(sorted(m for m in ('kopf', 'kubernetes', 'nats', 'asyncpg') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
