"""Fixtures of the chart's tests."""

from __future__ import annotations

import pytest

from support.chart import Helm, find_helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """The real helm; without it the tests fail."""
    return Helm(find_helm())
