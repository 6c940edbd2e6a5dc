"""What becomes of an agent's processes when it is killed and none comes after it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil
import pytest
from redis.asyncio import Redis

from services.common.lanes import LaneKeys
from services.common.redis_connection import connect
from services.inference.domain.manifest import Manifest
from services.inference.domain.variants import Level
from services.inference.inspector import Inspection
from services.inference.search import SearchSpec
from tests.support.fake_gateway import FakeGateway
from tests.support.model_processes import IDENTITY, ModelProcess
from tests.support.models import identity_onnx

KEYS = LaneKeys("m", "1")
ROW = np.arange(16, dtype=np.float32)[None]
MANIFEST = Manifest(inputs=IDENTITY.inputs, outputs=IDENTITY.outputs)
ENDLESS = """
import pathlib, time
class Model:
    def load(self, folder, options):
        pathlib.Path(folder, "begun").touch()
        time.sleep(1000)
    def infer(self, inputs): ...
"""
AGENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", sys.argv[1]], stdin=subprocess.PIPE)
child.stdin.write(sys.argv[2].encode() + b"\\n")
child.stdin.flush()
print(child.pid, flush=True)
time.sleep(1000)
"""


def in_shared_memory(pid: int) -> list[Path]:
    """Folders in shared memory that a process holds."""
    opened = (one.readlink() for one in Path(f"/proc/{pid}/fd").iterdir())
    return [path for path in opened if path.is_relative_to("/dev/shm")]


async def test_one_that_serves_ends_after_a_while_and_leaves_nothing(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    redis: Redis = connect(redis_url)
    model = identity_onnx(tmp_path / "model.onnx")
    async with FakeGateway(redis, KEYS) as gateway:
        async with ModelProcess(model, redis_url, orphan_timeout_s=1.0) as orphan:
            np.testing.assert_array_equal(await gateway.ask(ROW), ROW)
            shared = in_shared_memory(orphan.child.pid)
            orphan.abandon()
            np.testing.assert_array_equal(await gateway.ask(ROW), ROW)

            assert await orphan.ended() == ""

        assert await redis.zcard(KEYS.leases) == 0
    await redis.aclose()
    assert len(shared) == 1
    assert not shared[0].exists()
    assert left_in(tmp_path) == []


def left_in(folder: Path) -> list[Path]:
    return list(folder.glob("penstock-models-*/*"))


def spec_of(module: str, folder: Path) -> str:
    if module == "model_process":
        return ModelProcess(folder, "redis://localhost:1", format="python", manifest=MANIFEST).spec.to_json()
    if module == "inspector":
        return json.dumps(asdict(Inspection(str(folder), "python", True, "cpu", 1, MANIFEST)))
    return SearchSpec(str(folder), "python", IDENTITY, "cpu", 1, Level.FAST, 1, manifest=MANIFEST).to_json()


@pytest.mark.parametrize("module", ["model_process", "inspector", "search"])
def test_one_that_loads_ends_with_its_agent(module: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.py").write_text(ENDLESS)
    command = [sys.executable, "-c", AGENT, f"services.inference.{module}", spec_of(module, folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        child = psutil.Process(int(agent.stdout.readline()))
        try:
            wait_until((folder / "begun").exists)
        finally:
            agent.kill()

    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(400):
        if is_so():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to that")
