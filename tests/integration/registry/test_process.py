"""The registry as a process: start, health, metrics, stop, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import socket
import sqlite3
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common.serving import CHANNEL_OPTIONS
from tests.support.registry import NODE, RegistryProcess, digest, fails, upload_messages
from tests.support.waiting import until

CONTENT = os.urandom(12 << 20)


@asynccontextmanager
async def connected(process: RegistryProcess) -> AsyncIterator[RegistryServiceStub]:
    """A stub, once the process says that it is SERVING."""
    async with grpc.aio.insecure_channel(process.address, CHANNEL_OPTIONS) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answers = health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        while (await answers.read()).status != health_pb2.HealthCheckResponse.SERVING:
            pass
        answers.cancel()
        yield RegistryServiceStub(channel)


async def test_it_stops_in_order_and_finds_everything_again(tmp_path: Path) -> None:
    with RegistryProcess(tmp_path) as process:
        async with connected(process) as stub:
            await stub.CreateModel(api.CreateModelRequest(model_id="digits"))
            await stub.UploadArtifact(iter(upload_messages(CONTENT)))
            watch = stub.WatchResources(api.WatchResourcesRequest())
            while not (message := await watch.read()).is_snapshot_end:
                pass
            began = time.monotonic()

            code, stderr = await asyncio.to_thread(process.stop)

            assert time.monotonic() - began < 10
            assert (code, "Traceback" in stderr) == (0, False)
            await fails(watch.read(), StatusCode.UNAVAILABLE)
        process.start()
        async with connected(process) as stub:
            assert [model.name for model in (await stub.ListModels(api.ListModelsRequest())).models] == [
                "models/digits"
            ]
            resumed = stub.WatchResources(api.WatchResourcesRequest(revision=message.revision))
            assert (await resumed.read()).revision == message.revision
            resumed.cancel()
            known = api.StartUploadRequest(sha256=digest(CONTENT), size_bytes=len(CONTENT))
            assert (await stub.StartUpload(known)).committed_bytes == len(CONTENT)


async def test_a_kill_amid_an_upload_loses_nothing(tmp_path: Path) -> None:
    with RegistryProcess(tmp_path) as process:
        async with connected(process) as stub:
            call = stub.UploadArtifact()
            for message in upload_messages(CONTENT)[:8]:
                await call.write(message)
            partial = tmp_path / "artifacts" / "uploads" / digest(CONTENT)
            await until(lambda: partial.exists() and partial.stat().st_size >= 3 << 20)
            process.kill()
        assert list((tmp_path / "artifacts").glob("??/*")) == []

        process.start()
        async with connected(process) as stub:
            known = api.StartUploadRequest(sha256=digest(CONTENT), size_bytes=len(CONTENT))
            held = (await stub.StartUpload(known)).committed_bytes
            assert 3 << 20 <= held < len(CONTENT)

            await stub.UploadArtifact(iter(upload_messages(CONTENT, offset=held)))

            download = stub.DownloadArtifact(api.DownloadArtifactRequest(sha256=digest(CONTENT)))
            assert b"".join([message.chunk async for message in download]) == CONTENT


async def test_a_stop_amid_an_upload_is_a_quiet_one(tmp_path: Path) -> None:
    with RegistryProcess(tmp_path) as process:
        async with connected(process) as stub:
            call = stub.UploadArtifact()
            for message in upload_messages(CONTENT)[:4]:
                await call.write(message)
            partial = tmp_path / "artifacts" / "uploads" / digest(CONTENT)
            await until(lambda: partial.exists() and partial.stat().st_size == 3 << 20)

            code, stderr = await asyncio.to_thread(process.stop)

            assert (code, [line for line in stderr.splitlines() if '"log.level": "error"' in line]) == (0, [])
            assert "Traceback" not in stderr
        assert partial.stat().st_size == 3 << 20


async def test_an_upload_that_was_killed_before_its_verdict_gets_one(tmp_path: Path) -> None:
    uploads = tmp_path / "artifacts" / "uploads"
    uploads.mkdir(parents=True)
    good, bad = CONTENT[:100], CONTENT[100:200]
    (uploads / digest(good)).write_bytes(good)
    (uploads / digest(bad)).write_bytes(good)
    with RegistryProcess(tmp_path) as process:
        async with connected(process) as stub:
            for content, held in ((good, 100), (bad, 0)):
                request = api.StartUploadRequest(sha256=digest(content), size_bytes=100)
                assert (await stub.StartUpload(request)).committed_bytes == held
    assert [path.name[:64] for path in (tmp_path / "artifacts").glob("??/*")] == [digest(good)]


async def test_a_full_disk_keeps_nothing_and_harms_nobody(tmp_path: Path) -> None:
    with RegistryProcess(tmp_path) as process:
        async with connected(process) as stub:
            # A file that may not grow fails like a disk that is full.
            resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))
            call = stub.UploadArtifact(iter(upload_messages(CONTENT)))

            await fails(call, StatusCode.RESOURCE_EXHAUSTED, with_text=["disk is full"])

            assert list((tmp_path / "artifacts" / "uploads").iterdir()) == []
            await stub.UploadArtifact(iter(upload_messages(CONTENT[: 1 << 20])))
        assert (await asyncio.to_thread(process.stop))[0] == 0


async def test_a_kill_amid_writes_leaves_every_answered_write_in_the_log(tmp_path: Path) -> None:
    answered = 0
    with RegistryProcess(tmp_path) as process:
        async with connected(process) as stub:

            async def write(writer: int) -> None:
                nonlocal answered
                for number in range(1000):
                    await stub.CreateModel(api.CreateModelRequest(model_id=f"m{writer}-{number}"))
                    answered += 1

            writing = asyncio.gather(*(write(writer) for writer in range(4)), return_exceptions=True)
            await until(lambda: answered >= 40)
            process.kill()
            await writing
        process.start()
        async with connected(process) as stub:
            watch = stub.WatchResources(api.WatchResourcesRequest())
            names = set()
            while not (message := await watch.read()).is_snapshot_end:
                names.add(message.model.name)
            resumed = stub.WatchResources(api.WatchResourcesRequest(revision=message.revision - len(names)))
            log = [await resumed.read() for _ in names]
            assert {entry.model.name for entry in log} == names
            assert [entry.revision for entry in log] == list(
                range(message.revision - len(names) + 1, message.revision + 1)
            )
            assert answered <= len(names) <= answered + 4
            watch.cancel()
            resumed.cancel()


async def test_metrics_have_the_names_that_are_documented(tmp_path: Path) -> None:
    with RegistryProcess(tmp_path) as process:
        async with connected(process) as stub:
            await stub.CreateModel(api.CreateModelRequest(model_id="digits"))
            await fails(stub.CreateModel(api.CreateModelRequest(model_id="digits")), StatusCode.ALREADY_EXISTS)
            await stub.UploadArtifact(iter(upload_messages(CONTENT)))
            watch = stub.WatchResources(api.WatchResourcesRequest())
            while not (message := await watch.read()).is_snapshot_end:
                pass
            await fails(
                stub.ReportNode(api.ReportNodeRequest(node="nowhere")),
                StatusCode.INVALID_ARGUMENT,
                with_text=["nodes/*"],
            )
            await stub.ReportNode(api.ReportNodeRequest(node=NODE))
            lines = ""
            while "penstock_registry_artifact_bytes 1.2582912e+07" not in lines:  # seen once a second
                await asyncio.sleep(0.1)
                lines = await asyncio.to_thread(_metrics, process)
            watch.cancel()
            while "penstock_registry_watchers 0.0" not in await asyncio.to_thread(_metrics, process):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    assert 'penstock_registry_requests_total{code="OK",method="CreateModel"} 1.0' in lines
    assert 'penstock_registry_requests_total{code="ALREADY_EXISTS",method="CreateModel"} 1.0' in lines
    assert 'penstock_registry_requests_total{code="INVALID_ARGUMENT",method="ReportNode"} 1.0' in lines
    assert 'penstock_registry_request_duration_seconds_count{method="UploadArtifact"} 1.0' in lines
    assert "penstock_registry_watchers 1.0" in lines
    assert float(re.findall(r"^penstock_registry_revision (.*)$", lines, re.MULTILINE)[0]) == message.revision


def _metrics(process: RegistryProcess) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{process.metrics_port}/metrics") as answer:
        return str(answer.read().decode())


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for setting in ("PORT", "METRICS_PORT"):
            with RegistryProcess(tmp_path, **{setting: str(port)}) as process:
                code, stderr = process.wait()
            line = _complaint(stderr)
            assert (code, str(port) in line) == (1, True)


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("PORT", "high", "PORT"),
        ("CHANGE_LOG_LENGTH", "5", "CHANGE_LOG_LENGTH"),
        ("PROT", "8021", "PENSTOCK_REGISTRY__PROT"),
        ("DATABASE_URL", "mysql://user:secret@host/name", "postgresql://"),
        ("DATABASE_URL", "nonsense", "postgresql://"),
        ("DATABASE_URL", "sqlite:///:memory:", "sqlite:///PATH"),
        ("DATABASE_URL", "sqlite:////nowhere/at/all.db", "can't be reached"),
        ("DATABASE_URL", "postgresql://user:secret@127.0.0.1:1/name", "can't be reached"),
    ],
)
def test_a_bad_setting_is_a_clear_line(tmp_path: Path, setting: str, value: str, text: str) -> None:
    with RegistryProcess(tmp_path, **{setting: value}) as process:
        code, stderr = process.wait()

    assert code == 1
    assert text.lower() in _complaint(stderr).lower()
    assert "secret" not in stderr


def test_a_database_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "registry.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    connection.close()

    with RegistryProcess(tmp_path) as process:
        code, stderr = process.wait()

    assert (code, "another release" in _complaint(stderr)) == (1, True)


def _complaint(stderr: str) -> str:
    """What was said beside the log; there is no traceback in it."""
    assert "Traceback" not in stderr
    return "\n".join(line for line in stderr.splitlines() if not line.startswith("{"))
