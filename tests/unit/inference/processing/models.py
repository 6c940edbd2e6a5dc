"""Models that are functions, for steps to be put around."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.inference.backends import Array, Arrays, ModelFiles
from services.inference.domain.manifest import Step
from services.inference.domain.signature import Signature, TensorSpec, has_free_first_dimension
from services.inference.processing import processed
from services.inference.processing.model import ProcessedModel


class Function:
    """A model that is a function."""

    device = "cpu"

    def __init__(self, inputs: list[TensorSpec], outputs: list[TensorSpec], run: Callable[[Arrays], Any]) -> None:
        self.signature = Signature(tuple(inputs), tuple(outputs), has_free_first_dimension((*inputs, *outputs)))
        self.run = run


def echo(datatype: str, *shape: int, name: str = "x", labels: tuple[str, ...] = ()) -> Function:
    """Gives "y", which is "x"."""
    made = TensorSpec("y", datatype, shape, labels)
    return Function([TensorSpec(name, datatype, shape)], [made], lambda inputs: {"y": inputs[name]})


def step(operation: str, **arguments: Any) -> Step:
    return Step(operation, arguments)


def with_steps(
    model: Function, before: list[Step] | None = None, after: list[Step] | None = None, *, folder: Path | None = None
) -> ProcessedModel:
    return processed(model, before or [], after or [], ModelFiles(folder or Path("/nonexistent")))


def made(after: list[Step], given: Array, datatype: str = "FP32", **spec: Any) -> dict[str, Array]:
    """What steps after a model make of its only output."""
    model = echo(datatype, -1, *given.shape[1:], **spec)
    return with_steps(model, after=after).run({"x": given})
