"""Sets of positions of an outbox that take a bit each, wherever the sequence has jumped. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_BITS: Final = 15
_SIZE: Final = 1 << _BITS
"""Positions of a block; one with any takes 4 KiB."""


class PositionSet:
    """Positions, in blocks of bits. A million neighbours take 125 KB.

    Args:
        most_blocks: Where they come from outside: so many blocks, and what needs more is left out.

    Attributes:
        left_out: Whether there was no room for some.
    """

    def __init__(self, most_blocks: int | None = None) -> None:
        self._blocks: dict[int, bytearray] = {}
        self._count = 0
        self._most = most_blocks
        self.left_out = False

    def add(self, position: int) -> bool:
        """Add one; False: it was there, or there is no room."""
        number, bit = position >> _BITS, position & (_SIZE - 1)
        block = self._blocks.get(number)
        if block is None:
            if self._most is not None and len(self._blocks) >= self._most:
                self.left_out = True
                return False
            block = self._blocks[number] = bytearray(_SIZE >> 3)
        mask = 1 << (bit & 7)
        if block[bit >> 3] & mask:
            return False
        block[bit >> 3] |= mask
        self._count += 1
        return True

    def __contains__(self, position: int) -> bool:
        block = self._blocks.get(position >> _BITS)
        bit = position & (_SIZE - 1)
        return block is not None and bool(block[bit >> 3] & (1 << (bit & 7)))

    def __len__(self) -> int:
        return self._count

    def minus(self, *others: PositionSet) -> Iterator[int]:
        """Those that are in none of the others, in order."""
        for number in sorted(self._blocks):
            left = int.from_bytes(self._blocks[number], "little")
            for other in others:
                block = other._blocks.get(number)
                if block is not None:
                    left &= ~int.from_bytes(block, "little")
            first = number << _BITS
            while left:
                lowest = left & -left
                yield first + lowest.bit_length() - 1
                left ^= lowest

    def common(self, other: PositionSet) -> int:
        """How many are in both."""
        return sum(
            (
                int.from_bytes(block, "little")
                & int.from_bytes(other._blocks.get(number) or b"", "little")
            ).bit_count()
            for number, block in self._blocks.items()
        )
