"""Steps one after the other: what goes in and comes out of them all is found before the first request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from services.inference.backends.backend import Array, Arrays
from services.inference.backends.files import ModelFiles
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.processing.operation import Bound, Scope, StepError, shown
from services.inference.processing.parsing import Steps
from services.inference.processing.tensors import Output


class Preprocessing:
    """Steps from what callers send to what the model takes.

    Tensors that no step makes are the model's own, and go to it as they are.
    """

    def __init__(self, steps: Steps, signature: Signature, files: ModelFiles) -> None:
        """Raises: StepError: the steps don't fit each other, or the model."""
        wanted = {spec.name: spec for spec in signature.inputs}
        firsts = {spec.shape[0] if spec.shape else 0 for spec in signature.inputs}
        scope = Scope((), opens=wanted, rows=firsts.pop() if len(firsts) == 1 else -1)
        scope.current = signature.inputs[0].name if len(wanted) == 1 else ""
        self._given = tuple(wanted)
        self._steps: list[Bound] = []
        self.examples: dict[str, tuple[bytes, ...]] = {}
        for place, operation in steps:
            with place.named():
                step = operation.bind(scope, files)
            self.examples |= {name: step.examples for name in step.reads if step.examples and name in scope.opened}
            _enter(step, scope)
            self._steps.append(step)
        self._check_uses(steps, wanted)
        for name, spec in wanted.items():
            if name not in scope.specs:
                scope.open(spec)
            elif not _fits(scope.specs[name], spec):
                raise StepError(f"the steps before the model make {shown(scope.specs[name])}, it takes {shown(spec)}")
        self.inputs = tuple(scope.opened.values())

    def _check_uses(self, steps: Steps, wanted: Collection[str]) -> None:
        """Raises: StepError: a step makes nothing that the model or a later step takes, as one with a misspelt name."""
        used = set(wanted)
        for (place, _), step in reversed(list(zip(steps, self._steps, strict=True))):
            if used.isdisjoint(made := [spec.name for spec in step.gives]):
                with place.named():
                    raise StepError(
                        f"it makes {', '.join(map(repr, made))}, which nothing takes: expected some of "
                        f"{', '.join(map(repr, used))}"
                    )
            used |= set(step.reads)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """What the model takes.

        Raises:
            InputError: some rows can't be processed.
        """
        found = _run(self._steps, inputs)
        return {name: np.ascontiguousarray(found[name]) for name in self._given}


class Postprocessing:
    """Steps from what the model gives to what callers get; they may read what the model took, as a mask.

    Callers get what no step reads, unless a step "output" says what else.
    """

    def __init__(self, steps: Steps, signature: Signature, files: ModelFiles) -> None:
        """Raises: StepError: the steps don't fit each other, or the model."""
        scope = Scope((*signature.inputs, *signature.outputs), opens={})
        scope.current = signature.outputs[0].name if len(signature.outputs) == 1 else ""
        self._steps: list[Bound] = []
        names = dict.fromkeys([spec.name for spec in signature.outputs])
        for place, operation in steps:
            with place.named():
                step = operation.bind(scope, files)
            if isinstance(operation, Output):
                names = dict.fromkeys(operation.names)
                continue
            for name in step.reads:
                names.pop(name, None)
            names |= dict.fromkeys([spec.name for spec in step.gives])
            _enter(step, scope)
            self._steps.append(step)
        self.outputs = tuple(scope.specs[name] for name in names)

    def run(self, inputs: Arrays, outputs: Arrays) -> dict[str, Array]:
        """What callers get, of what the model took and gave. Raises: RunError: it can't be processed."""
        found = _run(self._steps, {**inputs, **outputs})
        return {spec.name: found[spec.name] for spec in self.outputs}


def _enter(step: Bound, scope: Scope) -> None:
    scope.specs |= {spec.name: spec for spec in step.gives}
    scope.current = step.gives[0].name if len(step.gives) == 1 else ""


def _fits(made: TensorSpec, wanted: TensorSpec) -> bool:
    return (
        made.datatype == wanted.datatype
        and len(made.shape) == len(wanted.shape)
        and all(want in (-1, size) for size, want in zip(made.shape, wanted.shape, strict=True))
    )


def _run(steps: Iterable[Bound], given: Mapping[str, Array]) -> dict[str, Array]:
    found = dict(given)
    for step in steps:
        made = step.call(*[found[name] for name in step.reads])
        found.update(zip([spec.name for spec in step.gives], made, strict=True))
    return found
