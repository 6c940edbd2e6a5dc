"""PyTriton: Triton's server, with the model in a Python process that PyTriton runs."""

from __future__ import annotations

from benchmarks.peers.peer import MAX_BATCH, Peer
from benchmarks.peers.triton import PYTHON_LIBRARIES
from benchmarks.wire import Api, GrpcV2
from benchmarks.workloads import Workload


class PyTriton(Peer):
    name, title, installation = "pytriton", "PyTriton", "triton"
    how = f"one instance, dynamic batching up to {MAX_BATCH} rows without delay; gRPC"

    def environ(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": PYTHON_LIBRARIES}

    def command(self) -> list[str]:
        ports = [str(self.port(purpose)) for purpose in ("grpc", "http", "metrics")]
        return [self.program("python"), str(self.folder / "server.py"), *ports, *self.names]

    def api(self, workload: Workload) -> Api:
        return GrpcV2(self.address("grpc"), workload)
