"""The version of this installation; it stands in pyproject.toml only."""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import Final

VERSION: Final = _version("outbox-operator")
