"""Triton's model repositories: a folder for each model, with ``config.pbtxt`` and a folder for each version.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_repository.md
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from penstock.importing.foreign import ForeignModel, ForeignModelError, inside
from penstock.registry.v1.resources_pb2 import Manifest, TensorSpec
from penstock.serving import Serving

_DESCRIPTION = "config.pbtxt"
_FILES = ("model.onnx", "model.pt", "model.savedmodel", "model.xml", "model.py", "model.plan", "model.graphdef")
"""How a version's file is called where the configuration gives no name."""
_UNFIT = {
    "model.plan": "an engine of TensorRT runs on the kind of GPU that it was built for: import the ONNX file behind it",
    "model.graphdef": "frozen graphs of TensorFlow 1 are not served: save the model as a SavedModel",
    "model.py": "models of Triton's python backend need Triton: let it serve them, as remote models",
}


def recognises(path: Path) -> bool:
    return path.is_dir() and bool(_models(path))


def read(path: Path, _scratch: Path) -> list[ForeignModel]:
    """All versions of all models, the oldest version first.

    Raises:
        OSError: it can't be read.
        ForeignModelError: something in it can't be served.
    """
    return [foreign for model in _models(path) for foreign in _read_model(model)]


def _models(path: Path) -> list[Path]:
    """The folder itself where it is a model's, or else those in it that are."""
    if _is_model(path):
        return [path]
    return [one for one in sorted(path.iterdir()) if one.is_dir() and _is_model(one)]


def _is_model(folder: Path) -> bool:
    return (folder / _DESCRIPTION).is_file() or any(_file(version, "") for version in _versions(folder))


def _versions(folder: Path) -> list[Path]:
    """Triton looks at folders only whose names are numbers, not beginning with 0."""
    found = [one for one in folder.iterdir() if one.is_dir() and one.name.isdecimal() and one.name[0] != "0"]
    return sorted(found, key=lambda one: int(one.name))


def _file(version: Path, name: str) -> Path | None:
    if name:
        return inside(version, name)
    return next((version / one for one in _FILES if (version / one).exists()), None)


def _read_model(folder: Path) -> Iterable[ForeignModel]:
    config = _config(folder)
    name = config.name or folder.resolve().name
    if config.WhichOneof("scheduling_choice") in ("ensemble_scheduling", "sequence_batching"):
        raise ForeignModelError(f"model {name} is an ensemble or keeps state between requests, which is not served")
    if not (versions := _versions(folder)):
        raise ForeignModelError(f"model {name} has no version: expected folders named 1, 2, … in {folder}")
    for version in versions:
        path = _file(version, config.default_model_filename)
        if path is None:
            raise ForeignModelError(f"expected one of {', '.join(_FILES)} in {version}")
        if reason := _UNFIT.get(path.name):
            raise ForeignModelError(f"model {name}, version {version.name}: {reason}")
        yield ForeignModel(
            name=name,
            path=path.parent if path.suffix == ".xml" else path,
            manifest=_manifest(folder, config),
            serving=_serving(config),
            labels={"triton-version": version.name},
            left_out=_left_out(config),
        )


def _config(folder: Path) -> Any:
    from tritonclient.grpc import model_config_pb2

    path, config = folder / _DESCRIPTION, model_config_pb2.ModelConfig()
    if path.is_file():
        try:
            text_format.Parse(path.read_text(), config, allow_unknown_field=True)
        except text_format.ParseError as error:
            raise ForeignModelError(f"{path} can't be read: {error}") from error
    return config


def _manifest(folder: Path, config: Any) -> Manifest:
    """Triton leaves the batch dimension out of its shapes where there may be batches."""
    manifest = Manifest(unbatched=bool((config.input or config.output) and not config.max_batch_size))
    manifest.signature.max_batch_size = config.max_batch_size
    leading = [-1] if config.max_batch_size else []
    for ours, theirs in ((manifest.signature.inputs, config.input), (manifest.signature.outputs, config.output)):
        for one in theirs:
            shape = one.reshape.shape if one.HasField("reshape") else one.dims
            spec = TensorSpec(name=one.name, datatype=_datatype(one.data_type), shape=[*leading, *shape])
            if labels := getattr(one, "label_filename", ""):
                spec.labels.extend(inside(folder, labels).read_text().splitlines())
            ours.append(spec)
    return manifest


def _datatype(number: int) -> str:
    """The Open Inference Protocol's name; not said where Triton doesn't say it either."""
    from tritonclient.grpc import model_config_pb2

    word = str(model_config_pb2.DataType.Name(number)).removeprefix("TYPE_")
    return {"INVALID": "", "STRING": "BYTES"}.get(word, word)


def _serving(config: Any) -> Serving:
    batching = config.dynamic_batching
    return Serving(
        replicas=sum(max(group.count, 1) for group in config.instance_group) or None,
        max_batch_size=config.max_batch_size or None,
        max_queue_delay_microseconds=batching.max_queue_delay_microseconds or None,
        max_queue_size=batching.default_queue_policy.max_queue_size or None,
    )


def _left_out(config: Any) -> list[str]:
    found = {
        "warm-up requests: Penstock makes its own": config.model_warmup,
        "the response cache": config.response_cache.enable,
        "parameters of its backend": config.parameters,
        "the policy which versions serve: the last one does": config.HasField("version_policy"),
    }
    return [words for words, is_there in found.items() if is_there]
