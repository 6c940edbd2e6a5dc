"""Real model processes, a real monitor: weights that change, or were other ones from the start, are named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.inference.domain.fleet import Batching
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.golden_probe import SURE_AFTER
from services.inference.model_process.weights_digest import digest_of_files
from tests.support.fake_gateway import FakeGateway, infer_request, output_of
from tests.support.model_processes import IDENTITY, ModelProcess
from tests.support.models import identity_onnx
from tests.support.monitor_process import RunningMonitor, monitor
from tests.support.waiting import until

PERIOD_S = 1.0
CODE = """
import numpy as np

class Model:
    def load(self, folder, options):
        # Mapped and shared: what is written to the file is what the model computes with.
        self.weights = np.load(folder / "weights.npy", mmap_mode="r")
        self.calls = folder.parent / f"{folder.name}.calls"

    def infer(self, inputs):
        with self.calls.open("a") as file:
            print(len(inputs["INPUT0"]), file=file)
        return {"OUTPUT0": (inputs["INPUT0"] * self.weights).astype("float32")}
"""
MANIFEST = Manifest(inputs=IDENTITY.inputs, outputs=IDENTITY.outputs, options={"probe": "on"})
FILES = ("model.py", "weights.npy")
PASS, FAIL, SKIP = pb.ReplicaProbe.OUTCOME_PASS, pb.ReplicaProbe.OUTCOME_FAIL, pb.ReplicaProbe.OUTCOME_SKIP


def copy_of_the_model(folder: Path, *, weight: float = 1.0) -> Path:
    """A folder as an agent's cache has one, of a node of its own."""
    folder.mkdir()
    (folder / "model.py").write_text(CODE)
    np.save(folder / "weights.npy", np.full(16, weight, np.float32))
    return folder


def scribble(folder: Path) -> None:
    """Change one weight in place, as a disk, or memory, that goes bad does."""
    weights = np.load(folder / "weights.npy", mmap_mode="r+")
    weights[7] *= 1.5
    weights.flush()


class Replicas:
    """Processes of one version, each with its own copy of the files, that tell a monitor of their probes."""

    def __init__(self, running: RunningMonitor, redis_url: str) -> None:
        self.monitor = running
        self._redis_url = redis_url
        self._processes: list[ModelProcess] = []

    async def add(self, path: Path, **changes: Any) -> ModelProcess:
        number = len(self._processes)
        settings: dict[str, Any] = {
            "consumer": f"node.m.1.{number}@life.{number}",
            "format": "python",
            "manifest": MANIFEST,
            "otlp_endpoint": f"127.0.0.1:{self.monitor.ports.otlp}",
            "probe_period_s": PERIOD_S,
            "files": FILES,
            **changes,
        }
        process = ModelProcess(path, self._redis_url, **settings)
        self._processes.append(process)
        return await process.start()

    async def close(self) -> None:
        for process in self._processes:
            process.child.kill()
            await process.ended()

    async def probes(self) -> dict[str, pb.ReplicaProbe]:
        """The last probe by replica's number."""
        response = await self.monitor.api.ListProbes(pb.ListProbesRequest(model="m"))
        return {one.replica.partition("@")[0].rpartition(".")[2]: one for one in response.probes}

    async def probed_times(self, times: int) -> None:
        """Wait until each has told of so many probes."""
        seen: dict[str, set[int]] = {}

        async def are_enough() -> bool:
            for replica, one in (await self.probes()).items():
                seen.setdefault(replica, set()).add(one.probe_time.ToNanoseconds())
            return len(seen) == len(self._processes) and min(map(len, seen.values())) >= times

        await eventually(are_enough)

    async def outcomes(self) -> dict[str, pb.ReplicaProbe.Outcome]:
        return {replica: one.outcome for replica, one in (await self.probes()).items()}

    async def incidents(self) -> list[pb.Incident]:
        return list((await self.monitor.api.ListIncidents(pb.ListIncidentsRequest(model="m"))).incidents)


@pytest.fixture
async def replicas(tmp_path: Path, redis_url: str) -> AsyncIterator[Replicas]:
    async with monitor(tmp_path / "monitor") as running:
        replicas = Replicas(running, redis_url)
        try:
            yield replicas
        finally:
            await replicas.close()


async def eventually(check: Any) -> Any:
    """What a coroutine gives once that is something."""
    async with asyncio.timeout(30):
        await until(check)
    return await check()


@pytest.mark.timeout(90)
async def test_a_replica_whose_weights_change_in_memory_is_named_and_recovers(
    replicas: Replicas, tmp_path: Path
) -> None:
    well, ill = copy_of_the_model(tmp_path / "well"), copy_of_the_model(tmp_path / "ill")
    digest = digest_of_files(well, FILES)
    await replicas.add(well, digest=digest)
    await replicas.add(ill, digest=digest)

    async def have_both_told_their_weights() -> bool:
        return [one.weights_sha256 for one in (await replicas.probes()).values()] == [digest, digest]

    await eventually(have_both_told_their_weights)
    assert await replicas.outcomes() == {"0": PASS, "1": PASS}
    await replicas.probed_times(SURE_AFTER)
    assert await replicas.incidents() == []

    scribble(ill)
    (incident,) = await eventually(replicas.incidents)
    assert (incident.signal, incident.cause) == (pb.Incident.SIGNAL_PROBE, pb.Incident.CAUSE_REPLICA)
    assert (incident.severity, incident.state) == (pb.Incident.SEVERITY_PAGE, pb.Incident.STATE_OPEN)
    assert incident.replica == "node.m.1.1@life.1"
    assert (
        "Replica node.m.1.1 of m version 1 answers its golden probe otherwise than after its load" in incident.summary
    )
    assert "output 'OUTPUT0' differs by" in incident.summary
    assert "its siblings answer as ever" in incident.summary
    assert incident.after > 1e-2
    assert (await replicas.outcomes()) == {"0": PASS, "1": FAIL}
    trace = await replicas.monitor.api.GetTrace(pb.GetTraceRequest(name=incident.traces[0]))
    (span,) = trace.trace.spans
    assert (span.operation, span.attributes["penstock.probe.outcome"]) == ("probe m", "fail")

    np.save(ill / "other.npy", np.ones(16, np.float32))
    (ill / "weights.npy").write_bytes((ill / "other.npy").read_bytes())  # in place: still what is mapped

    async def is_closed() -> bool:
        return [one.state for one in await replicas.incidents()] == [pb.Incident.STATE_CLOSED]

    await eventually(is_closed)


@pytest.mark.timeout(90)
async def test_a_replica_that_loaded_other_weights_is_named_by_answer_and_by_files(
    replicas: Replicas, tmp_path: Path
) -> None:
    well, other = copy_of_the_model(tmp_path / "well"), copy_of_the_model(tmp_path / "other", weight=1.1)
    digest = digest_of_files(well, FILES)
    await replicas.add(well, digest=digest)
    await eventually(replicas.probes)
    await replicas.add(other, digest=digest)
    (incident,) = await eventually(replicas.incidents)
    assert (incident.replica, incident.cause) == ("node.m.1.1@life.1", pb.Incident.CAUSE_REPLICA)
    assert "unlike the version did before" in incident.summary or "other files" in incident.summary

    async def is_its_digest_told() -> bool:
        return "has loaded other files" in (await replicas.probes())["1"].detail

    await eventually(is_its_digest_told)
    assert (await replicas.probes())["1"].weights_sha256 == digest_of_files(other, FILES)
    assert await replicas.outcomes() == {"0": PASS, "1": FAIL}


@pytest.mark.timeout(90)
async def test_probes_leave_requests_alone(replicas: Replicas, tmp_path: Path, gateway: FakeGateway) -> None:
    folder = copy_of_the_model(tmp_path / "well")
    process = await replicas.add(folder, digest=digest_of_files(folder, FILES), probe_period_s=0.05)
    rows = np.arange(32, dtype=np.float32).reshape(2, 16)
    for _ in range(40):
        key = await gateway.send(infer_request(rows), rows=2)
        np.testing.assert_array_equal(output_of(await gateway.reply_to(key)), rows)
    await until(lambda: process.figures.get("executions") == 40)
    assert (process.figures["executions"], process.figures["rows"], process.figures["errors"]) == (40, 80, 0)
    await eventually(replicas.probes)
    assert await replicas.outcomes() == {"0": PASS}
    figures = (await replicas.monitor.api.ListFigures(pb.ListFiguresRequest(model="m"))).figures
    assert sum(one.request_count for one in figures) <= 40


@pytest.mark.timeout(90)
async def test_a_model_that_never_answers_the_same_is_left_alone(replicas: Replicas, tmp_path: Path) -> None:
    folder = copy_of_the_model(tmp_path / "random")
    (folder / "model.py").write_text(CODE.replace("self.weights)", "np.random.random())"))
    specs = (TensorSpec("OUTPUT0", "FP32", (-1, 16)),)
    await replicas.add(folder, signature=Signature(IDENTITY.inputs, specs, is_batchable=True))
    assert "doesn't repeat itself" in (await eventually(replicas.probes))["0"].detail
    assert await replicas.outcomes() == {"0": SKIP}
    assert await replicas.incidents() == []


@pytest.mark.timeout(90)
async def test_of_a_model_whose_answers_are_streams_only_the_files_are_compared(
    replicas: Replicas, tmp_path: Path
) -> None:
    folder = copy_of_the_model(tmp_path / "streams")
    (folder / "model.py").write_text(CODE.replace("return {", "yield {"))
    signature = Signature(IDENTITY.inputs, IDENTITY.outputs, is_batchable=False, is_decoupled=True)
    await replicas.add(folder, signature=signature, digest="0" * 64)
    (incident,) = await eventually(replicas.incidents)
    assert "has loaded other files than its version has" in incident.summary
    assert await replicas.outcomes() == {"0": FAIL}


def calls_of(folder: Path) -> list[int]:
    """Rows of each call of a model."""
    return [int(line) for line in folder.with_name(f"{folder.name}.calls").read_text().split()]


@pytest.mark.timeout(90)
async def test_a_model_is_learnt_in_the_load_and_requests_come_first_then(replicas: Replicas, tmp_path: Path) -> None:
    folder = copy_of_the_model(tmp_path / "well")
    await replicas.add(folder, probe_period_s=600)
    await eventually(replicas.probes)
    assert await replicas.outcomes() == {"0": PASS}
    assert calls_of(folder) == [1, 1, 8, 1, 1], "a warm-up, a question, and the same again"


@pytest.mark.timeout(90)
async def test_of_slow_rows_a_model_is_learnt_while_nothing_waits(replicas: Replicas, tmp_path: Path) -> None:
    folder = copy_of_the_model(tmp_path / "slow")
    slow = CODE.replace("        with", "        time.sleep(1.1)\n        with")
    (folder / "model.py").write_text("import time\n" + slow)
    await replicas.add(folder, batching=Batching(max_batch_size=1), probe_period_s=600)
    assert calls_of(folder) == [1, 1]
    await eventually(replicas.probes)
    assert await replicas.outcomes() == {"0": PASS}
    assert calls_of(folder) == [1, 1, 1, 1]


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("options", "why"), [({}, "it is code, and its manifest doesn't say"), ({"probe": "off"}, "its manifest says that")]
)
async def test_code_is_run_for_requests_only_unless_its_manifest_asks_for_probes(
    replicas: Replicas, tmp_path: Path, options: dict[str, str], why: str
) -> None:
    folder = copy_of_the_model(tmp_path / "code")
    digest = digest_of_files(folder, FILES)
    await replicas.add(folder, manifest=replace(MANIFEST, options=options), probe_period_s=0.1, digest=digest)
    await replicas.probed_times(3)
    probe = (await replicas.probes())["0"]
    assert (probe.outcome, why in probe.detail, probe.weights_sha256) == (SKIP, True, digest)
    assert calls_of(folder) == [1, 1, 8], "a warm-up"


@pytest.mark.timeout(90)
@pytest.mark.parametrize(("options", "expected"), [({}, PASS), ({"probe": "off"}, SKIP)])
async def test_a_model_of_any_format_may_be_left_alone(
    replicas: Replicas, tmp_path: Path, options: dict[str, str], expected: pb.ReplicaProbe.Outcome
) -> None:
    path = identity_onnx(tmp_path / "m.onnx")
    await replicas.add(path, format="onnx", manifest=Manifest(options=options), files=())
    await eventually(replicas.probes)
    assert await replicas.outcomes() == {"0": expected}


async def test_nothing_is_probed_where_nobody_hears_of_it(tmp_path: Path, redis_url: str) -> None:
    folder = copy_of_the_model(tmp_path / "well")
    settings: dict[str, Any] = {"format": "python", "manifest": MANIFEST, "probe_period_s": 0.05}
    async with ModelProcess(folder, redis_url, **settings):
        await asyncio.sleep(0.3)
        assert calls_of(folder) == [1, 1, 8]
