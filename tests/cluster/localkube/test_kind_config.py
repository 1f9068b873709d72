"""kind-config.yaml is decoded by kind's own types, strictly, as kind itself does it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from localkube import binaries, kind
from localkube.layout import current_roots


@pytest.fixture(scope="module")
def check() -> Path:
    """The checking program; built from the pinned modules when the cache does not have it."""
    places = current_roots()
    binaries.build(places, ("kind-check",))
    return binaries.path(places.cache, "kind-check")


def test_configuration_is_valid(check: Path) -> None:
    done = subprocess.run(
        [check, kind.CONFIG], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 nodes\n", "")


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("role:", "rule:", "field rule not found"),
        ("kind: Cluster", "kind: Clutter", 'found "Clutter"'),
        ("v1alpha4", "v1alpha9", "v1alpha9"),
    ],
)
def test_mistakes_are_noticed(
    check: Path, tmp_path: Path, before: str, after: str, problem: str
) -> None:
    text = kind.CONFIG.read_text()
    assert before in text
    (tmp_path / "bad.yaml").write_text(text.replace(before, after))
    done = subprocess.run(
        [check, tmp_path / "bad.yaml"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert problem in done.stderr
