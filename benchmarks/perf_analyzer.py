"""Run Triton's own load tool against a running gateway: ``python -m benchmarks.perf_analyzer --help``.

perf_analyzer asks for metadata, config and statistics as it would ask Triton, so a run is also a test that existing
tools work unchanged.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

HOW_TO_GET_IT = """\
perf_analyzer is not installed. It comes inside a Linux wheel of tritonclient; give it a virtual environment of its own:

  python -m venv ~/.perf-analyzer
  ~/.perf-analyzer/bin/pip install tritonclient==2.41.0 nvidia-cuda-runtime-cu12
  sudo apt install libb64-0d
  python -m benchmarks.perf_analyzer --program ~/.perf-analyzer/bin/perf_analyzer MODEL

(The package named perf-analyzer is an empty placeholder.)"""


def main(
    model: Annotated[str, typer.Argument(help="Name of a model that is deployed.")],
    address: Annotated[str, typer.Option(help="The gateway's gRPC address.")] = "127.0.0.1:8001",
    concurrency: Annotated[str, typer.Option(help="Requests under way, one run for each.")] = "1,16,64",
    program: Annotated[Path | None, typer.Option(help="perf_analyzer, where it isn't on PATH.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of a measurement window.")] = 2.0,
) -> None:
    """Run perf_analyzer over gRPC and print what it prints, the server's own breakdown included.

    Example: python -m benchmarks.perf_analyzer digits
    """
    found = shutil.which(program or "perf_analyzer")
    if found is None:
        sys.exit(HOW_TO_GET_IT)
    for clients in concurrency.split(","):
        command = [found, "-m", model, "-u", address, "-i", "grpc", f"--concurrency-range={clients}"]
        window = [f"--measurement-interval={seconds * 1_000:.0f}", "--max-trials=5", "--stability-percentage=50"]
        done = subprocess.run([*command, *window], env=_environment(Path(found)), check=False)
        if done.returncode != 0:
            sys.exit(f"perf_analyzer ended with status {done.returncode} at concurrency {clients}")


def _environment(program: Path) -> dict[str, str]:
    """Ours, with the CUDA runtime that was installed beside the program: it is linked to it even for CPU-only work."""
    libraries = program.resolve().parent.parent.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
    paths = [*map(str, libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}


if __name__ == "__main__":
    typer.run(main)
