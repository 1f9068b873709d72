"""Hashes that people type."""

from __future__ import annotations

import hashlib

import yaml

from outbox_operator.plan.plan_hash import plan_hash


def test_no_hash_is_a_number_to_anybody() -> None:
    for number in range(2000):
        found = plan_hash(hashlib.sha256(str(number).encode()).hexdigest(), 12)
        assert len(found) == 12
        assert found[0] in "abcdef"
        assert yaml.safe_load(f"approvedPlan: {found}") == {"approvedPlan": found}
    assert len({plan_hash(f"{first:x}23456", 6) for first in range(16)}) == 6
