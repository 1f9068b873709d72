"""Source code as trees, for tests that look at the tree's habits."""

from __future__ import annotations

import ast
import gc


def parsed(text: str) -> ast.Module:
    """Parse source.

    CPython 3.11 counts how deep it is while it makes a tree, and takes what a collection does
    meanwhile (ending a greenlet of some earlier test, for one) for an error of its own.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if enabled:
            gc.enable()
