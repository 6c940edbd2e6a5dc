"""A scanner's second opinion on models that can run code: picklescan looks through all pickles of a model.

It knows what others have tried, and no more. Nothing is loaded for it, and it never stands in for somebody's trust.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from services.inference.backends import archives
from services.inference.backends.errors import LoadError, public_message
from services.inference.backends.files import ModelFiles

PICKLESCAN = "picklescan"

_ZIP, _NUMPY = b"PK\x03\x04", b"\x93NUMPY"
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(6))
_SUFFIXES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".dat", ".data")
"""Where pickles of the oldest protocols may be, which have no beginning of their own."""
_SHOWN = 5

Stream = tuple[str, IO[bytes]]


def scan(files: ModelFiles) -> str:
    """Look through a model whose archives were checked before; returns what was found, for people.

    Raises:
        LoadError: something dangerous was found, or something can't be read to its end, or there was nothing to scan.
    """
    from picklescan.scanner import SafetyLevel

    title = f"{PICKLESCAN} {importlib.metadata.version(PICKLESCAN)}"
    logging.getLogger(PICKLESCAN).setLevel(logging.CRITICAL)  # what it says is in its results
    files_seen, count, dangerous, suspicious = 0, 0, list[str](), set[str]()
    try:
        for name, stream in _streams(files):
            files_seen += 1
            result = _scan_one(name, stream)
            if result is None:
                continue
            count += 1
            if result.scan_err:
                raise LoadError(f"the scanner {title} can't read {name} to its end")
            for one in result.globals:
                if one.safety is SafetyLevel.Dangerous:
                    dangerous.append(f"{one.module}.{one.name} in {name}")
                elif one.safety is SafetyLevel.Suspicious:
                    suspicious.add(f"{one.module}.{one.name}")
    except archives.DAMAGE as error:
        raise LoadError(f"the scanner {title} failed: {public_message(error)}") from error
    if dangerous:
        raise LoadError(f"the scanner {title} found {_some(dangerous)}")
    if not count:
        raise LoadError(f"the scanner {title} found nothing in it that it can scan, which this node asks for")
    unknown = f", not known to it: {_some(sorted(suspicious))}" if suspicious else ""
    return f"{title} looked at {count} of {files_seen} files: nothing dangerous{unknown}"


def _scan_one(name: str, stream: IO[bytes]) -> Any:
    """The scanner's result; None for what is no pickle."""
    from picklescan import scanner

    head = stream.read(len(_NUMPY))
    stream.seek(0)
    if head.startswith(_NUMPY):
        return scanner.scan_numpy(stream, name)
    if head.startswith(_PICKLES):
        return scanner.scan_pickle_bytes(stream, name)
    if name.endswith(_SUFFIXES):
        result = scanner.scan_pickle_bytes(stream, name)
        return result if result.globals else None
    return None


def _streams(files: ModelFiles) -> Iterator[Stream]:
    """All files, those in archives too."""
    for name in files.names:
        with files.path(name).open("rb") as file:
            yield from _unpacked(name, file)


def _unpacked(name: str, file: IO[bytes]) -> Iterator[Stream]:
    head = file.read(len(_ZIP))
    file.seek(0)
    if head != _ZIP:
        yield name, file
        return
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            with contextlib.closing(archive.open(entry)) as inner:
                yield from _unpacked(f"{name}:{entry.filename}", inner)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
