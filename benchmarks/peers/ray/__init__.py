"""Ray Serve."""

from __future__ import annotations

from benchmarks.peers.peer import MAX_BATCH, Peer
from benchmarks.wire import Api, RawBytes
from benchmarks.workloads import Workload


class RayServe(Peer):
    name, title = "ray", "Ray Serve"
    how = f"one replica, `@serve.batch` up to {MAX_BATCH} rows without delay; REST, tensors as plain bytes"

    def environ(self) -> dict[str, str]:
        return {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}

    def command(self) -> list[str]:
        return [self.program("python"), str(self.folder / "server.py"), str(self.port("http")), *self.names]

    def api(self, workload: Workload) -> Api:
        return RawBytes(self.address("http"), f"/{workload.name}")
