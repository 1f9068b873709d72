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

said = []
for arguments in json.loads(sys.argv[1]):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
        code = main.main(arguments)
    said.append([code, errors.getvalue()])
print(json.dumps(said))
"""
EXTRAS: Final[dict[str, str]] = {
    "archive serve": "archive",
    "archive upkeep": "relay",
    "archive export --into=a.csv": "archive",
    "archive export audit --into=a.csv": "cli",
    "archive verify": "relay",
    "archive verify audit": "cli",
    "archive write": "relay",
    "consume shop:app --nats=nats://127.0.0.1 --stream=S --durable=d": "consumer",
    "dev -f pipeline.yaml": "dev",
    "doctor": "cli",
    "emit orders order.created {}": "cli",
    "lag": "cli",
    "logs orders": "cli",
    "operator": "operator",
    "pause orders": "cli",
    "relay": "relay",
    "replay orders --since=1h": "cli",
    "status": "cli",
}


def test_the_extra_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([words.split() for words in EXTRAS])],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    for (words, extra), (code, said) in zip(EXTRAS.items(), json.loads(done.stdout), strict=True):
        assert code == cli.EXIT_USAGE, said
        assert said.startswith(f"outbox {words.split()[0]}: "), said
        assert f"is not installed; pip install 'outbox-operator[{extra}]'" in said, (words, said)
        assert said.count("\n") == 1, said
