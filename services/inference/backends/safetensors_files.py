"""Weights in safetensors: what their headers say is compared with the files before anything is mapped into memory.

A header is 8 bytes, its length, and as many bytes of JSON: of each tensor its type, its shape, and from where to where
its bytes are. These must follow each other without gaps and end with the file: see
https://github.com/safetensors/safetensors#format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from services.inference.backends.errors import LoadError
from services.inference.backends.files import ModelFiles

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

_LARGEST_HEADER = 16 * 2**20
_LENGTH_BYTES = 8
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64"), 64),
}


def check_weights(files: ModelFiles) -> None:
    """Compare the one file, and those that an index names, with what is said of them.

    Raises:
        LoadError: a file is missing, cut off, or says of itself or others what is not so.
    """
    if WEIGHTS in files.names:
        tensors_of(files, WEIGHTS)
    if INDEX not in files.names:
        return
    tensors = {name: tensors_of(files, name) for name in sorted(set(_index(files).values()))}
    for tensor, name in _index(files).items():
        if tensor not in tensors[name]:
            raise LoadError(f"{INDEX} says that {name} has {tensor!r}, which it has not")


def _index(files: ModelFiles) -> Mapping[str, str]:
    """The file of each tensor."""
    entries = read_object(files, INDEX, limit=_LARGEST_HEADER).get("weight_map")
    if not isinstance(entries, dict) or not entries:
        raise LoadError(f'{INDEX} has no "weight_map" of tensors and files')
    for name in entries.values():
        if not isinstance(name, str) or "/" in name or not name.endswith(".safetensors"):
            raise LoadError(f"{INDEX} names the file {name!r}, expected one that ends with .safetensors, beside it")
        if name not in files.names:
            raise LoadError(f"{INDEX} names {name}, which is not among the model's files")
    return entries


def tensors_of(files: ModelFiles, name: str) -> set[str]:
    """The names of a file's tensors.

    Raises:
        LoadError: its header is not that of such a file.
    """
    size = files.path(name).stat().st_size
    length = int.from_bytes(files.head(name, _LENGTH_BYTES), "little")
    if not 0 < length <= min(_LARGEST_HEADER, size - _LENGTH_BYTES):
        raise LoadError(
            f"{name} announces a header of {length} bytes, expected at most {_LARGEST_HEADER} in a file of {size}"
        )
    header = _parsed(name, files.head(name, _LENGTH_BYTES + length)[_LENGTH_BYTES:])
    header.pop("__metadata__", None)
    end = 0
    for tensor, begin, stop in sorted((_extent(name, *one) for one in header.items()), key=lambda one: one[1:]):
        if begin != end:
            raise LoadError(f"{name} says that {tensor!r} begins at byte {begin} of the data, expected {end}")
        end = stop
    if _LENGTH_BYTES + length + end != size:
        raise LoadError(f"{name} says that it has {_LENGTH_BYTES + length + end} bytes, it has {size}")
    return set(header)


def _extent(name: str, tensor: str, said: Any) -> tuple[str, int, int]:
    """Where a tensor begins and ends, which must be as many bytes as its type and shape take."""
    try:
        bits, shape, (begin, end) = _BITS[said["dtype"]], said["shape"], said["data_offsets"]
        is_sound = all(type(size) is int and size >= 0 for size in (*shape, begin, end))
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound or end - begin != math.prod(shape) * bits // 8:
        raise LoadError(
            f"{name} has {str(said)[:200]} for {tensor!r}, expected a type, a shape, and where its bytes are"
        )
    return tensor, begin, end


def read_object(files: ModelFiles, name: str, *, limit: int = 2**20) -> dict[str, Any]:
    """A JSON file that holds an object; empty where there is no such file.

    Raises:
        LoadError: it holds something else, or more than ``limit`` bytes.
    """
    if name not in files.names:
        return {}
    if (size := files.path(name).stat().st_size) > limit:
        raise LoadError(f"{name} has {size} bytes, expected at most {limit}")
    return _parsed(name, files.path(name).read_bytes())


def _parsed(name: str, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{name} can't be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise LoadError(f"{name} holds a {type(found).__name__}, expected an object")
    return found


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name is there twice")
    return found
