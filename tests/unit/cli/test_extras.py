"""Every verb without the packages of its extra says which extra that is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

from outbox_operator.cli import main as cli

SCRIPT: Final = """
import contextlib, importlib.abc, io, json, sys

class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top != "outbox_operator":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Bare())
from outbox_operator.cli import main

said = {}
for verb, arguments in json.loads(sys.argv[1]).items():
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
        code = main.main([verb, *arguments])
    said[verb] = [code, errors.getvalue()]
print(json.dumps(said))
"""
ARGUMENTS: Final[dict[str, list[str]]] = {
    "consume": ["shop:app", "--nats=nats://127.0.0.1", "--stream=S", "--durable=d"],
    "dev": ["-f", "pipeline.yaml"],
    "doctor": [],
    "emit": ["orders", "order.created", "{}"],
    "lag": [],
    "logs": ["orders"],
    "operator": [],
    "pause": ["orders"],
    "relay": [],
    "replay": ["orders", "--since=1h"],
    "status": [],
}


def test_the_extra_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(ARGUMENTS)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    for verb, (code, said) in json.loads(done.stdout).items():
        extra = cli.load(verb).extra
        assert code == cli.EXIT_USAGE, said
        assert said.startswith(f"outbox {verb}: "), said
        assert f"is not installed; pip install 'outbox-operator[{extra}]'" in said, said
        assert said.count("\n") == 1, said
