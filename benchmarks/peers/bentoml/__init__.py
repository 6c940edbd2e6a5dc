"""BentoML."""

from __future__ import annotations

from benchmarks.peers.peer import MAX_BATCH, Peer
from benchmarks.wire import Api, Base64Json
from benchmarks.workloads import Workload


class BentoML(Peer):
    name, title = "bentoml", "BentoML"
    how = f"one worker, adaptive batching up to {MAX_BATCH} rows; REST, tensors as base64 in JSON"

    def environ(self) -> dict[str, str]:
        return {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(self.state / "home")}

    def command(self) -> list[str]:
        options = [f"--port={self.port('http')}", "--host=127.0.0.1", f"--working-dir={self.folder}"]
        return [self.program("bentoml"), "serve", "service:Served", *options]

    def api(self, workload: Workload) -> Api:
        return Base64Json(self.address("http"), f"/{workload.name}", is_list=True)
