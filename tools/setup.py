"""Make ``.venv`` and install the locked packages, torch in the build that fits this machine, and Penstock itself.

Needs Python 3.11 or newer and nothing else. When nothing changed since the last time, it returns at once.
"""

# ruff: noqa: T201, S603, UP036

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "penstock-setup"
LOCK, TORCH_LOCK = ROOT / "requirements.lock", ROOT / "torch.lock"
INPUTS = (LOCK, TORCH_LOCK, ROOT / "pyproject.toml", Path(__file__))
TORCH_INDEX = os.environ.get("PENSTOCK_TORCH_INDEX", "")
"""One more package index to look for torch in, for who has one; pip's own configuration is always used."""


class InstallError(Exception):
    """pip failed; the message is the end of what it said."""


def main() -> None:
    if sys.version_info < (3, 11):
        sys.exit(f"Penstock needs Python 3.11 or newer, this is {platform.python_version()}")
    has_gpu = has_nvidia_gpu()
    state = fingerprint(has_gpu=has_gpu)
    if STAMP.is_file() and STAMP.read_text() == state:
        return
    print("Setting up Penstock in .venv; the first time, this takes a few minutes.", flush=True)
    STAMP.unlink(missing_ok=True)
    try:
        make_venv()
        install_packages()
        install_torch(has_gpu=has_gpu)
        pip("Penstock itself", "--no-deps", "--editable", str(ROOT))
    except InstallError as error:
        sys.exit(f"\nThe installation failed. pip said last:\n\n{error}")
    STAMP.write_text(state)


def fingerprint(*, has_gpu: bool) -> str:
    """What the installation depends on, in one word."""
    digest = hashlib.sha256(f"{sys.version} {has_gpu} {TORCH_INDEX} {ROOT}".encode())
    for path in INPUTS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def has_nvidia_gpu() -> bool:
    command = shutil.which("nvidia-smi")
    if command is None:
        return False
    listing = subprocess.run([command, "-L"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU " in listing.stdout


def make_venv(folder: Path = VENV) -> None:
    """Make the environment, anew where one exists that another Python made."""
    marker = folder / "pyvenv.cfg"
    has_python = marker.is_file() and (folder / "bin" / "python").exists()
    if not (has_python and f"version = {platform.python_version()}" in marker.read_text()):
        venv.create(folder, clear=True, with_pip=True)


def install_packages() -> None:
    """The locked packages; or what pyproject.toml allows, where the lock is for another Python."""
    locked_for = re.search(r"^# Python (.+)$", LOCK.read_text(), re.MULTILINE)
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if locked_for is not None and own in locked_for[1].split(", "):
        pip("locked packages", "--require-hashes", "--requirement", str(LOCK))
        return
    lock = locked_for[1] if locked_for else "unknown"
    print(f"  the lock is for Python {lock}, this is {own}: taking what pyproject.toml allows", flush=True)
    pip("packages", "--editable", f"{ROOT}[dev]")


@contextmanager
def constraints() -> Iterator[list[str]]:
    """Arguments of pip: of the packages that the lock names, no others than those that it names."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(re.findall(r"^[\w.-]+==[^\s;]+", LOCK.read_text(), re.MULTILINE)))
        file.flush()
        yield ["--constraint", file.name]


def install_torch(*, has_gpu: bool, python: Path = PYTHON) -> None:
    """The pinned torch: its CPU build where there is no NVIDIA GPU and such a build is to be had."""
    pinned = next(line for line in TORCH_LOCK.read_text().splitlines() if line.startswith("torch=="))
    with constraints() as pinned_others:
        where = [*pinned_others, *(["--extra-index-url", TORCH_INDEX] if TORCH_INDEX else [])]
        if not has_gpu and sys.platform == "linux":
            try:
                pip("torch, CPU build", *where, f"{pinned}+cpu", python=python)
            except InstallError as error:
                if "No matching distribution found for torch" not in str(error):
                    raise
                print(f"  pip finds no CPU build of {pinned}: taking the standard one, which is large (gigabytes).")
                print("  To avoid it, name an index that carries CPU builds in PENSTOCK_TORCH_INDEX.", flush=True)
            else:
                return
        pip("torch", *where, pinned, python=python)


def pip(what: str, *arguments: str, python: Path = PYTHON) -> None:
    """Run ``pip install`` quietly, with a sign of life."""
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--no-input",
        "--progress-bar",
        "off",
        "--disable-pip-version-check",
    ]
    start, lines, collected = time.monotonic(), list[str](), 0
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        shown_at = start
        for line in process.stdout:
            lines.append(line.rstrip())
            collected += line.startswith("Collecting ")
            now = time.monotonic()
            if sys.stdout.isatty():
                doing = "installing" if line.startswith("Installing collected") else f"{collected} found"
                print(f"\r\033[K  {what}: {doing}, {now - start:.0f} s", end="", flush=True)
            elif now - shown_at > 15:
                print(f"  {what}: {now - start:.0f} s so far", flush=True)
                shown_at = now
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    if process.returncode != 0:
        print(clear, end="")
        raise InstallError("\n".join(lines[-30:]))
    print(f"{clear}  {what}: done in {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
