"""A folder to run `outbox dev` in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devrun import Dev


@pytest.fixture
def dev() -> Iterator[Dev]:
    # The server's user must be able to reach it, which pytest's own folders do not allow.
    folder = Path(tempfile.mkdtemp(prefix="outbox-dev-", dir="/var/tmp"))
    folder.chmod(0o755)
    one = Dev(folder)
    try:
        yield one
    finally:
        one.end()
        shutil.rmtree(folder, ignore_errors=True)
