"""Another server of the Open Inference Protocol, which can refuse, hang, die and come back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server

from tests.support.ports import free_port


class Servicer(GRPCInferenceServiceServicer):  # type: ignore[misc]  # tritonclient has no types
    """A model that gives what it gets; ``refuse`` says with which status a batch that starts with a number ends."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.refuse: Callable[[float], grpc.StatusCode | None] = lambda _first: None
        self.is_stuck = threading.Event()

    def ModelMetadata(self, _request: Any, _context: Any) -> Any:
        tensor = {"datatype": "FP32", "shape": [-1, 1]}
        kind = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(inputs=[kind(name="INPUT0", **tensor)], outputs=[kind(name="OUT", **tensor)])

    def ModelInfer(self, request: Any, context: Any) -> Any:
        numbers = np.frombuffer(request.raw_input_contents[0], "<f4")
        self.batches.append(len(numbers))
        if code := next((code for one in numbers if (code := self.refuse(one))), None):
            context.abort(code, "so it is")
        if self.is_stuck.is_set():
            threading.Event().wait(5)
        answer = pb.ModelInferResponse(raw_output_contents=list(request.raw_input_contents))
        answer.outputs.add(name="OUT", datatype="FP32", shape=request.inputs[0].shape)
        return answer


class ModelServer:
    """On a port of its own, also after it was killed and started again."""

    def __init__(self) -> None:
        self.servicer, self.port = Servicer(), free_port()
        self.start()

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        add_GRPCInferenceServiceServicer_to_server(self.servicer, self._server)
        assert self._server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        self._server.start()

    def kill(self) -> None:
        self._server.stop(None).wait()
