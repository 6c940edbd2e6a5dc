"""Pin every package that development and the embedded suite need: ``requirements.lock`` and ``torch.lock``.

Run with the oldest Python that the lock is for. Pins are kept where they still fit; ``--upgrade`` looks for newer ones.
The locks hold names, versions and hashes, and no address: packages come from wherever pip is configured to look. torch
is kept apart, without hashes, so that the set-up can choose between its builds.
"""

# ruff: noqa: S603

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK, TORCH_LOCK = ROOT / "requirements.lock", ROOT / "torch.lock"
PYTHONS = "3.11, 3.12, 3.13"
"""The versions that the pins fit; for others, the set-up takes what pyproject.toml allows."""
# What only torch's CUDA builds need; pip brings it along where such a build is installed.
CUDA_ONLY = re.compile(r"(cuda-|nvidia-|triton==|torch==)")


def main() -> None:
    options = ["--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-annotate", "--no-header", "--quiet"]
    private = ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"]
    compiling, wanted = [sys.executable, "-m", "piptools", "compile"], ["--extra", "dev", "--extra", "torch"]
    pins = ["--upgrade"] if "--upgrade" in sys.argv else ["--constraint", str(TORCH_LOCK)]
    subprocess.run(
        [*compiling, *options, *private, *pins, *wanted, "--output-file", str(LOCK), "pyproject.toml"],
        cwd=ROOT,
        check=True,
    )
    requirements = re.split(r"^(?=[a-zA-Z0-9])", LOCK.read_text(), flags=re.MULTILINE)
    torch = next(text for text in requirements if text.startswith("torch=="))
    TORCH_LOCK.write_text(re.match(r"torch==[\d.]+", torch)[0] + "\n")  # type: ignore[index]
    kept = [text for text in requirements if "==" in text and not CUDA_ONLY.match(text)]
    LOCK.write_text(f"# Made by `make lock`; torch is pinned in torch.lock.\n# Python {PYTHONS}\n" + "".join(kept))


if __name__ == "__main__":
    main()
