"""Test what needs libraries that are too heavy or too rare for ``.venv``: ``python -m tools.formats [NAME…]``.

Each environment below has Penstock, with the extras that its tests need, in a virtual environment of its own, which is
kept below ``build/formats``. A test that is skipped there counts as failed.
"""

# ruff: noqa: T201, S314, S603

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tools import setup

CACHE = setup.ROOT / "build" / "formats"
TESTS = setup.ROOT / "tests"


@dataclass(frozen=True, slots=True)
class Environment:
    """The extras of Penstock that it has, and its test modules below ``tests``."""

    extras: tuple[str, ...]
    tests: tuple[str, ...]
    has_torch: bool = False
    """torch is installed first, in the build that fits this machine."""
    packages: tuple[str, ...] = ()
    """What it needs besides."""
    only: str = ""
    """Which of the tests to run, as pytest's ``-k`` takes it."""


ENVIRONMENTS = {
    "openvino": Environment(("openvino",), ("formats/test_openvino.py",)),
    "litert": Environment(("litert",), ("formats/test_litert.py",)),
    "tensorflow": Environment(
        ("tensorflow", "keras", "litert"),
        ("formats/test_tensorflow.py", "formats/test_keras.py", "formats/test_tflite_conversion.py"),
    ),
    "transformers": Environment(
        ("transformers",),
        ("formats/test_transformers.py", "formats/test_state_dicts.py", "formats/test_sentence_embeddings.py"),
        has_torch=True,
    ),
    "gcs": Environment(
        ("gcs", "postgresql"),
        ("integration/registry/test_remote_stores.py",),
        packages=("gcp-storage-emulator>=2024.8,<2027",),
        only="Gcs",
    ),
    "records": Environment(
        ("dvc", "mlflow", "postgresql", "registry", "sklearn", "tensorboard", "wandb"),
        ("integration/registry/test_records_libraries.py", "e2e/apart/test_mlflow_example.py"),
        packages=("mlflow>=3.9,<4",),  # its server; the first that keeps estimators by skops
    ),
    "otlp": Environment(
        ("monitor",),
        ("integration/monitor/test_foreign_backend.py",),
        packages=(
            "rotel>=0.0.1a1",  # there are only early versions yet
            "opentelemetry-exporter-otlp-proto-grpc",
            "opentelemetry-exporter-otlp-proto-http",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Result:
    """``reasons``: why what failed or was skipped did so."""

    environment: str
    passed: int
    seconds: float
    reasons: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        return self.passed > 0 and not self.reasons


def main(names: list[str]) -> int:
    """Returns: the exit status."""
    if unknown := set(names) - ENVIRONMENTS.keys():
        print(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(ENVIRONMENTS)}", file=sys.stderr)
        return 2
    results = [checked(name) for name in ENVIRONMENTS if name in names or not names]
    table = Table("environment", "passed", "failed or skipped", "seconds", title="Formats")
    for one in results:
        table.add_row(one.environment, str(one.passed), "\n".join(one.reasons) or "-", f"{one.seconds:.0f}")
    Console().print(table)
    return 0 if all(one.is_good for one in results) else 1


def checked(name: str) -> Result:
    """Install what the environment lacks, and run its tests."""
    began = time.monotonic()
    print(f"{name}:", flush=True)
    try:
        python = installed(name, ENVIRONMENTS[name])
    except setup.InstallError as error:
        print(error, flush=True)
        return Result(name, 0, time.monotonic() - began, ("pip failed",))
    report = CACHE / f"{name}.xml"
    report.unlink(missing_ok=True)
    tests = [str(TESTS / one) for one in ENVIRONMENTS[name].tests]
    tests += ["-k", only] if (only := ENVIRONMENTS[name].only) else []
    command = [str(python), "-m", "pytest", "-v", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    status = subprocess.run(command, cwd=setup.ROOT, check=False, env=environment()).returncode
    passed, reasons = outcome(report)
    if status and not reasons:
        reasons = (f"pytest ended with status {status}",)
    return Result(name, passed, time.monotonic() - began, reasons or (() if passed else ("no test ran",)))


def installed(name: str, wanted: Environment) -> Path:
    """The environment's Python, with all that it is to have; returns at once when nothing changed.

    Raises:
        InstallError: pip failed.
    """
    folder = CACHE / name
    python, stamp = folder / "bin" / "python", folder / "penstock-formats"
    state = fingerprint(wanted)
    if stamp.is_file() and stamp.read_text() == state:
        return python
    stamp.unlink(missing_ok=True)
    setup.make_venv(folder)
    if wanted.has_torch:
        setup.install_torch(has_gpu=setup.has_nvidia_gpu(), python=python)
    extras = ",".join((*wanted.extras, "test"))
    with setup.constraints() as pinned:
        setup.pip(
            f"penstock[{extras}]", *pinned, *wanted.packages, "--editable", f"{setup.ROOT}[{extras}]", python=python
        )
    stamp.write_text(state)
    return python


def fingerprint(wanted: Environment) -> str:
    """What the installation depends on, in one word."""
    digest = hashlib.sha256(f"{sys.version} {wanted} {setup.ROOT}".encode())
    for path in (setup.ROOT / "pyproject.toml", setup.LOCK, setup.TORCH_LOCK):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """Ours, without the folders that would bring in the packages of another environment."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def outcome(report: Path) -> tuple[int, tuple[str, ...]]:
    """How many tests passed, and why others didn't, from pytest's report."""
    cases = ET.parse(report).iter("testcase") if report.is_file() else ()
    passed, reasons = 0, list[str]()
    for case in cases:
        troubles = [one for one in case if one.tag in ("failure", "error", "skipped")]
        passed += not troubles
        reasons += [_reason(str(case.get("name")), one) for one in troubles]
    return passed, tuple(reasons)


def _reason(test: str, trouble: ET.Element) -> str:
    message = " ".join((trouble.get("message") or "").split())
    return f"{test}: {trouble.tag}: {message[:80]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
