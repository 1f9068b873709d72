"""Arguments of verbs for what `outbox dev` runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

FOLDER: Final = ".outbox-dev"
"""Of `outbox dev`, unless `--data` names another."""
ALONE: Final = " (default: the only one)"
Named = Literal["pipeline", "archive"]
"""Of what a verb takes a name."""


@dataclass(frozen=True, slots=True)
class Alone:
    """The argument that need not be given where there is one only of what it names.

    Attributes:
        argument: Its name among the arguments.
        of: What it names.
        made: Makes the argument of the name.
    """

    argument: str
    of: Named
    made: Callable[[str], object]


class LaptopParser(argparse.ArgumentParser):
    """Of a verb for which what is there alone need not be named; `args.alone` then says what."""
