"""Files of weights, written by hand, so that what they say of themselves may be wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Entries = Mapping[str, Any]


def entries_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What a header says of FP32 arrays."""
    entries, end = {}, 0
    for name, array in arrays.items():
        entries[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    return entries


def write(path: Path, arrays: Mapping[str, np.ndarray], *, entries: Entries | str | None = None) -> Path:
    """Write FP32 arrays, with other entries in the header than theirs where they are given."""
    said = entries_of(arrays) if entries is None else entries
    header = (said if isinstance(said, str) else json.dumps(said)).encode()
    content = b"".join(array.astype("<f4").tobytes() for array in arrays.values())
    path.write_bytes(len(header).to_bytes(8, "little") + header + content)
    return path
