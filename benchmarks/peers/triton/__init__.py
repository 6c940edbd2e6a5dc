"""Triton's own server, from the wheel of nvidia-pytriton, with a plain model repository and the python backend."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

from benchmarks.peers.peer import MAX_BATCH, MODELS, Peer
from benchmarks.systems import Counts
from benchmarks.wire import Api, GrpcV2
from benchmarks.workloads import Workload

PYTHON_LIBRARIES = sysconfig.get_config_var("LIBDIR")
"""Where this interpreter's libpython is, lest the stub load another one."""

CONFIG = """\
backend: "python"
max_batch_size: {max_batch}
input [{{ name: "input0", data_type: TYPE_FP32, dims: {shape} }}]
output [{{ name: "output0", data_type: TYPE_FP32, dims: {shape_out} }}]
dynamic_batching {{ }}
instance_group [{{ count: 1, kind: KIND_CPU }}]
"""


class Triton(Peer):
    name, title = "triton", "Triton"
    how = "python backend, one instance, dynamic batching up to 64 rows without delay; gRPC"

    def prepare(self) -> None:
        shutil.rmtree(self.state / "server", ignore_errors=True)
        repository = self.state / "server" / "models"
        for workload in self.workloads:
            version = repository / workload.name / "1"
            version.mkdir(parents=True)
            shutil.copy(self.folder / "model.py", version)
            shutil.copy(MODELS / "bench_models.py", version)  # the python backend heeds no PYTHONPATH
            config = CONFIG.format(max_batch=MAX_BATCH, shape=list(workload.shape), shape_out=list(workload.shape_out))
            (version.parent / "config.pbtxt").write_text(config)
        wheel = self._site_packages / "pytriton" / "tritonserver"
        shutil.copytree(wheel / "backends", self.state / "server" / "backends")
        stub = wheel / "python_backend_stubs" / "{}.{}".format(*sys.version_info) / "triton_python_backend_stub"
        shutil.copy(stub, self.state / "server" / "backends" / "python")

    @property
    def _site_packages(self) -> Path:
        return self.environment / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"

    def version(self) -> str:
        return f"2.51 (nvidia-pytriton {super().version()})"

    def environ(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": f"{self._site_packages / 'nvidia_pytriton.libs'}:{PYTHON_LIBRARIES}"}

    def command(self) -> list[str]:
        return [
            str(self._site_packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
            f"--model-repository={self.state / 'server' / 'models'}",
            f"--backend-directory={self.state / 'server' / 'backends'}",
            f"--grpc-port={self.port('grpc')}",
            f"--http-port={self.port('http')}",
            f"--metrics-port={self.port('metrics')}",
        ]

    def api(self, workload: Workload) -> Api:
        return GrpcV2(self.address("grpc"), workload)

    def counts(self, workload: Workload) -> Counts | None:
        return Counts.ask(self.address("grpc"), workload.name)
