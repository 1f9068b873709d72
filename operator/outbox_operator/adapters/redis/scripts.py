"""The scripts that run in the server, one file each, known by the digest that it gives them.

Scripts and not functions (FUNCTION LOAD): these need no right to change what all users of the
server share, and there is no version of them to keep up.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """A script in Lua.

    Attributes:
        text: As it is loaded.
        digest: As EVALSHA names it.
    """

    text: str
    digest: str


def _script(name: str) -> Script:
    text = (Path(__file__).parent / f"{name}.lua").read_text()
    # What Redis does; nothing rests on its strength.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


APPEND: Final = _script("append")
READ: Final = _script("read")
SHUT_OUT: Final = _script("shut_out")
OF_RELAY: Final = (APPEND, READ, SHUT_OUT)
CLAIM: Final = _script("claim")
DROP: Final = _script("drop")
LOOK: Final = _script("look")
TRIM: Final = _script("trim")
TAKE_OVER: Final = _script("take_over")
RETAKE: Final = _script("retake")
KEEP: Final = _script("keep")
LETTER: Final = _script("letter")
LETTERS: Final = _script("letters")
LETTER_AGAIN: Final = _script("letter_again")
LEAVE: Final = _script("leave")
GROUP_LOOK: Final = _script("group_look")
GROUP_MAKE: Final = _script("group_make")
GROUP_DROP: Final = _script("group_drop")
