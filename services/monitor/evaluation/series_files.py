"""Reads series row by row and writes them with their scores; what is wrong with a row is counted and said."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LABEL_COLUMNS = frozenset({"label", "labels", "is_anomaly", "anomaly", "changepoint", "anomaly_score"})
"""Columns that would give the answer away: never read as values."""
STAMP_COLUMNS = ("timestamp", "datetime", "time")
MAX_LINE = 1 << 20
_ABSENT = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})
"""What stands where there is no value."""


class SeriesFileError(ValueError):
    """A file isn't a series; the message says where and what was expected."""


@dataclass(frozen=True, slots=True)
class Row:
    """``values``: NaN where there is none."""

    line: int
    stamp: str
    texts: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(slots=True)
class Oddities:
    """How many rows had what, and the first of them."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)

    def note(self, what: str, line: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        self.first.setdefault(what, line)

    def __str__(self) -> str:
        return "; ".join(f"{count} × {what} (first: line {self.first[what]})" for what, count in self.counts.items())


@dataclass(frozen=True, slots=True)
class Columns:
    """Which cells of a row are read, and under what names they are written."""

    delimiter: str
    stamp: int
    values: tuple[int, ...]
    names: tuple[str, ...]


class SeriesReader:
    """Iterates over the rows of one file; holds one row at a time."""

    def __init__(self, path: Path, *, is_multivariate: bool) -> None:
        self._path = path
        self._is_multivariate = is_multivariate
        self.oddities = Oddities()
        self.bytes_read = 0
        with path.open("rb") as file:
            first = file.readline(MAX_LINE)
        try:
            head = first.decode("utf-8-sig").strip("\r\n")
        except UnicodeDecodeError:
            raise SeriesFileError(f"{path}: the first line is no UTF-8 text") from None
        self._has_header, self.columns = self._understand(head)

    def _cells(self, line: int, text: str, delimiter: str) -> list[str]:
        if '"' not in text:
            return [cell.strip() for cell in text.split(delimiter)]
        try:
            return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter), [])]
        except csv.Error as error:
            raise SeriesFileError(f"{self._path}, line {line}: no CSV ({error})") from None

    def _understand(self, head: str) -> tuple[bool, Columns]:
        delimiter = max(",;\t", key=head.count)
        cells = self._cells(1, head, delimiter)
        if len(cells) < 2:
            raise SeriesFileError(
                f"{self._path}: the first line is {head[:80]!r}, expected "
                + ("timestamp,v1,v2,…" if self._is_multivariate else "timestamp,value")
            )
        has_header = cells[0].lower() in STAMP_COLUMNS or not all(map(_may_be_value, cells[1:]))
        names = [cell.lower() for cell in cells] if has_header else []
        stamp = next((names.index(name) for name in STAMP_COLUMNS if name in names), 0)
        usable = [
            index for index in range(len(cells)) if index != stamp and (cells[index].lower() not in LABEL_COLUMNS)
        ]
        if not self._is_multivariate:
            usable = [names.index("value")] if "value" in names else usable[:1]
        if not usable:
            raise SeriesFileError(f"{self._path}: got columns {', '.join(cells)}, expected timestamp and values")
        if self._is_multivariate:
            written = tuple(cells[index] if has_header else f"v{turn}" for turn, index in enumerate(usable, start=1))
        else:
            written = ("value",)
        return has_header, Columns(delimiter, stamp, tuple(usable), written)

    def __iter__(self) -> Iterator[Row]:
        """Raises SeriesFileError: a line of more than a megabyte, or one that is no CSV."""
        columns = self.columns
        with self._path.open("rb") as file:
            line = 0
            while raw := file.readline(MAX_LINE):
                line += 1
                self.bytes_read += len(raw)
                if len(raw) == MAX_LINE:
                    raise SeriesFileError(f"{self._path}, line {line}: longer than {MAX_LINE} bytes")
                if line == 1 and self._has_header:
                    continue
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8", errors="replace").strip("\r\n")
                if not text.strip():
                    continue
                yield self._row(line, self._cells(line, text, columns.delimiter))

    def _row(self, line: int, cells: list[str]) -> Row:
        columns = self.columns
        stamp = cells[columns.stamp] if columns.stamp < len(cells) else ""
        texts = tuple(cells[index] if index < len(cells) else "" for index in columns.values)
        values = []
        for text in texts:
            value = _number(text)
            if math.isnan(value):
                is_absent = text.lower() in _ABSENT
                self.oddities.note("no value" if is_absent else "value that is no finite number", line)
            values.append(value)
        return Row(line, stamp, texts, tuple(values))


def _may_be_value(text: str) -> bool:
    """Whether a cell of the first line is no name of a column."""
    try:
        float(text)
    except ValueError:
        return text.lower() in _ABSENT
    return True


def _number(text: str) -> float:
    """NaN for what is no finite number."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def targets(paths: list[Path], out: Path) -> list[tuple[Path, Path]]:
    """Each file with where its scores go: under its name, or under its path where two files have the same name.

    A folder stands for the CSV files in it, at any depth.
    """
    files: list[Path] = []
    for path in paths:
        files += sorted(path.rglob("*.csv")) if path.is_dir() else [path]
    files = list(dict.fromkeys(files))
    if len({file.name for file in files}) == len(files):
        return [(file, out / file.name) for file in files]
    resolved = [file.resolve() for file in files]
    shared = next(folder for folder in resolved[0].parents if all(one.is_relative_to(folder) for one in resolved))
    return [(file, out / whole.relative_to(shared)) for file, whole in zip(files, resolved, strict=True)]
