"""Looks into Keras' files before Keras does: archives (.keras) and HDF5 can reach outside, and unpack to no end."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from services.inference.backends import archives
from services.inference.backends.errors import LoadError, public_message
from services.inference.backends.files import ModelFiles

HDF5 = b"\x89HDF\r\n\x1a\n"
_CONFIG = "config.json"
_MEMBER = re.compile(r"config\.json|metadata\.json|model(_\d+)?\.weights\.(h5|json)|assets/(?!.*\.\.)[\w./-]*")
_LARGEST_CONFIG = 64 * 2**20
_LARGEST_GROWTH, _FREE_GROWTH = 16, 64 * 2**20
"""How often larger than its file a model's content may be, and how large it may be anyhow, in bytes."""


def is_archive(files: ModelFiles) -> bool:
    """Whether it is a .keras file. Raises: LoadError: the archive is damaged."""
    return files.is_archive(files.only) and {_CONFIG, "metadata.json"} <= files.archived(files.only)


def config_of(files: ModelFiles) -> dict[str, Any]:
    """The configuration that the model is made from, which can be trusted in nothing; the rest of the file is checked.

    Raises:
        LoadError: it is damaged, or its content isn't all its own, or too large.
    """
    try:
        text = _archived_config(files) if is_archive(files) else _hdf5_config(files)
        config = json.loads(text)
    except (*archives.DAMAGE, KeyError, TypeError, RecursionError) as error:
        raise LoadError(f"{files.only} is damaged: {public_message(error)}") from error
    if not isinstance(config, dict):
        raise LoadError(f"{files.only} has a configuration that is no object")
    return config


def has_assets(files: ModelFiles) -> bool:
    """Whether some layer keeps files of its own, such as a vocabulary."""
    return is_archive(files) and any(name.strip("/") != "assets" for name in _assets(files))


def _assets(files: ModelFiles) -> Iterator[str]:
    with zipfile.ZipFile(files.path(files.only)) as archive:
        yield from (name for name in archive.namelist() if name.startswith("assets/"))


def _archived_config(files: ModelFiles) -> bytes:
    with zipfile.ZipFile(files.path(files.only)) as archive:
        members = archive.infolist()
        if strange := [one.filename for one in members if not _MEMBER.fullmatch(one.filename)]:
            raise LoadError(f"{files.only} holds {strange[0]!r}, which Keras keeps in no model")
        _check_size(files, sum(one.file_size for one in members))
        if archive.getinfo(_CONFIG).file_size > _LARGEST_CONFIG:
            raise LoadError(f"{files.only} has a configuration of more than {_LARGEST_CONFIG >> 20} MiB")
        for one in members:
            if one.filename.endswith(".h5"):
                with archive.open(one) as weights, _opened(weights) as file:
                    _check_hdf5(file, files)
        return archive.read(_CONFIG)


def _hdf5_config(files: ModelFiles) -> Any:
    with _opened(files.path(files.only)) as file:
        _check_hdf5(file, files)
        if "model_config" not in file.attrs:
            raise LoadError(f"{files.only} holds weights only: expected a whole model, as Model.save keeps it")
        return file.attrs["model_config"]


@contextmanager
def _opened(file: Any) -> Iterator[Any]:
    import h5py

    with h5py.File(file, "r") as opened:
        yield opened


def _check_hdf5(file: Any, files: ModelFiles) -> None:
    """Raises: LoadError: it refers to other files, or to itself, or holds more than its size."""
    import h5py

    total, seen, groups = 0, set[int](), [file]
    while groups:
        group = groups.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise LoadError(f"{files.only} has a link at {name!r}, expected all content in its own place")
            part = group[name]
            place = h5py.h5o.get_info(part.id).addr
            if place in seen:
                raise LoadError(f"{files.only} has {name!r} in several places, expected all content in one place")
            seen.add(place)
            if isinstance(part, h5py.Group):
                groups.append(part)
            elif not isinstance(part, h5py.Dataset) or part.external or part.is_virtual:
                raise LoadError(f"{files.only} has no numbers at {name!r}, expected all of its content in it")
            else:
                total += part.nbytes
    _check_size(files, total)


def _check_size(files: ModelFiles, size: int) -> None:
    if size > _LARGEST_GROWTH * files.size_bytes + _FREE_GROWTH:
        raise LoadError(f"{files.only} has {files.size_bytes} bytes, which would become {size}")
