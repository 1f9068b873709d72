"""Places in a JSON document, as `$.card.number`: read one, or take out all that they name. Pure.

The part of JSONPath that names places and computes nothing: `.name`, `['any name']`, `[0]`, and
`.*` or `[*]` for every member or item.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

MOST_CHARACTERS: Final = 512
MOST_STEPS: Final = 32
_MOST_DIGITS: Final = 9

_STEP: Final = re.compile(
    r"""\.(?P<name>[^.\[\]*'"\s]+) | \['(?P<quoted>[^']+)'\] | \["(?P<double>[^"]+)"\]
    | \[(?P<index>[0-9]+)\] | (?P<all>\.\*|\[\*\])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A parsed path.

    Attributes:
        text: As written.
        steps: Name of a member, number of an item, or None for all of them.
    """

    text: str
    steps: tuple[str | int | None, ...]

    @classmethod
    def parse(cls, text: str) -> JsonPath:
        """Parse a path.

        Raises:
            ValueError: It is none; says what is wanted.
        """
        steps: list[str | int | None] = []
        at = 1
        while text.startswith("$") and at < len(text) <= MOST_CHARACTERS:
            found = _STEP.match(text, at)
            if found is None or len(found["index"] or "") > _MOST_DIGITS:
                break
            at = found.end()
            name = found["name"] or found["quoted"] or found["double"]
            steps.append(None if found["all"] else name or int(found["index"]))
        if not steps or at < len(text) or len(steps) > MOST_STEPS:
            raise ValueError(
                f"wanted a path such as $.card.number, $['a name'], $.lines[0] or $.lines[*].sku "
                f"with at most {MOST_STEPS} steps, found {text[:MOST_CHARACTERS]!r}"
            )
        return cls(text, tuple(steps))

    @property
    def names_one(self) -> bool:
        """Whether it leads to one place at most."""
        return None not in self.steps

    def is_within(self, other: JsonPath) -> bool:
        """Whether every place it leads to is, or is part of, one that the other leads to."""
        return len(self.steps) >= len(other.steps) and all(
            wide is None or wide == narrow
            for wide, narrow in zip(other.steps, self.steps, strict=False)
        )

    def read(self, document: Any) -> Any:
        """The value at the one place it leads to; None: there is nothing."""
        for step in self.steps:
            if isinstance(document, dict) and isinstance(step, str):
                document = document.get(step)
            elif isinstance(document, list) and isinstance(step, int) and step < len(document):
                document = document[step]
            else:
                return None
        return document

    def remove(self, document: Any) -> int:
        """Take out of a document, in place, what is at each place it leads to.

        Items of a list become null, so that the others keep their numbers.

        Returns:
            How many values are gone.
        """
        holders = [document]
        for step in self.steps[:-1]:
            holders = [inner for holder in holders for _, inner in _inside(holder, step)]
        removed = 0
        for holder in holders:
            for key, _ in list(_inside(holder, self.steps[-1])):
                removed += 1
                if isinstance(holder, dict):
                    del holder[key]
                else:
                    holder[key] = None
        return removed


def _inside(holder: Any, step: str | int | None) -> Iterator[tuple[Any, Any]]:
    """What a step leads to from one value: key or number, and value."""
    if isinstance(holder, dict):
        if step is None:
            yield from holder.items()
        elif step in holder:
            yield step, holder[step]
    elif isinstance(holder, list):
        if step is None:
            yield from enumerate(holder)
        elif isinstance(step, int) and step < len(holder):
            yield step, holder[step]
