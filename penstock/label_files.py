"""Files of labels: CSV with a heading, or a JSON object a line.

Columns: ``request_id`` (or ``id``), ``label``, and if wanted ``row``, ``time`` (RFC 3339), ``slice.<name>`` and
``metric.<name>``. Instead of ``label``: ``class_index``, ``class_name`` or ``number``, which leave no doubt.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from penstock.monitor.v1.feedback_service_pb2 import Label

Kind = Literal["auto", "class", "name", "number"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_FIELDS: Mapping[str, Kind] = {"class_index": "class", "class_name": "name", "number": "number"}
_MOST_ROW_BYTES = 1 << 20


def read(path: Path, model: str, *, kind: Kind = "auto") -> Iterator[Label]:
    """The labels of a file, one by one. ``kind`` is what the column ``label`` has; "auto" goes by each value.

    Raises:
        ValueError: a line is none of a label; the message says which.
        OSError: the file can't be read.
    """
    rows = _csv(path) if path.suffix.lower() in (".csv", ".tsv") else _json(path)
    for number, row in rows:
        try:
            yield _label(model, row, kind)
        except (KeyError, TypeError, ValueError) as error:
            why = f"there is no {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"{path.name}, line {number}: {why}") from None


def _csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            for row in reader:
                if None in row:
                    raise ValueError(f"{path.name}, line {reader.line_num}: got more cells than headings")
                yield reader.line_num, {key: value for key, value in row.items() if value not in (None, "")}
        except csv.Error as error:
            raise ValueError(f"{path.name}, line {reader.line_num}: {error}") from None


def _json(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MOST_ROW_BYTES), ""), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path.name}, line {number}: it is no JSON: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path.name}, line {number}: it is no object")  # noqa: TRY004 - the file's fault
            yield number, _flat(row)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """``{"slices": {"a": 1}}`` as ``{"slice.a": 1}``."""
    found = {key: value for key, value in row.items() if key not in ("slices", "metrics") and value is not None}
    for name, prefix in (("slices", "slice"), ("metrics", "metric")):
        for key, value in dict(row.get(name) or {}).items():
            found[f"{prefix}.{key}"] = value
    return found


def _label(model: str, row: Mapping[str, Any], kind: Kind) -> Label:
    request_id = row["request_id"] if "request_id" in row else row["id"]
    message = Label(model=model, request_id=str(request_id), row=int(row.get("row", 0)))
    for name, said in _FIELDS.items():
        if name in row:
            set_truth(message, row[name], said)
    if "label" in row:
        set_truth(message, row["label"], kind)
    if "time" in row:
        when = datetime.fromisoformat(str(row["time"]))
        message.label_time.FromDatetime(when if when.tzinfo else when.replace(tzinfo=UTC))
    for key, value in row.items():
        column, _, name = key.partition(".")
        if column == "slice" and name:
            message.slices[name] = str(value)
        elif column == "metric" and name:
            message.metrics[name] = float(value)
    return message


def set_truth(message: Label, value: Any, kind: Kind) -> None:
    """Write the right answer into a label.

    Raises:
        TypeError, ValueError: it is none of that kind.
    """
    kind = _kind_of(value) if kind == "auto" else kind
    if kind == "class":
        message.class_index = int(value)
    elif kind == "number":
        message.number = float(value)
    else:
        message.class_name = str(value)


def _kind_of(value: Any) -> Kind:
    """Whole numbers are classes, other numbers are numbers, and all else is a name."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"got the label {value!r}, expected a class, a name or a number")
    text = str(value).strip()
    if text.lstrip("+-").isdecimal():
        return "class"
    try:
        float(text)
    except ValueError:
        return "name"
    return "number" if any(one.isdecimal() for one in text) else "name"
