"""`outbox` in this process: what it prints and its exit code."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.cli import main as cli
from support.kube import Answer


class CommandLine:
    """Runs verbs against one cluster, whatever the environment points at.

    Args:
        kubeconfig: Whose login it uses.
        namespace: Given with `-n`; None: the verb is left to find one.
    """

    def __init__(self, kubeconfig: Path, namespace: str | None = None) -> None:
        self._before: list[str] = []
        self._options = [f"--kubeconfig={kubeconfig}"]
        self._options += [] if namespace is None else ["-n", namespace]

    @classmethod
    def of_laptop(cls, data: Path) -> CommandLine:
        """Verbs for what `outbox dev` runs with a folder."""
        one = cls(data)
        one._before, one._options = ["dev", f"--data={data}"], []
        return one

    def run(self, *arguments: str, columns: int | None = 80) -> Answer:
        """Run a verb without a terminal; `columns` None: nobody counts them."""
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.delenv("COLUMNS", raising=False)
            if columns is not None:
                patch.setenv("COLUMNS", str(columns))
            try:
                code = cli.main([*self._before, *arguments, *self._options])
            except SystemExit as exited:
                code = int(exited.code or 0)
        answer = Answer(code, out.getvalue(), err.getvalue())
        assert "Traceback" not in answer.err, answer.err
        return answer

    def __call__(self, *arguments: str) -> str:
        """What a verb that must succeed prints."""
        answer = self.run(*arguments)
        assert answer.code == 0, f"outbox {' '.join(arguments)}: {answer.out}{answer.err}"
        return answer.out

    def facts(self, *arguments: str, code: int = 0) -> Any:
        """What a verb finds, decoded."""
        answer = self.run(*arguments, "-o", "json")
        assert answer.code == code, answer.err
        return json.loads(answer.out)


def parsed(verb: Any, *arguments: str) -> argparse.Namespace:
    """Arguments of a verb, given the module that is one."""
    parser = argparse.ArgumentParser()
    verb.configure(parser)
    return parser.parse_args(arguments)


def steady(text: str, names: Mapping[str, str]) -> str:
    """Printed text without what differs from run to run: times, counts of attempts, names."""
    for found, shown in names.items():
        text = text.replace(found, shown)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"\b[\d.]+ (?:s|min|h|d) ago", "N s ago", text)
    return re.sub(r"for [\d.]+ (?:s|min|h|d)\b", "for N s", text)
