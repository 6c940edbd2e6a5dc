"""MLServer, without batching and with its adaptive batching."""

from __future__ import annotations

import json
import shutil
from typing import ClassVar

from benchmarks.peers.peer import MAX_BATCH, Peer
from benchmarks.wire import Api, GrpcV2
from benchmarks.workloads import Workload


class MLServer(Peer):
    name, title = "mlserver", "MLServer"
    how = "custom runtime in the server's process, no batching; gRPC"
    batching: ClassVar[dict[str, float]] = {}

    def prepare(self) -> None:
        root = self.state / f"models{len(self.batching)}"
        shutil.rmtree(root, ignore_errors=True)
        for workload in self.workloads:
            (root / workload.name).mkdir(parents=True)
            settings = {"name": workload.name, "implementation": "runtime.Served", **self.batching}
            (root / workload.name / "model-settings.json").write_text(json.dumps(settings))
            shutil.copy(self.folder / "runtime.py", root / workload.name)
        ports = {f"{one}_port": self.port(one) for one in ("http", "grpc", "metrics")}
        settings = {"host": "127.0.0.1", "parallel_workers": 0, "grpc_max_message_length": 2**26, **ports}
        (root / "settings.json").write_text(json.dumps(settings))

    def command(self) -> list[str]:
        return [self.program("mlserver"), "start", str(self.state / f"models{len(self.batching)}")]

    def api(self, workload: Workload) -> Api:
        return GrpcV2(self.address("grpc"), workload)


class BatchingMLServer(MLServer):
    title = "MLServer, batching"
    how = f"custom runtime in the server's process, adaptive batching up to {MAX_BATCH} rows within 1 ms; gRPC"
    batching: ClassVar[dict[str, float]] = {"max_batch_size": MAX_BATCH, "max_batch_time": 0.001}
