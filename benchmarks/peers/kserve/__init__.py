"""KServe's Python server; it batches nothing by itself."""

from __future__ import annotations

from benchmarks.peers.peer import Peer
from benchmarks.wire import Api, GrpcV2
from benchmarks.workloads import Workload


class KServe(Peer):
    name, title = "kserve", "KServe"
    how = "Python server (`kserve.ModelServer`), one worker, no batcher; gRPC"

    def command(self) -> list[str]:
        ports = [f"--http_port={self.port('http')}", f"--grpc_port={self.port('grpc')}"]
        return [self.program("python"), str(self.folder / "server.py"), *ports, *self.names]

    def api(self, workload: Workload) -> Api:
        return GrpcV2(self.address("grpc"), workload)
