"""Weights of torch's archives, mapped into memory: processes of a node share them, and the kernel may drop them."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

_LEAST_BYTES = 64 * 1024
_ALIGNMENT = 64
"""Of records, as torch writes them."""
_GLANCE = 4096
_LOCAL_HEADER_BYTES = 30  # APPNOTE.TXT 4.3.7, with the lengths of name and extra field at its end


def map_weights(tensors: Iterable[torch.Tensor], path: Path) -> None:
    """Let tensors in the CPU's memory be what the archive has, where it has the same bytes.

    What is written to them stays in this process. The file must not change while they live.
    """
    whole = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
    records = _records(path)
    for group in _by_memory(tensors):
        if (mapped := _find(group[0].untyped_storage(), whole, records)) is not None:
            for one in group:
                view = torch.empty(0, dtype=one.dtype)
                one.data = view.set_(mapped, one.storage_offset(), one.size(), one.stride())


def _records(path: Path) -> Mapping[int, Sequence[int]]:
    """Where uncompressed contents of some size begin, by that size."""
    found = defaultdict(list)
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for one in archive.infolist():
            if one.compress_type != zipfile.ZIP_STORED or one.file_size < _LEAST_BYTES:
                continue
            file.seek(one.header_offset)
            header = file.read(_LOCAL_HEADER_BYTES)
            lengths = [int.from_bytes(header[at : at + 2], "little") for at in (26, 28)]
            found[one.file_size].append(one.header_offset + _LOCAL_HEADER_BYTES + sum(lengths))
    return found


def _by_memory(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Those that share memory together."""
    found = defaultdict(list)
    for one in tensors:
        is_plain = one.layout is torch.strided and not one.is_quantized and one.device.type == "cpu"
        if is_plain and type(one) in (torch.Tensor, torch.nn.Parameter):
            found[one.untyped_storage().data_ptr()].append(one)
    yield from found.values()


def _find(held: Any, whole: Any, records: Mapping[int, Sequence[int]]) -> Any:
    """The part of the file that holds the same bytes; None where there is none."""
    size = held.nbytes()
    for begin in records.get(size, ()):
        if begin % _ALIGNMENT or begin + size > whole.nbytes():
            continue
        part = whole[begin : begin + size]
        mine, its = (torch.empty(0, dtype=torch.uint8).set_(one) for one in (held, part))
        if torch.equal(mine[:_GLANCE], its[:_GLANCE]) and torch.equal(mine, its):
            return part
    return None
