from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import models
from tests.support.suite import Suite


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "identity": models.identity_onnx(folder / "identity.onnx"),
        "slow": models.slow_onnx(folder / "slow.onnx", loops=5_000),
        "digits": models.digits_onnx(folder / "digits.onnx"),
        "digits-pt2": models.digits_torch_export(folder / "digits.pt2"),
    }


@pytest.fixture(scope="session")
def suite(model_files: dict[str, Path]) -> Iterator[Suite]:
    """One running suite with all the models deployed. What needs one of its own, or none, is in ``apart``."""
    with Suite() as running:
        for name, path in model_files.items():
            running.command("deploy", str(path), "--name", name, "--trust", "--wait")
        yield running
