"""The other yardstick: a model called in a loop by one thread, with no server around it.

``python -m benchmarks.loop bench-cnn 16 3`` calls it with batches of 16 rows for 3 seconds and prints the rows/s.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np

from benchmarks.models import bench_models


def rate_of(name: str, *, batch: int, seconds: float) -> float:
    """Rows per second of a model in a fresh process; weights are in the folder that BENCH_MODELS names."""
    command = [sys.executable, "-m", "benchmarks.loop", name, str(batch), str(seconds)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    return float(subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout)


def _main(name: str, batch: int, seconds: float) -> None:
    run = bench_models.load(name)
    rows = np.random.default_rng(0).normal(size=(batch, *bench_models.SHAPES[name][0])).astype(np.float32)
    for _ in range(3):
        run(rows)
    done, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        run(rows)
        done += batch
    print(done / passed)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
