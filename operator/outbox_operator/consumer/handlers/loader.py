"""Find the function that `package.module:function` names.

Called once at start. Runs the module's own code, as every import does.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from outbox_operator.consumer.error_text import describe
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.errors import SpecError


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
        raise SpecError(f"python handler {path!r}: module {module_name} has no {name!r}")
    if not callable(found) and not isinstance(found, Handlers):
        raise SpecError(
            f"python handler {path!r}: {name} is {type(found).__name__}, wanted a function or "
            "Handlers"
        )
    return found  # type: ignore[no-any-return]
