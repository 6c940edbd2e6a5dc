"""Arrays from files, and as text."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape

from penstock import tensors
from penstock.cli.output import screen
from penstock.cli.tables import Rows
from penstock.tensors import Tensor

_SHOWN_ROWS, _SHOWN_VALUES = 8, 10
_SIDE = 256


def random(specs: list[Tensor], *, rows: int, content: bytes | None = None) -> dict[str, NDArray[Any]]:
    """Random values for each input, but the ``content``, if any, for those that take bytes."""
    generator = np.random.default_rng()
    found = {spec.name: tensors.random(spec, rows=rows, generator=generator) for spec in specs}
    if content is not None:
        for array in (found[spec.name] for spec in specs if spec.datatype == "BYTES"):
            array.fill(content)
    return found


def random_image() -> bytes:
    """A PNG of random colours (https://www.w3.org/TR/png-3/)."""
    lines = np.random.default_rng().integers(0, 256, (_SIDE, 1 + 3 * _SIDE), np.uint8)
    lines[:, 0] = 0  # the filter: none
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def read(path: Path, specs: list[Tensor]) -> dict[str, NDArray[Any]]:
    """A file's arrays, fitted to the inputs that they are for.

    Raises:
        ValueError: the file can't be read, or its arrays are not the model's inputs.
    """
    try:
        found = _arrays(path, specs)
    except (ValueError, EOFError, OSError, BadZipFile, RecursionError) as error:
        raise ValueError(f"can't read {path.name}: {error}") from None
    if found.keys() != {spec.name for spec in specs}:
        expected = ", ".join(spec.name for spec in specs)
        raise ValueError(f"{path.name} holds {', '.join(found) or 'nothing'}, expected the inputs {expected}")
    return {spec.name: tensors.fitted(found[spec.name], spec) for spec in specs}


def _arrays(path: Path, specs: list[Tensor]) -> dict[str, NDArray[Any]]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive.items())
    if path.suffix == ".npy":
        if len(specs) != 1:
            raise ValueError(f"the model takes {len(specs)} inputs: use .npz or .json")
        return {specs[0].name: np.load(path, allow_pickle=False)}
    if path.suffix == ".json":
        return _from_json(json.loads(path.read_text("utf-8")), specs)
    if len(specs) == 1 and specs[0].datatype == "BYTES":
        return {specs[0].name: np.array([path.read_bytes()], dtype=object)}
    raise ValueError(f"its name ends in {path.suffix!r}, expected .npy, .npz or .json")


def _from_json(body: Any, specs: list[Tensor]) -> dict[str, NDArray[Any]]:
    if isinstance(body, list) and len(specs) == 1:
        return {specs[0].name: np.asarray(body)}
    if not isinstance(body, dict):
        raise ValueError("expected an object of arrays by input name")  # noqa: TRY004 - the file is wrong, not the call
    if isinstance(body.get("inputs"), list):
        try:
            return {one["name"]: np.asarray(one["data"]).reshape(one["shape"]) for one in body["inputs"]}
        except (TypeError, KeyError):
            raise ValueError("expected each of its inputs to have name, shape and data") from None
    return {key: np.asarray(value) for key, value in body.items()}


def plain(array: NDArray[Any]) -> dict[str, Any]:
    """An array as JSON has it."""
    return {"shape": list(array.shape), "data": _text(array).tolist()}


def _text(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind != "O":
        return array
    return np.array([item.decode("utf-8", "replace") for item in array.flat], dtype=object).reshape(array.shape)


def show(name: str, array: NDArray[Any]) -> None:
    """Print an array's first rows."""
    screen.print(f"[bold]{escape(name)}[/] {array.dtype} {'×'.join(map(str, array.shape))}")
    count = array.shape[0] if array.ndim > 1 else 1
    flat = _text(array).reshape(count, array.size // max(count, 1))
    is_classifier = array.ndim == 2 and array.dtype.kind == "f" and 1 < array.shape[1] <= 10_000
    rows = Rows(">ROW", "~VALUES", *([">HIGHEST AT"] if is_classifier else []))
    for number, row in enumerate(flat[:_SHOWN_ROWS]):
        values = "  ".join(f"{value:.3g}" if array.dtype.kind == "f" else str(value) for value in row[:_SHOWN_VALUES])
        more = f"  … {len(row) - _SHOWN_VALUES} more" if len(row) > _SHOWN_VALUES else ""
        rows.add_row(str(number), escape(values) + more, *([str(int(row.argmax()))] if is_classifier else []))
    screen.print(rows)
    if len(flat) > _SHOWN_ROWS:
        screen.print(f"… {len(flat) - _SHOWN_ROWS} more rows (--json shows all)")
