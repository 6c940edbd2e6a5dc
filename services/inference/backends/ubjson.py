"""Reads UBJSON (ubjson.org, draft 12), without what XGBoost doesn't write: high-precision numbers, typed objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}
_DEEPEST = 64


def parse(content: bytes) -> Any:
    """Arrays of one type come as numpy arrays.

    Raises:
        ValueError: it isn't UBJSON, or not whole.
    """
    reader = _Reader(content)
    value = reader.value(reader.take(1), 0)
    if reader.at != len(content):
        raise ValueError(f"{len(content) - reader.at} bytes follow its end")
    return value


def members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these members.

    Raises:
        ValueError: one comes twice: readers disagree on which of them counts.
    """
    found = dict[str, Any]()
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has {name!r} twice in one place")
        found[name] = value
    return found


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self.at = 0

    def take(self, size: int) -> bytes:
        return bytes(self._view(size))

    def value(self, marker: bytes, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"it is nested deeper than {_DEEPEST} levels")
        if marker in _NUMBERS:
            return self._numbers(marker, 1)[0].item()
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        match marker:
            case b"S":
                return self._text()
            case b"{":
                return members(self._members(depth))
            case b"[":
                return self._array(depth)
        raise ValueError(f"byte {max(0, self.at - 1)} is no marker")

    def _view(self, size: int) -> memoryview:
        if not 0 <= size <= len(self._content) - self.at:
            raise ValueError(f"byte {self.at} announces {size} bytes, {len(self._content) - self.at} are left")
        self.at += size
        return self._content[self.at - size : self.at]

    def _numbers(self, marker: bytes, count: int) -> Any:
        kind = np.dtype(_NUMBERS[marker])
        return np.frombuffer(self._view(count * kind.itemsize), kind)

    def _length(self) -> int:
        marker = self.take(1)
        if marker not in _NUMBERS or marker in (b"d", b"D"):
            raise ValueError(f"byte {self.at - 1} is no length")
        return int(self._numbers(marker, 1)[0])

    def _text(self) -> str:
        return self.take(self._length()).decode()

    def _members(self, depth: int) -> Iterator[tuple[str, Any]]:
        while self._peek() != b"}":
            yield self._text(), self.value(self.take(1), depth + 1)
        self.at += 1

    def _array(self, depth: int) -> Any:
        if self._peek() == b"$":
            self.at += 1
            marker, sign = self.take(1), self.take(1)
            if marker not in _NUMBERS or sign != b"#":
                raise ValueError(f"byte {self.at - 2} is no type of an array's numbers")
            return self._numbers(marker, self._length())
        if self._peek() == b"#":
            self.at += 1
            return [self.value(self.take(1), depth + 1) for _ in range(self._length())]
        found = []
        while self._peek() != b"]":
            found.append(self.value(self.take(1), depth + 1))
        self.at += 1
        return found

    def _peek(self) -> bytes:
        return bytes(self._content[self.at : self.at + 1])
