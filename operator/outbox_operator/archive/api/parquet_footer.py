"""The end of a Parquet file whose groups of rows were made as files of their own. Pure.

The library that writes Parquet cuts groups by rows alone, and an export must not need the memory
of ever so many rows of a megabyte. So each group is written as a whole file, by itself, and what
stands in their footers about groups becomes one footer: the same structures, at other offsets. They
are of Thrift's compact protocol, https://parquet.apache.org/docs/file-format/metadata/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MAGIC: Final = b"PAR1"
_TAIL: Final = 4 + len(MAGIC)
"""Bytes behind a footer: its length, and the magic once more."""
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_NUMBERS: Final = (_I16, _I32, _I64)

# Of FileMetaData, RowGroup, ColumnChunk and ColumnMetaData.
_NUM_ROWS, _ROW_GROUPS = 3, 4
_COLUMNS, _GROUP_OFFSET, _ORDINAL = 1, 5, 7
_CHUNK_OFFSETS: Final = (2, 4, 6)
_META_DATA: Final = 3
_META_OFFSETS: Final = (9, 10, 11, 14)


@dataclass(slots=True)
class Field:
    """A field of a structure.

    Attributes:
        kind: Its type.
        value: A number, bytes, a list of a type and its items, or the fields of a structure.
    """

    kind: int
    value: Any


Struct = dict[int, Field]


class Footer:
    """Puts groups together. Take each with `add`, then what `end` says stands at the end."""

    def __init__(self) -> None:
        self._groups: list[bytes] = []
        self._rows = 0
        self._first: Struct = {}

    def add(self, file: bytes, at: int) -> memoryview:
        """Take a file of one group, or of none; what of it is to stand at an offset of the whole.

        Args:
            file: As it was written.
            at: The offset.

        Raises:
            ValueError: It is no file as is expected here.
        """
        length = int.from_bytes(file[-_TAIL : -len(MAGIC)], "little")
        start = len(file) - _TAIL - length
        if not (file.startswith(MAGIC) and file.endswith(MAGIC)) or start < len(MAGIC):
            raise ValueError("no Parquet file")
        found = _Reader(file, start).struct()
        _, groups = found[_ROW_GROUPS].value
        for group in groups:
            _shift(group, at - len(MAGIC))
            self._groups.append(_struct(group))
        self._rows += found[_NUM_ROWS].value
        self._first = self._first or found
        return memoryview(file)[len(MAGIC) : start]

    def end(self) -> bytes:
        """The footer of all of them, with what stands behind it."""
        whole = self._first | {_NUM_ROWS: Field(_I64, self._rows)}
        groups = _list_head(_STRUCT, len(self._groups)) + b"".join(self._groups)
        text = _struct(whole, {_ROW_GROUPS: groups})
        return text + len(text).to_bytes(4, "little") + MAGIC


def _shift(group: Struct, by: int) -> None:
    """Have a group of rows say where it stands now."""
    group.pop(_ORDINAL, None)  # of 15 bits, and nobody needs it
    _move(group, (_GROUP_OFFSET,), by)
    for chunk in group[_COLUMNS].value[1]:
        _move(chunk, _CHUNK_OFFSETS, by)
        _move(chunk[_META_DATA].value, _META_OFFSETS, by)


def _move(struct: Struct, names: tuple[int, ...], by: int) -> None:
    for name in names:
        if name in struct and struct[name].value:  # 0: there is none
            struct[name].value += by


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def struct(self) -> Struct:
        found: Struct = {}
        name = 0
        while head := self._byte():
            kind = head & 15
            name = name + (head >> 4) if head >> 4 else self._number()
            found[name] = Field(kind, None if kind in (_TRUE, _FALSE) else self._value(kind))
        return found

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._number()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            head = self._byte()
            size, of = head >> 4, head & 15
            return of, [self._value(of) for _ in range(self._varint() if size == 15 else size)]
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise ValueError(f"type {kind} of Thrift is not expected here")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 128:
            number |= (byte & 127) << shift
            shift += 7
        return number | byte << shift

    def _number(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)


def _struct(fields: Struct, ready: Mapping[int, bytes] | None = None) -> bytes:
    """Bytes of a structure.

    Args:
        fields: Of it.
        ready: Values of some that are bytes already.
    """
    out = bytearray()
    last = 0
    for name in sorted(fields):
        kind = fields[name].kind
        if name - last < 16:
            out.append(name - last << 4 | kind)
        else:
            out.append(kind)
            out += _number(name)
        last = name
        given = None if ready is None else ready.get(name)
        if given is not None:
            out += given
        elif kind not in (_TRUE, _FALSE):
            out += _value(kind, fields[name].value)
    out.append(0)
    return bytes(out)


def _value(kind: int, value: Any) -> bytes:
    if kind in _NUMBERS:
        return _number(value)
    if kind == _BINARY:
        return _varint(len(value)) + bytes(value)
    if kind == _STRUCT:
        return _struct(value)
    if kind in (_LIST, _SET):
        of, items = value
        return _list_head(of, len(items)) + b"".join(_value(of, item) for item in items)
    return bytes(value) if kind == _DOUBLE else bytes((value,))


def _list_head(of: int, size: int) -> bytes:
    return bytes((size << 4 | of,)) if size < 15 else bytes((0xF0 | of,)) + _varint(size)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(number: int) -> bytes:
    return _varint(number << 1 if number >= 0 else (-number << 1) - 1)
