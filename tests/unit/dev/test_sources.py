"""Which files make handlers begin anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from outbox_operator.dev.sources import Files, Sources


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("billing.py", True),
        ("shop/billing.py", True),
        ("billing.txt", False),
        (".outbox-dev/billing.py", False),
        ("shop/__pycache__/billing.py", False),
        ("venv/lib/billing.py", False),
        ("surroundings/lib/billing.py", False),
    ],
)
def test_only_code_of_handlers_counts(tmp_path: Path, name: str, counts: bool) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "surroundings").mkdir(exist_ok=True)
    (tmp_path / "surroundings/pyvenv.cfg").touch()
    sources = Sources(tmp_path)
    changes = [name] if counts else []
    path.write_text("a = 1")
    assert sources.changed() == changes
    assert sources.changed() == []
    path.write_text("a = 12")
    assert sources.changed() == changes
    path.unlink()
    assert sources.changed() == changes


def test_files_and_what_lies_in_folders(tmp_path: Path) -> None:
    alone, folder = tmp_path / "alone.yaml", tmp_path / "k8s"
    folder.mkdir()
    files = Files([alone, folder])
    for path in (alone, folder / "a.yaml", folder / "b.yaml"):
        path.write_text("a: 1")
        assert files.changed()
        assert not files.changed()
        path.write_text("a: 12")
        assert files.changed()
    (folder / "a.yaml").unlink()
    assert files.changed()
    (tmp_path / "other.yaml").write_text("a: 1")
    assert not files.changed()
