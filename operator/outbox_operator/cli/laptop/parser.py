"""Arguments of verbs for what `outbox dev` runs."""

from __future__ import annotations

import argparse
from typing import Final

FOLDER: Final = ".outbox-dev"
"""Of `outbox dev`, unless `--data` names another."""
ALONE: Final = " (default: the only one)"


class LaptopParser(argparse.ArgumentParser):
    """Of a verb for which the only pipeline need not be named.

    `args.alone` is then the argument that names it, and what makes it of the name.
    """
