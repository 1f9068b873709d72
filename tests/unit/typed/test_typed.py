"""What a type checker accepts is bound at the start.

mypy itself runs over this folder in `make check`: a mistake that is found no longer leaves a
comment that hides nothing, which is an error in strict mode.
"""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest

from outbox_operator.consumer.handlers.python import PythonHandler
from support.kube import ROOT

HERE = Path(__file__).parent


def test_what_is_typed_right_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("typed_right", HERE / "right.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "typed_right", module)  # annotations are looked up in it
    spec.loader.exec_module(module)
    handler = PythonHandler("shop:app", module.app, timeout=5.0, threads=1)
    assert handler.batch("click") == 500
    assert handler.wants_connection


def test_the_project_of_a_user_is_checked_in_strict_mode() -> None:
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert mypy["strict"]
    assert "tests" in mypy["files"]
    assert (HERE / "mistakes.py").read_text().count("# type: ignore[") > 30
