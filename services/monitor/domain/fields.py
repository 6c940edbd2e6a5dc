"""Fields of a table that people write, read one by one: what is wrong with one is said with where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

from services.common.errors import InvalidArgumentError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_EXPECTED_DURATION = 'a duration such as "30s", "10m", "2h" or "1d"'

Word = TypeVar("Word", bound=StrEnum)
Kind = TypeVar("Kind")


class Fields:
    """A table's fields, each of which is to be taken once; :meth:`end` refuses what nobody took."""

    def __init__(self, table: object, where: str) -> None:
        """Raises: InvalidArgumentError: it is no table."""
        if not isinstance(table, Mapping):
            raise InvalidArgumentError(f"{where}: got {_shown(table)}, expected a table")
        self.where = where
        self._rest = dict(table)
        self._known: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._rest

    def take(self, name: str, kind: type[Kind], default: Kind, *, expected: str = "") -> Kind:
        """A field of a type, or the default where it isn't there."""
        self._known.append(name)
        if name not in self._rest:
            return default
        value = self._rest.pop(name)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(name, value, expected or _NAMES.get(kind, kind.__name__))
        return value

    def text(self, name: str, default: str = "") -> str:
        return self.take(name, str, default)

    def needed(self, name: str) -> str:
        """A text that must be there, and not be empty."""
        text = self.text(name)
        if not text:
            raise InvalidArgumentError(f"{self.where}: {name} is missing")
        return text

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        value = self.take(name, float, default)
        if not low <= value <= high:
            raise self.wrong(name, value, f"{low:g} to {high:g}")
        return value

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        value = self.take(name, int, default)
        if not low <= value <= high:
            raise self.wrong(name, value, f"{low} to {high}")
        return value

    def duration_s(self, name: str, default: float, *, low: float = 0.0, high: float = 31 * 86_400.0) -> float:
        """Seconds of a duration, as a number with a unit."""
        self._known.append(name)
        if name not in self._rest:
            return default
        value = self._rest.pop(name)
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise self.wrong(name, value, _EXPECTED_DURATION)
        seconds = float(found[1]) * _SECONDS[found[2]]
        if not low <= seconds <= high:
            raise self.wrong(name, value, f"{low:g} s to {high:g} s")
        return seconds

    def word(self, name: str, words: type[Word], default: Word | None = None) -> Word:
        """One of an enumeration's values."""
        expected = "one of " + ", ".join(words)
        value = self.take(name, str, "" if default is None else str(default), expected=expected)
        if not value:
            raise InvalidArgumentError(f"{self.where}: {name} is missing, expected {expected}")
        return self._word(name, value, words)

    def words(self, name: str, words: type[Word]) -> tuple[Word, ...]:
        """Some of an enumeration's values; none where it isn't there."""
        return tuple(self._word(name, one, words) for one in self.texts(name))

    def _word(self, name: str, value: str, words: type[Word]) -> Word:
        if value not in set(words):
            raise self.wrong(name, value, "one of " + ", ".join(words))
        return words(value)

    def texts(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of texts that aren't empty."""
        found = self.take(name, list, list(default), expected="a list of texts")
        if not all(isinstance(one, str) and one for one in found):
            raise self.wrong(name, found, "a list of texts, none of them empty")
        return tuple(found)

    def mapping(self, name: str, key: re.Pattern[str], expected: str) -> dict[str, str]:
        """A table of texts, by names of a form."""
        found = self.take(name, dict, {}, expected="a table of texts")
        for one, value in found.items():
            if not (isinstance(value, str) and key.fullmatch(one) and "\0" not in value):
                raise self.wrong(f"{name}.{one}", value, expected)
        return dict(found)

    def table(self, name: str, read: Callable[[Fields], Kind]) -> Kind | None:
        """What is read of a table within this one; None where it isn't there."""
        self._known.append(name)
        if name not in self._rest:
            return None
        inner = Fields(self._rest.pop(name), f"{self.where}, {name}")
        found = read(inner)
        inner.end()
        return found

    def end(self) -> None:
        """Raises: InvalidArgumentError: there is a field that nobody knows."""
        if self._rest:
            unknown, known = ", ".join(sorted(self._rest)), ", ".join(sorted(set(self._known)))
            raise InvalidArgumentError(f"{self.where}: got {unknown}, expected some of {known}")

    def wrong(self, name: str, value: object, expected: str) -> InvalidArgumentError:
        """To be raised of a field's value."""
        return InvalidArgumentError(f"{self.where}: {name}: got {_shown(value)}, expected {expected}")


_NAMES: dict[type, str] = {str: "a text", float: "a number", int: "a whole number", bool: "true or false"}


def _shown(value: object) -> str:
    return repr(value)[:80]
