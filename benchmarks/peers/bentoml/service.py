"""A service with one batchable API per model."""

import base64

import bench_models
import bentoml
import numpy as np


@bentoml.service(workers=1, traffic={"timeout": 120, "max_concurrency": 10_000}, metrics={"enabled": False})
class Served:
    def __init__(self):
        self._models = {name: bench_models.load(name) for name in bench_models.SHAPES}

    def _answer(self, name, data):
        shape = bench_models.SHAPES[name][0]
        rows = np.stack([np.frombuffer(base64.b64decode(one), np.float32).reshape(shape) for one in data])
        return [base64.b64encode(row.tobytes()).decode() for row in self._models[name](rows)]

    @bentoml.api(batchable=True, max_batch_size=bench_models.MAX_BATCH, max_latency_ms=60_000, route="/bench-identity")
    def identity(self, data: list[str]) -> list[str]:
        return self._answer("bench-identity", data)

    @bentoml.api(batchable=True, max_batch_size=bench_models.MAX_BATCH, max_latency_ms=60_000, route="/bench-1mib")
    def mebibyte(self, data: list[str]) -> list[str]:
        return self._answer("bench-1mib", data)

    @bentoml.api(batchable=True, max_batch_size=bench_models.MAX_BATCH, max_latency_ms=60_000, route="/bench-digits")
    def digits(self, data: list[str]) -> list[str]:
        return self._answer("bench-digits", data)

    @bentoml.api(batchable=True, max_batch_size=bench_models.MAX_BATCH, max_latency_ms=60_000, route="/bench-cnn")
    def cnn(self, data: list[str]) -> list[str]:
        return self._answer("bench-cnn", data)
