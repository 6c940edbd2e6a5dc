"""Pin every package that development and the embedded suite need: ``requirements.lock`` and ``torch.lock``.

Run with the oldest Python that the lock is for, 3.11.2 or older: some packages need others there. Pins are kept where
they still fit; ``--upgrade`` looks for newer ones. The locks hold names, versions, markers and hashes, and no address:
packages come from wherever pip is configured to look. torch is kept apart, without hashes, so that the set-up can
choose between its builds.
"""

# ruff: noqa: S603

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK, TORCH_LOCK = ROOT / "requirements.lock", ROOT / "torch.lock"
EXTRAS = ("dev", "torch")
PYTHONS = "3.11, 3.12, 3.13"
"""The versions that the pins fit; for others, the set-up takes what pyproject.toml allows."""
HEAD = f"# Made by `make lock`; torch is pinned in torch.lock.\n# Python {PYTHONS}\n"
# What only torch's CUDA builds need; pip brings it along where such a build is installed.
CUDA_ONLY = re.compile(r"(cuda-|nvidia-|triton==|torch==)")
PINNED = re.compile(r"[\w.-]+==[\w.+!-]+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in requirements(project, extra))]
    pinned = compiled(wanted, is_upgrade="--upgrade" in sys.argv[1:])
    torch = next(text for text in pinned if text.startswith("torch=="))
    kept = [text for text in pinned if not CUDA_ONLY.match(text)]
    if unfit := [text for text in kept if not PINNED.fullmatch(text)]:
        sys.exit(f"expected a version and hashes of each package and nothing else, got:\n{''.join(unfit)}")
    TORCH_LOCK.write_text(re.split(r"[\s+]", torch, maxsplit=1)[0] + "\n")
    LOCK.write_text(HEAD + "".join(sorted(kept, key=name)))


def requirements(project: dict[str, Any], extra: str) -> Iterator[str]:
    """What an extra asks for, with that of the project's other extras which it names.

    pip-compile, given pyproject.toml itself, loses the markers, and takes the project for a package to be pinned.
    """
    own = re.compile(rf"{project['name']}\[([\w,-]+)\]")
    for one in project["optional-dependencies"][extra]:
        if (others := own.fullmatch(one)) is None:
            yield one
        else:
            for other in others[1].split(","):
                yield from requirements(project, other)


def compiled(wanted: list[str], *, is_upgrade: bool) -> list[str]:
    """The pinned packages, each with its hashes, as lines of a requirements file."""
    options = ["--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-annotate", "--no-header", "--quiet"]
    private = ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"]
    pins = ["--upgrade"] if is_upgrade else ["--constraint", str(TORCH_LOCK)]
    with tempfile.TemporaryDirectory() as folder:
        source, lock = Path(folder, "requirements.in"), Path(shutil.copy(LOCK, folder))
        source.write_text("\n".join(wanted) + "\n")
        command = [sys.executable, "-m", "piptools", "compile", *options, *private, *pins]
        subprocess.run([*command, "--output-file", str(lock), str(source)], cwd=ROOT, check=True)
        lines = [line for line in lock.read_text().splitlines(keepends=True) if line.strip() and line[0] != "#"]
    return re.split(r"^(?=[a-zA-Z0-9])", "".join(lines), flags=re.MULTILINE)[1:]


def name(requirement: str) -> str:
    return requirement.partition("==")[0]


if __name__ == "__main__":
    main()
