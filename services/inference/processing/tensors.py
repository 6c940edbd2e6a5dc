"""What callers send and get: ``input`` and ``output``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from services.inference.backends.backend import Array
from services.inference.backends.files import ModelFiles
from services.inference.domain.signature import TensorSpec
from services.inference.processing.operation import Bound, Operation, Scope, StepError, check_datatype


@dataclass(frozen=True, kw_only=True)
class Input(Operation):
    """Callers send a tensor of another data type or shape than the model takes; steps that follow make up for it."""

    name: ClassVar[str] = "input"

    tensor: str
    datatype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        check_datatype(self.datatype)
        if not self.shape or any(size < -1 or size == 0 for size in self.shape):
            raise ValueError(f"got shape = {list(self.shape)}, expected sizes above 0, or -1 for a free one")

    def bind(self, scope: Scope, _files: ModelFiles) -> Bound:
        if self.tensor in scope.specs:
            raise StepError(f"got {self.tensor!r}, which an earlier step reads or makes: expected a new one")
        spec = TensorSpec(self.tensor, self.datatype, self.shape)
        scope.open(spec)
        return Bound((self.tensor,), (spec,), _same)


@dataclass(frozen=True, kw_only=True)
class Output(Operation):
    """Callers get these tensors, in this order, whatever else there is."""

    name: ClassVar[str] = "output"

    names: tuple[str, ...]

    def bind(self, scope: Scope, _files: ModelFiles) -> Bound:
        if not self.names or len(set(self.names)) < len(self.names):
            raise StepError(f"got names = {list(self.names)}, expected each tensor once")
        for name in self.names:
            scope.named(name)
        return Bound((), (), _same)


def _same(*arrays: Array) -> Sequence[Array]:
    return arrays


OPERATIONS = (Input, Output)
