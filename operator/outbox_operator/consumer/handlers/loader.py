"""Find the function that `package.module:function` names.

Called once at start. Runs the module's own code, as every import does.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from outbox_operator.consumer.error_text import describe
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.errors import SpecError

_MOST_NAMED: Final = 10


def load(path: str) -> Callable[..., Any] | Handlers:
    """Import a handler function, or a collection of them.

    Modules in the working directory are found too.

    Raises:
        SpecError: The path is malformed, the module or the name does not exist, importing it
            failed, or it cannot be called. Names the path and the reason.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise SpecError(f"python handler {path!r}: wanted package.module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        blame = "" if module_name.startswith(missing) else f" (imported by {module_name})"
        raise SpecError(
            f"python handler {path!r}: no module named {missing!r}{blame}; is it in the image, or "
            "here in the folder and virtual environment?"
        ) from error
    except Exception as error:
        raise SpecError(
            f"python handler {path!r}: importing {module_name} failed: {describe(error)}"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        raise SpecError(
            f"python handler {path!r}: module {module_name} has no {name!r}{_there(module)}"
        )
    if not callable(found) and not isinstance(found, Handlers):
        raise SpecError(
            f"python handler {path!r}: {name} is {type(found).__name__}, wanted a function or "
            f"Handlers{_there(module)}"
        )
    return found  # type: ignore[no-any-return]


def _there(module: ModuleType) -> str:
    """What in a module may be meant: its `Handlers`, and if it has none its functions."""
    members = {name: one for name, one in vars(module).items() if not name.startswith("_")}
    found = [name for name, one in members.items() if isinstance(one, Handlers)] or [
        name
        for name, one in members.items()
        if inspect.isfunction(one) and one.__module__ == module.__name__
    ]
    if not found:
        return ""
    more = ", …" if len(found) > _MOST_NAMED else ""
    return f"; there is {', '.join(map(repr, found[:_MOST_NAMED]))}{more}"
