"""What a model that no backend recognises looks like, in words that help its author."""

from __future__ import annotations

from collections.abc import Sequence

from services.inference.backends.files import ModelFiles
from services.inference.backends.onnx_file import MalformedProtoError, facts_of

_KNOWN = (
    (b"\x1f\x8b", "gzip"),
    (b"PAR1", "Parquet"),
    (b"<?xml", "XML"),
    (b"GGUF", "GGUF"),
    (b"binf", "XGBoost's old binary, which XGBoost 3.0 can keep as JSON or UBJ"),
)
_SHOWN = 5


def likeness(files: ModelFiles) -> str:
    """What is there instead of a model."""
    if name := files.only:
        return _archive_likeness(files) if files.is_archive(name) else _file_likeness(files)
    return f"the folder is no model that is known, it holds {_some(files.names)}"


def _archive_likeness(files: ModelFiles) -> str:
    names = files.archived(files.only)
    if "data.pkl" in names:
        return "the file is a pickled PyTorch module or state dict"
    return f"unknown kind of archive, it holds {_some(sorted(names))}"


def _file_likeness(files: ModelFiles) -> str:
    head = files.head(files.only)
    if not head:
        return "the file is empty"
    if kind := next((kind for start, kind in _KNOWN if head.startswith(start)), ""):
        return f"unsupported format (the file is {kind})"
    try:
        facts_of(files.path(files.only))
    except MalformedProtoError as error:
        return f"the file is corrupt, or of an unknown format: as an ONNX model, {error}"
    return "the file is of an unknown format"


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
