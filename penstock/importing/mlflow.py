"""MLflow's model folders: a file ``MLmodel`` says in which flavours the model is kept.

https://mlflow.org/docs/latest/ml/model/#storage-format
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.importing.foreign import ForeignModel, ForeignModelError, inside
from penstock.registry.v1.resources_pb2 import Manifest, TensorSpec

_DESCRIPTION = "MLmodel"
_FILES = {
    "onnx": "data",
    "xgboost": "data",
    "lightgbm": "data",
    "tensorflow": "data",
    "keras": "data",
    "sklearn": "pickled_model",
    "pytorch": "model_data",
}
"""By flavour, what says where its files are."""
_PICKLED = "model.pth"
_NAMES_TENSORS = ("onnx", "tensorflow", "keras")
"""Flavours whose tensors have names of their own, which the signature takes over."""
_TOLD = ("run_id", "model_uuid", "mlflow_version")
_DATATYPES = {"bool": "BOOL", "str": "BYTES", "object": "BYTES"}
_DATATYPES |= {f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)}
_DATATYPES |= {f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def recognises(path: Path) -> bool:
    return (path / _DESCRIPTION).is_file()


def read(path: Path, _scratch: Path) -> list[ForeignModel]:
    """The one model of a folder, in its own framework's flavour.

    Raises:
        OSError: it can't be read.
        ForeignModelError: there is no flavour that can be served, or PyYAML is missing.
    """
    described = _yaml((path / _DESCRIPTION).read_text())
    flavors = described.get("flavors")
    if not isinstance(flavors, dict):
        raise ForeignModelError(f"{path / _DESCRIPTION} names no flavors")
    flavor = next((one for one in _FILES if one in flavors), "")
    if not flavor:
        raise ForeignModelError(
            f"{path} has the flavors {', '.join(map(str, flavors)) or 'none'}, expected one of {', '.join(_FILES)}"
        )
    model = inside(path, str(flavors[flavor].get(_FILES[flavor], "")))
    if (model / _PICKLED).exists():
        raise ForeignModelError(
            f"{path} holds a pickle of the author's PyTorch classes: save it with serialization_format='pt2'"
        )
    return [
        ForeignModel(
            name=path.resolve().name,
            path=_only_file(model) if model.is_dir() else model,
            manifest=_manifest(described.get("signature") if flavor in _NAMES_TENSORS else None),
            labels={f"mlflow-{key.replace('_', '-')}": str(described[key]) for key in _TOLD if described.get(key)},
        )
    ]


def _yaml(text: str) -> Mapping[str, Any]:
    try:
        import yaml
    except ModuleNotFoundError:
        raise ForeignModelError("reading MLflow's folders needs PyYAML: pip install 'penstock[mlflow]'") from None
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ForeignModelError(f"{_DESCRIPTION} is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise ForeignModelError(f"{_DESCRIPTION} holds a {type(found).__name__}, expected names with values")
    return found


def _only_file(folder: Path) -> Path:
    """The model in a flavour's folder: the only thing there, or all of it together."""
    found = list(folder.iterdir())
    return found[0] if len(found) == 1 else folder


def _manifest(signature: Any) -> Manifest:
    """What the signature says of tensors with names."""
    manifest = Manifest()
    for role in ("inputs", "outputs"):
        for one in json.loads((signature or {}).get(role) or "[]"):
            tensor = one.get("tensor-spec") if one.get("name") else None
            if tensor:
                datatype = _DATATYPES.get(tensor["dtype"], "")
                spec = TensorSpec(name=one["name"], datatype=datatype, shape=tensor["shape"])
                getattr(manifest.signature, role).append(spec)
    return manifest
