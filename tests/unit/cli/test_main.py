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


HEAVY = "'kopf', 'kubernetes', 'nats', 'asyncpg', 'aiohttp', 'pydantic', 'yaml'"


def test_help_imports_nothing_that_takes_long() -> None:
    """That is what its start takes: the rest is Python's own."""
    code = (
        "import sys; from outbox_operator.cli import main\n"
        "try: main.main(['--help'])\n"
        f"except SystemExit: print([m for m in ({HEAVY}) if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("line", "lacks", "extra"),
    [(["status"], "kubernetes", "cli"), (["dev", "lag"], "asyncpg", "dev")],
)
def test_what_is_not_installed_is_named_with_its_extra(
    line: list[str], lacks: str, extra: str
) -> None:
    code = (
        f"import sys; sys.modules[{lacks!r}] = None; from outbox_operator.cli import main\n"
        f"sys.exit(main.main({line!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert lacks in done.stderr
    assert f"pip install 'outbox-operator[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_called_as_kubectl_calls_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-outbox"])
    with pytest.raises(SystemExit):
        cli.main(["status", "--nonsense"])
    said = capsys.readouterr().err
    assert said.startswith("usage: kubectl outbox status")
    assert "kubectl outbox status: error: unrecognized arguments: --nonsense" in said


def test_an_operator_imports_the_driver_of_redis_when_it_meets_one() -> None:
    code = "import sys, outbox_operator.controller.app; print('redis' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


def test_a_verb_does_not_import_what_other_verbs_need() -> None:
    code = (
        "import sys; from outbox_operator.cli import main; main.load('relay');"
        "print(sorted(m for m in ('kopf', 'kubernetes', 'nats', 'asyncpg') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["-n", "shop", "status"], ["status", "-n", "shop"]),
        (
            ["--context=prod", "-A", "status", "orders"],
            ["status", "orders", "--context=prod", "-A"],
        ),
        (["-n", "shop", "dlq", "list", "-o", "json"], ["dlq", "list", "-o", "json", "-n", "shop"]),
        (["-n", "shop", "psql", "--", "-c", "x"], ["-n", "shop", "psql", "--", "-c", "x"]),
        (["-n", "status", "lag"], ["lag", "-n", "status"]),
        (["--version"], ["--version"]),
        (["-n", "shop"], ["-n", "shop"]),
        ([], []),
    ],
)
def test_options_may_stand_before_the_verb(given: list[str], read: list[str]) -> None:
    assert cli._reordered(given, ["status", "lag", "dlq"]) == read


@pytest.mark.parametrize(
    ("given", "folder", "read"),
    [
        (["dev", "status"], ".outbox-dev", ["status"]),
        (["dev", "-o", "json", "status"], ".outbox-dev", ["status", "-o", "json"]),
        (["dev", "--data", "d", "-n", "a", "status", "x"], "d", ["status", "x", "-n", "a"]),
        (["dev", "-o=json", "--data=d", "status"], "d", ["status", "-o=json"]),
        (["dev", "status", "--data", "d", "x"], "d", ["status", "x"]),
        (["-o", "json", "dev", "status"], ".outbox-dev", ["status", "-o", "json"]),
        (["--data", "d", "dev", "psql", "x", "--", "--data", "e"], "d",
         ["psql", "x", "--", "--data", "e"]),
        (["dev", "-f", "p", "status"], ".outbox-dev", ["status", "-f", "p"]),
        (["dev", "-f", "status", "--data", "d"], None, ["dev", "-f", "status", "--data", "d"]),
        (["dev", "--print", "-f", "p"], None, ["dev", "--print", "-f", "p"]),
        (["dev"], None, ["dev"]),
        (["status", "dev"], None, ["status", "dev"]),
    ],
)  # fmt: skip
def test_verbs_of_a_laptop_have_options_on_both_sides(
    given: list[str], folder: str | None, read: list[str]
) -> None:
    known = ["dev", "psql", "status"]
    assert cli._on_a_laptop(cli._reordered(given, known), known) == (folder, read)


def test_a_misspelt_verb_of_a_laptop_is_told_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["dev", "statu", "orders"])
    assert caught.value.code == 2
    assert "no verb 'statu'; did you mean 'status'?" in capsys.readouterr().err


def test_who_starts_and_looks_at_once_is_told_how(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["dev", "-f", "pipeline.yaml", "status"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "arguments: -f; that is for `outbox dev` without a verb, in another terminal" in said


@pytest.mark.parametrize("where", ["| true", "> /dev/full", ">&-"])
def test_what_cannot_be_written_ends_in_no_traceback(where: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m outbox_operator.cli.main "
         f"completion bash {where}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("moment", ["load", "verbs"])
def test_ctrl_c_while_it_imports_ends_in_no_traceback(
    monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, moment, interrupted)
    assert cli.main(["status"]) == 130
