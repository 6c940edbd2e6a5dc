"""Serve models, each as an application of its own: PORT NAME..."""

import signal
import sys

import bench_models
import numpy as np
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(max_ongoing_requests=1_000, logging_config={"enable_access_log": False})
class Served:
    def __init__(self, name):
        self._shape = bench_models.SHAPES[name][0]
        self._run = bench_models.load(name)

    @serve.batch(max_batch_size=bench_models.MAX_BATCH, batch_wait_timeout_s=0.0)
    async def _answer(self, bodies):
        rows = np.frombuffer(b"".join(bodies), np.float32).reshape(-1, *self._shape)
        return [row.tobytes() for row in self._run(rows)]

    async def __call__(self, request: Request) -> Response:
        return Response(await self._answer(await request.body()), media_type="application/octet-stream")


if __name__ == "__main__":
    ray.init(num_cpus=16, include_dashboard=False, object_store_memory=200_000_000)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    for name in sys.argv[2:]:
        serve.run(Served.bind(name), name=name, route_prefix=f"/{name}")
    signal.sigwait([signal.SIGINT, signal.SIGTERM])
    serve.shutdown()
    ray.shutdown()
