"""The API answers as it says it does, whatever it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.archive_api import FilledArchive
from support.archive_fuzz import asked
from support.waiting import SECONDS

pytestmark = pytest.mark.integration


async def test_every_answer_is_as_described_and_none_a_fault(
    archive: FilledArchive, tmp_path: Path
) -> None:
    """A little of what `make check-archive-api` asks."""
    verdict, said = await asked(
        archive,
        tmp_path,
        seed=1,
        seconds=SECONDS,
        options=["--phases=fuzzing", "--max-examples=8"],
    )
    assert verdict.good, said
    assert verdict.operations == 6
