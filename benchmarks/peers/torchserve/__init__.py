"""TorchServe, with a custom handler."""

from __future__ import annotations

import json
import shutil

from benchmarks.environments import InstallError
from benchmarks.peers.peer import MAX_BATCH, MODELS, Peer
from benchmarks.wire import Api, TorchServeGrpc
from benchmarks.workloads import Workload


class TorchServe(Peer):
    name, title = "torchserve", "TorchServe"
    how = f"custom handler, one worker, batches up to {MAX_BATCH} rows within 1 ms (its least delay); its own gRPC API"

    def prepare(self) -> None:
        if shutil.which("java") is None:
            raise InstallError("TorchServe needs Java: install openjdk-17-jre-headless")
        store = self.state / "store"
        shutil.rmtree(store, ignore_errors=True)
        models = {}
        for workload in self.workloads:
            folder = store / workload.name
            (folder / "MAR-INF").mkdir(parents=True)
            for source in (self.folder / "handler.py", MODELS / "bench_models.py"):
                shutil.copy(source, folder)
            manifest = {
                "createdOn": "",
                "runtime": "python",
                "model": {"modelName": workload.name, "handler": "handler.py", "modelVersion": "1.0"},
                "archiverVersion": "0.12.0",
            }
            (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
            workers = {"minWorkers": 1, "maxWorkers": 1, "batchSize": MAX_BATCH, "maxBatchDelay": 1}
            models[workload.name] = {
                "1.0": {"defaultVersion": True, "marName": workload.name, "responseTimeout": 120, **workers}
            }
        config = {
            "inference_address": f"http://{self.address('http')}",
            "management_address": f"http://{self.address('management')}",
            "metrics_address": f"http://{self.address('metrics')}",
            "grpc_inference_port": self.port("grpc"),
            "grpc_management_port": self.port("grpc management"),
            "grpc_inference_max_connection_age_ms": 9_223_372_036_854_775,
            "disable_token_authorization": "true",
            "disable_system_metrics": "true",
            "job_queue_size": 1_000,
            "model_store": store,
            "models": json.dumps(models),
            "load_models": ",".join(models),
        }
        (self.state / "config.properties").write_text("".join(f"{key}={text}\n" for key, text in config.items()))

    def environ(self) -> dict[str, str]:
        return {"LOG_LOCATION": str(self.state / "logs"), "METRICS_LOCATION": str(self.state / "logs")}

    def command(self) -> list[str]:
        options = ["--start", "--foreground", "--disable-token-auth", "--ts-config"]
        return [self.program("torchserve"), *options, str(self.state / "config.properties")]

    def api(self, workload: Workload) -> Api:
        return TorchServeGrpc(self.address("grpc"), workload)
