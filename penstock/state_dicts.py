"""Weights that torch keeps as pickles, converted to safetensors. Tensors are read of them, and nothing is run."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

_INDEX = "pytorch_model.bin.index.json"
_TO = ".safetensors"


class ConversionError(ValueError):
    """A file isn't weights alone; the message says what else."""


def convert(source: Path, target: Path) -> list[Path]:
    """Write a state dict's file as ``target``; or, of a folder of transformers, a copy whose weights are safetensors.

    The index of several files goes along. Nothing is left of what can't be finished. Returns the files of weights.

    Raises:
        ConversionError: it holds something else than tensors, or torch or safetensors aren't installed.
        OSError: it can't be read or written, or ``target`` exists.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists, expected a new name")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        made = Path(scratch, target.name)
        names = _convert_folder(source, made) if source.is_dir() else _convert_file(source, made)
        made.rename(target)
    return [target / name for name in names]


def _convert_file(source: Path, target: Path) -> list[str]:
    _save(_tensors(source), target)
    return [""]


def _convert_folder(source: Path, target: Path) -> list[str]:
    found = sorted(path for path in source.glob("pytorch_model*.bin") if path.is_file())
    if not found:
        raise ConversionError(f"{source.name} holds no pytorch_model.bin, nor shards of one")
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.bin", "*.safetensors", _INDEX, ".*"))
    for path in found:
        _save(_tensors(path), target / _renamed(path.name))
    if (index := source / _INDEX).is_file():
        (target / "model.safetensors.index.json").write_text(_index(index.read_text()))
    return [_renamed(path.name) for path in found]


def _index(text: str) -> str:
    """The index of pickles as that of what they become."""
    try:
        places = {tensor: _renamed(name) for tensor, name in json.loads(text)["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConversionError(f'{_INDEX} has no "weight_map" of tensors and files') from error
    return json.dumps({"metadata": {}, "weight_map": places}, indent=2)


def _renamed(name: str) -> str:
    return name.removeprefix("pytorch_").removesuffix(".bin") + _TO


def _tensors(path: Path) -> dict[str, Any]:
    """The tensors of a state dict, or of one in a checkpoint.

    Raises:
        ConversionError: see :func:`convert`.
    """
    try:
        import torch
    except ImportError as error:
        raise ConversionError(f"conversion needs penstock[transformers]: {error}") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError:
        raise
    except Exception as error:  # whatever a foreign file provokes
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it asks for {asked[1]}" if asked else f"torch can't read it ({type(error).__name__})"
        raise ConversionError(f"{path.name} is not converted: {why}, expected tensors alone") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found:
        raise ConversionError(f"{path.name} holds a {type(found).__name__}, expected tensors by their names")
    if strangers := [name for name, one in found.items() if not isinstance(one, torch.Tensor)]:
        kind = type(found[strangers[0]]).__name__
        raise ConversionError(f"{path.name} has {strangers[0]!r}, a {kind}, expected tensors alone")
    return found


def _save(tensors: dict[str, Any], path: Path) -> None:
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise ConversionError(f"conversion needs penstock[transformers]: {error}") from error
    # Each one for itself: tensors that share memory can't be kept so.
    save_file({name: one.detach().clone().contiguous() for name, one in tensors.items()}, path, {"format": "pt"})
