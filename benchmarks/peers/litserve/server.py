"""Serve models: PORT NAME..."""

import base64
import sys

import bench_models
import litserve
import numpy as np


class Served(litserve.LitAPI):
    def __init__(self, name):
        super().__init__(max_batch_size=bench_models.MAX_BATCH, batch_timeout=0.0, api_path=f"/{name}")
        self._name = name

    def setup(self, device):
        self._shape = bench_models.SHAPES[self._name][0]
        self._run = bench_models.load(self._name)

    def decode_request(self, request):
        return np.frombuffer(base64.b64decode(request["data"]), np.float32).reshape(self._shape)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, rows):
        return self._run(rows)

    def unbatch(self, rows):
        return list(rows)

    def encode_response(self, row):
        return {"data": base64.b64encode(row.tobytes()).decode()}


if __name__ == "__main__":
    server = litserve.LitServer([Served(name) for name in sys.argv[2:]], accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
