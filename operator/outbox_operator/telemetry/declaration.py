"""What is said of a metric wherever it is spoken of: the exposition, the reference page, rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Declaration:
    """A metric, declared once.

    Attributes:
        kind: `counter`, `gauge` or `histogram`.
        name: As it is queried; of a histogram without `_bucket`, `_sum` and `_count`.
        help: A sentence.
        labels: Names of its labels, in order.
    """

    kind: str
    name: str
    help: str
    labels: tuple[str, ...]
