"""Encoders and classifiers of transformers, loaded and run by torch."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from services.inference.backends.backend import Array, Arrays, Placement
from services.inference.backends.errors import InputError, LoadError, RunError, public_message
from services.inference.backends.torch_devices import device_of
from services.inference.backends.torch_runtime import DATATYPES, cause, prepare
from services.inference.backends.transformers_folder import TransformersFolder
from services.inference.domain.signature import Signature, TensorSpec

_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"
_UNUSED = ("pooler.", "embeddings.position_ids")
"""Weights that needn't be there: what they are for isn't asked for."""


def load(folder: TransformersFolder, placement: Placement) -> TransformersModel:
    """Load a checked folder. Nothing but its own files is read, and none of them run.

    Raises:
        LoadError: its files don't make a model.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    device = prepare(placement)
    auto = transformers.AutoModelForSequenceClassification if folder.is_classifier else transformers.AutoModel
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module, found = auto.from_pretrained(
                str(folder.files.root),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                dtype="auto",
            )
    except Exception as error:  # whatever a foreign folder provokes
        why = f"{type(error).__name__}: {public_message(error)}"
        raise LoadError(f"transformers can't load the model: {why}") from error
    if missing := sorted(name for name in found["missing_keys"] if not any(one in name for one in _UNUSED)):
        raise LoadError(f"the weights lack {missing[0]!r}, and {len(missing) - 1} others that config.json asks for")
    return TransformersModel(module.eval().requires_grad_(requires_grad=False), folder, device)


class TransformersModel:
    """Takes tokens; an encoder gives a vector for each, a classifier the scores of its classes."""

    def __init__(self, module: Any, folder: TransformersFolder, device: str) -> None:
        self.device = device
        self._device = device_of(device)
        self._module = module.to(device)
        self._vocabulary, self._most_tokens = int(module.config.vocab_size), folder.most_tokens
        self._names = (_IDS, _MASK, _TYPES)[: 3 if _has_types(module) else 2]
        datatype = DATATYPES[module.dtype]
        if folder.is_classifier:
            labels = tuple(str(module.config.id2label.get(at, at)) for at in range(module.config.num_labels))
            output = TensorSpec("logits", datatype, (-1, len(labels)), labels)
        else:
            output = TensorSpec("last_hidden_state", datatype, (-1, -1, int(module.config.hidden_size)))
        self._output = output.name
        inputs = tuple(TensorSpec(name, "INT64", (-1, -1)) for name in self._names)
        self.signature = Signature(inputs, (output,), is_batchable=True)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        self._check(inputs)
        try:
            (output,) = self._device.run(self._infer, [(inputs[name], "INT64") for name in self._names])
        except Exception as error:  # whatever the model provokes
            raise RunError(cause(error)) from error
        return {self._output: output}

    def _infer(self, *tensors: Any) -> Sequence[Any]:
        given = dict(zip(self._names, tensors, strict=True))
        return [getattr(self._module(**given, return_dict=True), self._output)]

    def _check(self, inputs: Arrays) -> None:
        """A number that isn't in the vocabulary is an error on a CPU, and the end of the process on a GPU.

        Raises:
            InputError: there is one, or there are more tokens than positions, or none.
        """
        ids = inputs[_IDS]
        rows, count = ids.shape
        if len({inputs[name].shape for name in self._names}) > 1 or not 0 < count <= self._most_tokens:
            shapes = ", ".join(f"{name} {list(inputs[name].shape)}" for name in self._names)
            message = f"got {shapes}, expected one shape with at most {self._most_tokens} tokens"
            raise InputError(_IDS, dict.fromkeys(range(rows), message))
        for name, below in ((_IDS, self._vocabulary), (_MASK, 2), (_TYPES, 2)):
            given = inputs.get(name, ids[:0])
            wrong = ((given < 0) | (given >= below)).any(axis=1)
            if wrong.any():
                message = f"got a number outside 0 to {below - 1}"
                raise InputError(name, dict.fromkeys(np.flatnonzero(wrong).tolist(), message))


def _has_types(module: Any) -> bool:
    """Whether texts can have two parts."""
    parameters = inspect.signature(module.forward).parameters
    return _TYPES in parameters and getattr(module.config, "type_vocab_size", 0) > 1
