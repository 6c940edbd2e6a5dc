"""Modules of TorchScript, loaded and run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from services.common.datatypes import datatype
from services.inference.backends.backend import Array, Arrays, Placement
from services.inference.backends.errors import LoadError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.backends.mapped_weights import map_weights
from services.inference.backends.torch_devices import device_of
from services.inference.backends.torch_runtime import (
    OPTIONS,
    cause,
    check_options,
    frozen,
    laid_out,
    prepare,
    recorded,
    with_layout,
)
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, has_free_first_dimension

_HOW = (
    "describe all its tensors in the manifest, or save it with torch.jit.save(module, path, "
    "_extra_files={'signature.json': ...}) that holds "
    '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}], "outputs": [...]}'
)


def load(files: ModelFiles, manifest: Manifest, placement: Placement, options: Mapping[str, str]) -> TorchScriptModel:
    """Load a TorchScript archive.

    Raises:
        LoadError: see ``Backend.load``.
    """
    check_options(options, OPTIONS)
    device = prepare(placement)
    extra = {"signature.json": ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.jit.load(str(files.path(files.only)), map_location=device, _extra_files=extra).eval()
            map_weights((*module.parameters(), *module.buffers()), files.path(files.only))
            module = with_layout(module, options)
            if how := options.get("graph"):
                module = frozen(module, how)
    except Exception as error:  # whatever a foreign archive provokes
        raise LoadError(f"torch can't load the archive: {public_message(error)}") from error
    return TorchScriptModel(module, _signature(extra["signature.json"], module, manifest), device, options)


def _signature(text: str | bytes, module: Any, manifest: Manifest) -> Signature:
    wanted = [argument.name for argument in module.forward.schema.arguments[1:]]
    if not text and manifest.is_complete:
        return _positional(manifest, wanted)
    if not text:
        raise LoadError(f"a TorchScript archive doesn't say the types and shapes of its inputs {wanted}: {_HOW}")
    try:
        signature = Signature.from_json({"is_batchable": False, **json.loads(text)})
        for spec in (*signature.inputs, *signature.outputs):
            datatype(spec.datatype)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadError(f"signature.json can't be read ({error}): {_HOW}") from error
    except Exception as error:
        raise LoadError(f"signature.json: {public_message(error)}") from error
    given = [spec.name for spec in signature.inputs]
    if given != wanted[: len(given)] or not signature.outputs:
        raise LoadError(f"signature.json names the inputs {given}, expected those of forward, {wanted}, and outputs")
    tensors = (*signature.inputs, *signature.outputs)
    return Signature(
        signature.inputs, signature.outputs, has_free_first_dimension(tensors), max(0, signature.max_batch_size)
    )


def _positional(manifest: Manifest, wanted: Sequence[str]) -> Signature:
    """Tensors may have any names: they are given in the order in which the author describes them."""
    if len(manifest.inputs) > len(wanted):
        raise LoadError(f"the manifest describes {len(manifest.inputs)} inputs, forward takes {list(wanted)}")
    return Signature(manifest.inputs, manifest.outputs, has_free_first_dimension((*manifest.inputs, *manifest.outputs)))


class TorchScriptModel:
    """A scripted or traced module; it gives one tensor, a tuple or list, or a dict by the output names."""

    def __init__(self, module: Any, signature: Signature, device: str, options: Mapping[str, str]) -> None:
        self._module = module
        self._options = options
        self.signature = signature
        self.device = device
        self._device = device_of(device)
        self._infer = recorded(self._run_module, options, signature, device=device)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        given = [(inputs[spec.name], spec.datatype) for spec in self.signature.inputs]
        try:
            outputs = self._device.run(self._infer, given)
        except RunError:
            raise
        except Exception as error:  # whatever the module provokes
            raise RunError(cause(error)) from error
        return {spec.name: output for spec, output in zip(self.signature.outputs, outputs, strict=True)}

    def _run_module(self, *tensors: Any) -> list[Any]:
        result = self._module(*(laid_out(tensor, self._options) for tensor in tensors))
        return self._ordered(result)

    def _ordered(self, result: Any) -> list[Any]:
        names = [spec.name for spec in self.signature.outputs]
        if isinstance(result, dict) and set(names) <= result.keys():
            return [result[name] for name in names]
        tensors = [result] if isinstance(result, torch.Tensor) else result
        if isinstance(tensors, list | tuple) and len(tensors) == len(names):
            return list(tensors)
        raise RunError(f"the module gave a {type(result).__name__}, expected the {len(names)} tensors {names}")
