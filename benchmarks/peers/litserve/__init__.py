"""LitServe."""

from __future__ import annotations

from benchmarks.peers.peer import MAX_BATCH, Peer
from benchmarks.wire import Api, Base64Json
from benchmarks.workloads import Workload


class LitServe(Peer):
    name, title = "litserve", "LitServe"
    how = f"one worker, batches up to {MAX_BATCH} rows without delay; REST, tensors as base64 in JSON"

    def command(self) -> list[str]:
        return [self.program("python"), str(self.folder / "server.py"), str(self.port("http")), *self.names]

    def api(self, workload: Workload) -> Api:
        return Base64Json(self.address("http"), f"/{workload.name}")
