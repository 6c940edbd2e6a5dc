"""Decoupled models: those that answer a request by any number of responses, one after the other."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Protocol, runtime_checkable

from services.inference.backends.backend import Array, Arrays, Model
from services.inference.backends.samples import examples_of

Responses = Generator[dict[str, Array]]


@runtime_checkable
class DecoupledModel(Model, Protocol):
    """A model whose signature says ``is_decoupled``; its ``run`` raises RunError."""

    def stream(self, inputs: Arrays) -> Responses:
        """Infer: the outputs of each response, as soon as they are made. ``close`` ends it before its end.

        All of it happens in one thread at a time. Raises as :meth:`Model.run` does.
        """


def decoupled(model: Model) -> DecoupledModel:
    """Raises: TypeError: a model's signature says that it is decoupled, and it is not."""
    if not isinstance(model, DecoupledModel):
        raise TypeError(f"{type(model).__name__} has no stream")
    return model


class Drained:
    """A decoupled model as one that answers once: with the last of its responses, or nothing where there are none.

    Its streams are closed after ``most`` responses, and with the first one that comes after ``within_s`` seconds.
    """

    def __init__(self, model: Model, *, most: int, within_s: float) -> None:
        self.signature = model.signature
        self.device = model.device
        self.examples = examples_of(model)
        self.count = 0
        """Responses to the last request."""
        self.is_whole = False
        """Whether there were no more."""
        self._model = decoupled(model)
        self._most = most
        self._within_s = within_s

    def run(self, inputs: Arrays) -> dict[str, Array]:
        self.count, self.is_whole = 0, False
        last: dict[str, Array] = {}
        ends_at = time.monotonic() + self._within_s
        responses = self._model.stream(inputs)
        try:
            for last in responses:
                self.count += 1
                if self.count >= self._most or time.monotonic() >= ends_at:
                    return last
            self.is_whole = True
        finally:
            responses.close()
        return last
