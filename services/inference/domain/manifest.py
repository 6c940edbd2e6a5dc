"""What a model's author says of it, and how that goes together with what its files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from services.inference.domain.signature import Signature, TensorSpec, has_free_first_dimension, specs_from_json

PROBE = "probe"
"""An option of every format: "on" or "off" says whether a model is probed while it serves."""


class MismatchError(ValueError):
    """The author and the files say different things; the message has both."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is done before or after the model. Arguments are JSON."""

    operation: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Tensors are the model's own; an empty datatype or shape is not said. ``max_batch_size`` 0: not said."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    max_batch_size: int = 0
    is_unbatched: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    preprocessing: tuple[Step, ...] = ()
    postprocessing: tuple[Step, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether it describes tensors of which the files say nothing."""
        tensors = (*self.inputs, *self.outputs)
        return bool(self.inputs and self.outputs) and all(one.datatype and one.shape for one in tensors)

    @property
    def probe(self) -> str:
        """What the author says of probes: "on", "off", or nothing."""
        return self.options.get(PROBE, "")

    @property
    def for_backend(self) -> Manifest:
        """Without the options that are not the backend's."""
        return replace(self, options={name: value for name, value in self.options.items() if name != PROBE})

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Manifest:
        """Read what ``dataclasses.asdict`` gave."""
        tensors = {role: specs_from_json(fields[role]) for role in ("inputs", "outputs")}
        steps = {role: tuple(Step(**one) for one in fields[role]) for role in ("preprocessing", "postprocessing")}
        return cls(**{**fields, **tensors, **steps})

    def complete(self, found: Signature) -> Signature:
        """The signature that a model's files give, with what the author adds.

        Raises:
            MismatchError: they say different things.
        """
        inputs = _completed("input", found.inputs, self.inputs)
        outputs = _completed("output", found.outputs, self.outputs)
        limits = [size for size in (found.max_batch_size, self.max_batch_size) if size]
        is_batchable = found.is_batchable and not self.is_unbatched and has_free_first_dimension((*inputs, *outputs))
        most = min(limits, default=0) if is_batchable else 0
        return Signature(inputs, outputs, is_batchable, most, found.is_decoupled)


NOTHING_SAID = Manifest()


def _completed(role: str, found: Sequence[TensorSpec], said: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    names = {spec.name: spec for spec in said}
    if strangers := names.keys() - {spec.name for spec in found}:
        raise MismatchError(
            f"the manifest names the {role} {min(strangers)!r}, the model has {', '.join(map(_shown, found)) or 'none'}"
        )
    return tuple(_joined(role, spec, names[spec.name]) if spec.name in names else spec for spec in found)


def _joined(role: str, found: TensorSpec, said: TensorSpec) -> TensorSpec:
    shape = said.shape or found.shape
    agrees = said.datatype in ("", found.datatype) and len(shape) == len(found.shape)
    if not agrees or any(ours not in (theirs, -1) for ours, theirs in zip(found.shape, shape, strict=True)):
        raise MismatchError(f"the manifest says that {role} {_shown(said)} is what the model calls {_shown(found)}")
    if said.labels and shape and shape[-1] not in (-1, len(said.labels)):
        raise MismatchError(
            f"the manifest has {len(said.labels)} labels for {role} {_shown(found)}, expected {shape[-1]}"
        )
    return replace(found, shape=shape, labels=said.labels)


def _shown(spec: TensorSpec) -> str:
    return f"{spec.name!r} {spec.datatype or 'of any type'} {list(spec.shape) if spec.shape else 'of any shape'}"
