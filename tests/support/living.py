"""What a test may ask of the memory it runs in."""

from __future__ import annotations

import gc
from typing import TypeVar

T = TypeVar("T")


def living(kind: type[T]) -> list[T]:
    """Every object of `kind` that something still holds, whoever made it.

    By type: `isinstance` asks each object of the process for its class, and a lazy one (Django has
    some, and a test of Django may have run in this worker) sets itself up to answer.
    """
    gc.collect()
    return [one for one in gc.get_objects() if issubclass(type(one), kind)]
