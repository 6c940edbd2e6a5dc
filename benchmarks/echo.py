"""The yardstick: the least that a ``grpc.aio`` server can do with a request, on the loop that Penstock runs on.

It parses the ModelInferRequest and answers a ModelInferResponse with the same tensors: no validation, no queue, no
model. Run as ``python -m benchmarks.echo``; it prints the port that it listens on.
"""

from __future__ import annotations

import asyncio
import signal

import grpc
import uvloop
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)


class Echo(GRPCInferenceServiceServicer):
    async def ModelInfer(self, request: oip.ModelInferRequest, _: object) -> oip.ModelInferResponse:
        response = oip.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        for tensor in request.inputs:
            response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.extend(request.raw_input_contents)
        return response


async def serve() -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = grpc.aio.server()
    add_GRPCInferenceServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await stop.wait()
    await server.stop(1)


if __name__ == "__main__":
    uvloop.run(serve())
