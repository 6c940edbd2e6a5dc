"""What nobody needs is removed, and nothing else, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from tests.support.registry import Registry, RegistryProcess, digest, fails, upload_messages
from tests.support.waiting import until

KINDS = api.Garbage.Kind


async def create(registry: Registry, content: bytes) -> str:
    version = pb.ModelVersion(files=[pb.Artifact(sha256=digest(content), path="model.onnx")])
    request = api.CreateModelVersionRequest(parent="models/digits", model_version=version)
    return (await registry.stub.CreateModelVersion(request)).model_version.name


async def delete(registry: Registry, version: str) -> None:
    await registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=version))


async def download(registry: Registry, content: bytes) -> bytes:
    request = api.DownloadArtifactRequest(sha256=digest(content))
    return b"".join([message.chunk async for message in registry.stub.DownloadArtifact(request)])


async def test_a_dry_run_says_what_would_be_removed(registry: Registry) -> None:
    await registry.create_model("digits")
    await registry.create_version("digits", b"needed")
    await registry.upload(b"left alone")
    call = registry.stub.UploadArtifact()
    for message in upload_messages(b"broken off", size=20):
        await call.write(message)
    await until(lambda: registry.staged_bytes() == 10)
    call.cancel()
    assert await registry.collect(is_dry_run=True) == []
    registry.clock.turn(25 * 3600)

    # The registry's own sweep may be as fast.
    found = [*await registry.collect(is_dry_run=True), *await registry.collect()]

    assert {(one.kind, one.sha256, one.size_bytes, one.failure) for one in found} <= {
        (KINDS.KIND_CONTENT, digest(b"left alone"), 10, ""),
        (KINDS.KIND_UPLOAD, digest(b"broken off"), 10, ""),
    }
    await until(lambda: registry.stored() | registry.partials() == {digest(b"needed")})


async def test_less_patience_may_be_asked_for(registry: Registry) -> None:
    await registry.upload(b"left alone")
    registry.clock.turn(3600)

    assert await registry.collect(grace_s=3601) == []
    dry = await registry.collect(grace_s=3599, is_dry_run=True)
    removed = await registry.collect(grace_s=3599)

    assert [one.sha256 for one in dry] == [one.sha256 for one in removed] == [digest(b"left alone")]
    assert registry.stored() == set()
    await registry.create_model("digits")
    await fails(create(registry, b"left alone"), StatusCode.FAILED_PRECONDITION, with_text=["upload it first"])


async def test_an_upload_under_way_is_no_garbage(registry: Registry) -> None:
    call = registry.stub.UploadArtifact()
    first, *rest = upload_messages(b"0123456789", chunk=5)
    for message in (first, rest[0]):
        await call.write(message)
    await until(registry.partials)

    assert await registry.collect(grace_s=0) == []

    await call.write(rest[1])
    await call.done_writing()
    assert (await call).artifact.size_bytes == 10


async def test_content_that_was_promised_outlives_whoever_else_has_it(registry: Registry) -> None:
    await registry.create_model("digits")
    request = api.StartUploadRequest(sha256=digest(b"weights"), size_bytes=7)
    first = await registry.create_version("digits")
    assert (await registry.stub.StartUpload(request)).committed_bytes == 7  # promised to somebody else
    second = await registry.create_version("digits")

    for version in (first, second):
        await delete(registry, version.name)
    await registry.collect()

    await create(registry, b"weights")
    assert await download(registry, b"weights") == b"weights"


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_was_promised_content_can_make_versions_of_it(registry: Registry, seed: int) -> None:
    """Uploads, creations, deletions and collections of the same few contents, in all orders."""
    chance = random.Random(seed)
    contents = [bytes([number]) * 100 for number in range(3)]
    await registry.create_model("digits")
    living: dict[str, bytes] = {}

    async def publish() -> None:
        for _ in range(15):
            content = chance.choice(contents)
            request = api.StartUploadRequest(sha256=digest(content), size_bytes=len(content))
            held = (await registry.stub.StartUpload(request)).committed_bytes
            if held < len(content):
                await registry.upload(content)
            await asyncio.sleep(chance.random() * 0.01)
            living[await create(registry, content)] = content

    async def unpublish() -> None:
        for _ in range(25):
            await asyncio.sleep(chance.random() * 0.02)
            if living:
                version = chance.choice(list(living))
                del living[version]
                await delete(registry, version)

    async def collect() -> None:
        for _ in range(25):
            await asyncio.sleep(chance.random() * 0.02)
            registry.clock.turn(8 * 3600)  # a step takes less than a day
            await registry.collect()

    await asyncio.gather(publish(), publish(), unpublish(), unpublish(), collect())

    for content in set(living.values()):
        assert await download(registry, content) == content
    await registry.collect(grace_s=0)
    assert registry.stored() == {digest(content) for content in living.values()}


ROWS, LOCAL, STAGING = (f"services.registry.adapters.{name}" for name in ("artifact_rows", "local_store", "staging"))
# Before one step is after the one before; but a transaction's end is none.
UPLOADING = [
    (f"{STAGING}:Upload.verify", "before"),
    (f"{STAGING}:Staging.accept", "before"),
    (f"{ROWS}:announce", "after"),
    (f"{LOCAL}:LocalStore._link", "before"),
    (f"{ROWS}:note", "before"),
    (f"{ROWS}:note", "after"),
    (f"{STAGING}:Staging.discard", "before"),
    (f"{STAGING}:Staging.discard", "after"),
]
COLLECTING = [
    (f"{ROWS}:give_up", "after"),
    (f"{LOCAL}:LocalStore.remove", "before"),
    (f"{ROWS}:forget_garbage", "before"),
    (f"{ROWS}:forget_garbage", "after"),
]


def unknown_files(home: Path) -> set[str]:
    """What is stored that the database knows nothing of."""
    with sqlite3.connect(home / "registry.db") as connection:
        known = {key for (key,) in connection.execute("SELECT key FROM artifacts UNION SELECT key FROM garbage")}
    connection.close()
    root = home / "artifacts"
    return {str(path.relative_to(root)) for path in root.glob("??/*")} - known


@pytest.mark.parametrize(("step", "when"), UPLOADING)
async def test_a_registry_killed_at_any_step_of_an_upload_goes_on(tmp_path: Path, step: str, when: str) -> None:
    content = bytes(range(256)) * 1000
    with RegistryProcess(tmp_path, doom=(step, when)) as process:
        async with process.channel() as channel:
            stub = RegistryServiceStub(channel)
            await stub.CreateModel(api.CreateModelRequest(model_id="digits"), wait_for_ready=True)
            await fails(stub.UploadArtifact(iter(upload_messages(content))), StatusCode.UNAVAILABLE)
        assert process.wait()[0] == -9
        assert unknown_files(tmp_path) == set()

        process.start(doom=None)
        async with process.channel() as channel:
            stub = RegistryServiceStub(channel)
            request = api.StartUploadRequest(sha256=digest(content), size_bytes=len(content))
            held = (await stub.StartUpload(request, wait_for_ready=True)).committed_bytes
            assert held == len(content)
            await stub.UploadArtifact(iter(upload_messages(content, offset=held)))
            download = stub.DownloadArtifact(api.DownloadArtifactRequest(sha256=digest(content)))
            assert b"".join([message.chunk async for message in download]) == content
        assert unknown_files(tmp_path) == set()
        assert [*(tmp_path / "artifacts" / "uploads").iterdir()] == []


@pytest.mark.parametrize(("step", "when"), COLLECTING)
async def test_a_registry_killed_at_any_step_of_a_collection_goes_on(tmp_path: Path, step: str, when: str) -> None:
    with RegistryProcess(tmp_path) as process:
        async with process.channel() as channel:
            stub = RegistryServiceStub(channel)
            await stub.CreateModel(api.CreateModelRequest(model_id="digits"), wait_for_ready=True)
            for content in (b"needed", b"garbage"):
                await stub.UploadArtifact(iter(upload_messages(content)))
            version = pb.ModelVersion(files=[pb.Artifact(sha256=digest(b"needed"), path="model.onnx")])
            await stub.CreateModelVersion(api.CreateModelVersionRequest(parent="models/digits", model_version=version))
        process.kill()
        request = api.CollectGarbageRequest()
        request.grace_duration.FromSeconds(0)

        process.start(doom=(step, when))
        async with process.channel() as channel:
            stub = RegistryServiceStub(channel)
            call = stub.CollectGarbage(request, wait_for_ready=True)  # unless its own first sweep is earlier
            assert (await asyncio.to_thread(process.wait))[0] == -9
            call.cancel()
        assert unknown_files(tmp_path) == set()

        process.start(doom=None)
        async with process.channel() as channel:
            stub = RegistryServiceStub(channel)
            await stub.CollectGarbage(request, wait_for_ready=True)
            download = stub.DownloadArtifact(api.DownloadArtifactRequest(sha256=digest(b"needed")))
            assert b"".join([message.chunk async for message in download]) == b"needed"
        assert {path.name[:64] for path in (tmp_path / "artifacts").glob("??/*")} == {digest(b"needed")}
