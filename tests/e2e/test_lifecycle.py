"""Start, refuse, stop, start again."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.support import models
from tests.support.suite import Suite, wait_until

pytestmark = pytest.mark.timeout(180)


def _deploy_refused(suite: Suite, path: Path, name: str) -> str:
    with pytest.raises(AssertionError) as caught:
        suite.command("deploy", str(path), "--name", name, "--wait")
    return str(caught.value)


def test_corrupt_file_is_rejected_with_the_reason(suite: Suite, tmp_path: Path) -> None:
    path = models.identity_onnx(tmp_path / "corrupt.onnx")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "onnx" in _deploy_refused(suite, path, "corrupt").lower()
    assert suite.command("status")["is_ready"]


def test_unsupported_file_is_rejected_with_the_reason(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    path.write_text("not a model")
    assert "format" in _deploy_refused(suite, path, "text").lower()


def test_executable_format_needs_trust(suite: Suite, model_files: dict[str, Path]) -> None:
    assert "trust" in _deploy_refused(suite, model_files["digits-pt2"], "untrusted").lower()


def test_models_survive_a_restart_and_nothing_is_left_behind(model_files: dict[str, Path]) -> None:
    with Suite() as suite:
        suite.command("deploy", str(model_files["identity"]), "--name", "identity", "--wait")
        processes = suite.processes()
        assert suite.stop() == 0
        wait_until(lambda: not any(process.is_running() for process in processes))
        suite.start()
        wait_until(lambda: suite.model_pids("identity"))
        processes = suite.processes()
        assert suite.stop() == 0
        wait_until(lambda: not any(process.is_running() for process in processes))
    assert not [process for process in psutil.process_iter() if str(suite.home) in " ".join(_environment(process))]


def _environment(process: psutil.Process) -> list[str]:
    try:
        return list(process.environ().values())
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return []


def test_undeployed_model_is_gone_and_its_process_with_it(suite: Suite, model_files: dict[str, Path]) -> None:
    suite.command("deploy", str(model_files["identity"]), "--name", "fleeting", "--wait")
    (pid,) = suite.model_pids("fleeting")
    suite.command("undeploy", "fleeting")
    wait_until(lambda: not psutil.pid_exists(pid))
