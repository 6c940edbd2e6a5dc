"""A model with what is done before and after it."""

from __future__ import annotations

from services.inference.backends.backend import Array, Arrays, Model
from services.inference.backends.streams import Responses, decoupled
from services.inference.domain.signature import Signature, has_free_first_dimension
from services.inference.processing.chain import Postprocessing, Preprocessing


class ProcessedModel:
    """Its signature is what callers send and get."""

    def __init__(self, model: Model, before: Preprocessing, after: Postprocessing) -> None:
        self._model = model
        self._before = before
        self._after = after
        self.device = model.device
        self.examples = before.examples
        is_batchable = model.signature.is_batchable and has_free_first_dimension((*before.inputs, *after.outputs))
        self.signature = Signature(
            before.inputs,
            after.outputs,
            is_batchable,
            model.signature.max_batch_size if is_batchable else 0,
            model.signature.is_decoupled,
        )

    def run(self, inputs: Arrays) -> dict[str, Array]:
        given = self._before.run(inputs)
        return self._after.run(given, self._model.run(given))


class ProcessedStreams(ProcessedModel):
    """Of a decoupled model: what is done after it is done to each response."""

    def stream(self, inputs: Arrays) -> Responses:
        given = self._before.run(inputs)
        responses = decoupled(self._model).stream(given)
        try:
            for outputs in responses:
                yield self._after.run(given, outputs)
        finally:
            responses.close()
