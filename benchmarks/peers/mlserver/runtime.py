"""A runtime that runs one of the models."""

import bench_models
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Served(MLModel):
    async def load(self) -> bool:
        self._run = bench_models.load(self.name)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = self._run(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(
            id=payload.id, model_name=self.name, outputs=[NumpyCodec.encode_output("output0", rows)]
        )
