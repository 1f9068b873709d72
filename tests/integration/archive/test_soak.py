"""What writes, its database and its broker are killed under load: every event is there, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.archive_soak import FAULTS, soaking

pytestmark = pytest.mark.integration


@pytest.mark.thorough
async def test_whatever_is_killed_every_event_is_there_once(tmp_path: Path) -> None:
    async with soaking(tmp_path) as soak:
        account = await soak.run(FAULTS)
    assert account.complete, account
