"""Tells a model file's format from its content; the name plays no part."""

from __future__ import annotations

import mmap
import zipfile
from pathlib import Path

from services.inference.backends import LoadError
from services.inference.backends.onnx_file import MalformedProtoError, OnnxFacts, read_facts
from services.inference.domain.signature import Format

_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def detect(path: Path) -> Format:
    """The format of a file, without loading it.

    Raises:
        LoadError: it is none that can be served; the message says what it looks like.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise LoadError("the file is empty")
    if head.startswith(b"PK\x03\x04"):
        return _detect_in_archive(path)
    if head.startswith(_PICKLES):
        raise LoadError(
            "the file is a Python pickle, which can run any code while loading: expected ONNX or torch.export"
        )
    if head.startswith((b"\x89HDF\r\n", b"\x1f\x8b", b"PAR1", b"<?xml")) or head[4:8] == b"TFL3":
        raise LoadError(f"unsupported format (the file begins with {head[:8]!r}): expected ONNX or torch.export")
    onnx_facts(path)
    return Format.ONNX


def onnx_facts(path: Path) -> OnnxFacts:
    """What an ONNX file says of itself, read without any library.

    Raises:
        LoadError: it is no ONNX model, or a damaged one.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return read_facts(content)
        except MalformedProtoError as error:
            raise LoadError(f"the file is corrupt, or of an unknown format: as an ONNX model, {error}") from error


def _detect_in_archive(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise LoadError(f"the file is a damaged archive: {error}") from error
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return Format.TORCH_EXPORT
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return Format.TORCHSCRIPT
    if "data.pkl" in names:
        raise LoadError("the file is a pickled PyTorch module or state dict: expected torch.export or TorchScript")
    raise LoadError(f"unknown kind of archive, it holds {sorted(names)[:5]}: expected torch.export or TorchScript")
