"""TorchServe's model archives: a ZIP file with ``MAR-INF/MANIFEST.json``, or what was unpacked of one.

https://github.com/pytorch/serve/blob/master/model-archiver/README.md
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from penstock.importing.foreign import ForeignModel, ForeignModelError, inside

_DESCRIPTION = "MAR-INF/MANIFEST.json"
_MOST_BYTES = 1 << 20
"""Of the description."""
_DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError)


def recognises(path: Path) -> bool:
    if path.is_dir():
        return (path / _DESCRIPTION).is_file()
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return _DESCRIPTION in archive.namelist()
    except _DAMAGE:
        return False


def read(path: Path, scratch: Path) -> list[ForeignModel]:
    """The one model of an archive, without its handler, which is Python code that TorchServe would run.

    Raises:
        OSError: it can't be read, or ``scratch`` is full.
        ForeignModelError: it is damaged, or holds no model that says how it is built.
    """
    if path.is_dir():
        return [_model(path, _parsed((path / _DESCRIPTION).read_bytes()))]
    try:
        with zipfile.ZipFile(path) as archive:
            description = _description(archive)
            _unpack(archive, _file_name(description), scratch)
    except _DAMAGE as error:
        raise ForeignModelError(f"{path} is a damaged archive: {error}") from error
    return [_model(scratch, description)]


def _description(archive: zipfile.ZipFile) -> Any:
    if archive.getinfo(_DESCRIPTION).file_size > _MOST_BYTES:
        raise ForeignModelError(f"{_DESCRIPTION} is larger than {_MOST_BYTES} bytes")
    return _parsed(archive.read(_DESCRIPTION))


def _parsed(description: bytes) -> Any:
    try:
        return json.loads(description)
    except ValueError as error:
        raise ForeignModelError(f"{_DESCRIPTION} is no JSON: {error}") from error


def _unpack(archive: zipfile.ZipFile, name: str, folder: Path) -> None:
    """Write the model's file, and no more than the archive says that it has."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise ForeignModelError(f"{_DESCRIPTION} names {name!r}, which the archive doesn't hold") from None
    if entry.file_size > shutil.disk_usage(folder).free:
        raise ForeignModelError(f"{name} unpacks to {entry.file_size} bytes, more than there is room for in {folder}")
    with archive.open(entry) as source, (folder / name).open("wb") as target:
        shutil.copyfileobj(source, target)


def _file_name(description: Any) -> str:
    name = _model_of(description).get("serializedFile")
    if not isinstance(name, str) or PurePosixPath(name).name != name:
        raise ForeignModelError(f"{_DESCRIPTION} names the model {name!r}, expected a file beside it")
    return name


def _model_of(description: Any) -> dict[str, Any]:
    model = description.get("model") if isinstance(description, dict) else None
    if not isinstance(model, dict):
        raise ForeignModelError(f"{_DESCRIPTION} describes no model")
    return model


def _model(folder: Path, description: Any) -> ForeignModel:
    model = _model_of(description)
    if built_by := model.get("modelFile"):
        raise ForeignModelError(
            f"the model's weights need the Python code of {built_by}: export it whole, with torch.export or torch.onnx"
        )
    name, version = model.get("modelName"), model.get("modelVersion")
    if not isinstance(name, str):
        raise ForeignModelError(f"{_DESCRIPTION} gives the name {name!r}, expected a text")
    return ForeignModel(
        name=name,
        path=inside(folder, _file_name(description)),
        labels={"torchserve-version": str(version)} if version else {},
        left_out=[f"its handler {model['handler']}: callers send tensors"] if model.get("handler") else [],
    )
